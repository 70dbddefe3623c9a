import type { Client, Dispatcher } from 'undici'
import { UntrustedUrlError } from './untrusted-url-error.ts'

export interface UntrustedResponse {
  /** The declared type, lower case and without parameters; empty where there is none. A claim, not a fact. */
  mediaType: string
  /** The declared size. */
  sizeBytes?: number
  /**
   * Readable once. Leaving it early closes the connection; a body that nobody wants must be left too
   * (`body[Symbol.asyncIterator]().return?.()`), or the time limit closes it.
   */
  body: AsyncIterable<Uint8Array>
}

/** An exchange with a time limit. */
export interface Run {
  /** Aborts with the error that is then thrown. */
  signal: AbortSignal
  /** Called once nothing more happens: releases the timer and the listener. */
  end(): void
}

/** The answer of status 200 that a fetch was for; its end ends the run and the client. Throws an UntrustedUrlError for any other. */
export function acceptResponse(
  { statusCode, headers, body }: Dispatcher.ResponseData,
  url: URL,
  maxBytes: number,
  run: Run,
  client: Client
): UntrustedResponse {
  if (statusCode !== 200) throw new UntrustedUrlError('failed', `${url.host} answered with status ${statusCode}`)
  const encoding = singleHeader(headers['content-encoding']).toLowerCase()
  if (encoding !== '' && encoding !== 'identity')
    throw new UntrustedUrlError('failed', `${url.host} answered in a content encoding that was not asked for`)
  const sizeBytes = headers['content-length'] === undefined ? undefined : Number(singleHeader(headers['content-length']))
  if (sizeBytes !== undefined && sizeBytes > maxBytes) throw tooLarge(url, maxBytes)
  const mediaType = singleHeader(headers['content-type']).split(';', 1).join().trim().toLowerCase()
  return { mediaType, ...(sizeBytes === undefined ? {} : { sizeBytes }), body: createBody(body, url, maxBytes, run, client) }
}

/** The first value of a header; empty where there is none. */
export function singleHeader(header: string | string[] | undefined): string {
  return (Array.isArray(header) ? header[0] : header) ?? ''
}

/** Written out because `return` does not reach the `finally` of a generator that nobody has begun to read. */
function createBody(source: AsyncIterable<Uint8Array>, url: URL, maxBytes: number, run: Run, client: Client): AsyncIterable<Uint8Array> {
  const chunks = source[Symbol.asyncIterator]()
  let sizeBytes = 0
  const close = () => {
    run.end()
    return client.destroy()
  }
  const iterator: AsyncIterator<Uint8Array> = {
    async next() {
      try {
        const result = await chunks.next()
        if (result.done) await close()
        else sizeBytes += result.value.length
        if (sizeBytes > maxBytes) throw tooLarge(url, maxBytes)
        return result
      } catch (error) {
        await close()
        run.signal.throwIfAborted()
        throw error instanceof UntrustedUrlError ? error : new UntrustedUrlError('failed', `${url.host} broke off its answer`, error)
      }
    },
    async return() {
      await close()
      return { done: true, value: undefined }
    }
  }
  return { [Symbol.asyncIterator]: () => iterator }
}

function tooLarge(url: URL, maxBytes: number): UntrustedUrlError {
  return new UntrustedUrlError('too_large', `${url.host} answered with more than the ${maxBytes} bytes that are read`)
}
