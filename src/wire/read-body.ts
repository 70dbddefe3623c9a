import type { IncomingMessage } from 'node:http'
import type { JsonValue } from '@bufbuild/protobuf'
import { gatewayError } from '../errors.ts'
import { JsonError, parseJson } from '../images/read-json.ts'
import { refuseEncoded } from './body-chunks.ts'

/**
 * Reads a JSON body of at most `maxBytes`. Throws UNSUPPORTED_MEDIA_TYPE, BODY_TOO_LARGE, BODY_TOO_SLOW where it has not arrived after a
 * minute, CANCELLED or MALFORMED_BODY.
 */
export async function readJsonBody(request: IncomingMessage, maxBytes: number): Promise<JsonValue> {
  requireJson(request.headers['content-type'], request.headers['content-encoding'])
  const declaredBytes = Number(request.headers['content-length'] ?? 0)
  // A declared length above the limit is refused before a byte is read.
  if (declaredBytes > maxBytes) throw tooLarge(maxBytes)
  // A small body comes right behind its headers, as soon as whoever handles these has returned.
  if (declaredBytes > 0) await undefined
  const bytes = takeWhole(request, declaredBytes) ?? (await readBody(request, maxBytes))
  try {
    return parseJson(bytes)
  } catch (error) {
    if (error instanceof JsonError) throw gatewayError('MALFORMED_BODY', { problem: error.message }, { cause: error })
    throw error
  }
}

function requireJson(contentType: string | undefined, contentEncoding: string | undefined): void {
  if (contentType === undefined || !/^application\/json[ \t]*(;[ \t]*charset="?utf-8"?[ \t]*)?$/i.test(contentType)) {
    const got = contentType === undefined ? 'none' : `"${contentType.slice(0, 80)}"`
    throw gatewayError('UNSUPPORTED_MEDIA_TYPE', { problem: `the content-type must be application/json in UTF-8, not ${got}` })
  }
  refuseEncoded(contentEncoding)
}

function tooLarge(limitBytes: number): Error {
  return gatewayError('BODY_TOO_LARGE', { limitBytes })
}

/** The body, where all of it is here: it needs neither listeners nor a time limit. */
function takeWhole(request: IncomingMessage, declaredBytes: number): Uint8Array | undefined {
  if (declaredBytes === 0 || request.readableLength !== declaredBytes) return undefined
  const body: unknown = request.read()
  return body instanceof Uint8Array && body.length === declaredBytes ? body : undefined
}

function readBody(request: IncomingMessage, maxBytes: number): Promise<Uint8Array> {
  if (request.destroyed) throw gatewayError('CANCELLED', {}, { outcome: 'not_sent' })
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let sizeBytes = 0
    const settle = (finish: () => void) => {
      clearTimeout(timer)
      request.off('data', onData).off('end', onEnd).off('error', onLost).off('close', onLost).off('aborted', onLost)
      finish()
    }
    const onData = (chunk: Buffer) => {
      sizeBytes += chunk.length
      if (sizeBytes > maxBytes) settle(() => reject(tooLarge(maxBytes)))
      else chunks.push(chunk)
    }
    const onEnd = () => settle(() => resolve(chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks, sizeBytes)))
    const onLost = () => settle(() => reject(gatewayError('CANCELLED', {}, { outcome: 'not_sent' })))
    // The listener's own limit leaves time for images.
    const timer = setTimeout(() => settle(() => reject(gatewayError('BODY_TOO_SLOW', { limitSeconds: longestMs / 1000 }))), longestMs)
    request.on('data', onData).on('end', onEnd).on('error', onLost).on('close', onLost).on('aborted', onLost)
  })
}

const longestMs = 60_000
