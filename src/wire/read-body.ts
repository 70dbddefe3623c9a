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
  const bytes = await readBody(request, maxBytes)
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

/** A declared length above the limit is refused before a byte is read. */
async function readBody(request: IncomingMessage, maxBytes: number): Promise<Uint8Array> {
  const tooLarge = () => gatewayError('BODY_TOO_LARGE', { limitBytes: maxBytes })
  const declaredBytes = Number(request.headers['content-length'] ?? 0)
  if (declaredBytes > maxBytes) throw tooLarge()
  // A small body has come with its headers, and needs neither listeners nor a time limit.
  if (declaredBytes > 0 && request.readableLength === declaredBytes) {
    const body: unknown = request.read()
    if (body instanceof Uint8Array && body.length === declaredBytes) return body
  }
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
      if (sizeBytes > maxBytes) settle(() => reject(tooLarge()))
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
