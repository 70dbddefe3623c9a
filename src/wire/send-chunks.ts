import type { ServerResponse } from 'node:http'
import { gatewayError } from '../errors.ts'
import { freeChunk } from '../images/free-chunk.ts'
import type { RequestRecord } from './request-record.ts'

/** What comes of an image, from a result that is there already. */
export interface ComingChunks {
  first: IteratorResult<Uint8Array>
  rest: AsyncIterator<Uint8Array>
  /** Whether they are given away, as chunks of an ImageBody are: then each one is freed when the client has it. */
  areGivenAway: boolean
}

/** Sends an image chunk by chunk, no faster than the client reads. Throws CANCELLED where that goes away, and what the image throws. */
export async function sendChunks(
  { first, rest, areGivenAway }: ComingChunks,
  response: ServerResponse,
  record: RequestRecord
): Promise<void> {
  using room = watchRoom(response)
  for (let next = first; !next.done; next = await rest.next()) {
    record.bytes += next.value.length
    if (response.write(next.value)) continue
    await room.made()
    if (areGivenAway) freeChunk(next.value)
  }
}

interface Room extends Disposable {
  /** Resolves when the connection has everything that was written. */
  made(): Promise<void>
}

/** Listens once for all chunks: to do it for each one anew would cost more than everything else that is done to it here. */
function watchRoom(response: ServerResponse): Room {
  let waiting: PromiseWithResolvers<void> | undefined
  const onDrain = () => waiting?.resolve()
  const onClose = () => waiting?.reject(gatewayError('CANCELLED', {}))
  response.on('drain', onDrain).on('close', onClose)
  return {
    made() {
      if (response.destroyed) return Promise.reject(gatewayError('CANCELLED', {}))
      waiting = Promise.withResolvers()
      return waiting.promise
    },
    [Symbol.dispose]() {
      response.off('drain', onDrain).off('close', onClose)
    }
  }
}
