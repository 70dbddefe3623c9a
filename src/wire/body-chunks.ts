import type { IncomingMessage } from 'node:http'
import { gatewayError } from '../errors.ts'

/**
 * The body of a request, chunk by chunk, no faster than it is read. Throws UNSUPPORTED_MEDIA_TYPE for a compressed one, BODY_TOO_LARGE,
 * before a byte is read where a length is declared, and CANCELLED when the caller goes away. Leaving it early keeps the connection for
 * an answer.
 */
export async function* bodyChunks(request: IncomingMessage, maxBytes: number): AsyncGenerator<Buffer, void, undefined> {
  refuseEncoded(request.headers['content-encoding'])
  const tooLarge = () => gatewayError('BODY_TOO_LARGE', { limitBytes: maxBytes })
  if (Number(request.headers['content-length'] ?? 0) > maxBytes) throw tooLarge()
  let sizeBytes = 0
  const chunks = request.iterator({ destroyOnReturn: false })
  for (;;) {
    const { done, value } = await nextOf(chunks)
    // An HTTP/2 request that is broken off looks as if it had ended.
    if (request.aborted) throw cancelled()
    if (done) return
    sizeBytes += value.length
    if (sizeBytes > maxBytes) throw tooLarge()
    yield value
  }
}

/** Throws UNSUPPORTED_MEDIA_TYPE for a body that is compressed. */
export function refuseEncoded(contentEncoding: string | undefined): void {
  if (contentEncoding !== undefined && contentEncoding !== 'identity') {
    throw gatewayError('UNSUPPORTED_MEDIA_TYPE', { problem: 'the body must not be compressed: send it without content-encoding' })
  }
}

async function nextOf(chunks: AsyncIterator<Buffer>): Promise<IteratorResult<Buffer>> {
  try {
    return await chunks.next()
  } catch (cause) {
    throw cancelled(cause)
  }
}

function cancelled(cause?: unknown): Error {
  return gatewayError('CANCELLED', {}, { outcome: 'not_sent', cause })
}
