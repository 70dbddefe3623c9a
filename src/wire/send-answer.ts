import type { ServerResponse } from 'node:http'
import type { Writable } from 'node:stream'
import type { UniversalServerResponse } from '@connectrpc/connect/protocol'
import { gatewayError } from '../errors.ts'
import { freeChunk } from '../images/free-chunk.ts'
import type { HttpResponse } from './listener.ts'
import { sizeOf } from './pieces.ts'
import type { RequestRecord } from './request-record.ts'
import { asItIs, type Outgoing, type StandIns } from './stand-ins.ts'

/**
 * Sends what the RPC library answers, no faster than the client reads; headers go out with the first bytes of the body, so that an
 * implementation can add to them until then. What is given away is freed when the connection has it. Throws CANCELLED where the client goes
 * away, and what the body throws.
 */
export async function sendAnswer(
  answer: UniversalServerResponse,
  res: HttpResponse,
  record: RequestRecord,
  standIns?: StandIns
): Promise<void> {
  const sink: Writable = 'stream' in res ? res.stream : res
  for await (const chunk of answer.body ?? []) {
    const outgoing = standIns?.replace(chunk) ?? asItIs(chunk)
    if (!res.headersSent) {
      if (answer.header?.has('content-length')) answer.header.set('content-length', `${sizeOf(outgoing.pieces)}`)
      sendHead(answer, res)
    }
    await writeAll(outgoing, sink, record)
  }
  if (!res.headersSent) sendHead(answer, res)
  if (answer.trailer) res.addTrailers(Object.fromEntries(answer.trailer))
  res.end()
}

function sendHead({ status, header }: UniversalServerResponse, res: HttpResponse): void {
  for (const [name, value] of new Headers(header)) res.setHeader(name, value)
  ;(res as ServerResponse).writeHead(status)
}

/** HTTP/2 counts what a stream has been given to send as memory of the whole session, and refuses new streams above its limit. */
const batchBytes = 256 * 1024

async function writeAll({ pieces, areGivenAway }: Outgoing, sink: Writable, record: RequestRecord): Promise<void> {
  let batched = 0
  sink.cork()
  for (const piece of pieces) {
    for (let start = 0; start < piece.length; start += batchBytes) {
      const slice = piece.subarray(start, start + batchBytes)
      const isLast = start + slice.length === piece.length
      sink.write(slice, areGivenAway && isLast ? (error) => freeSent(piece, sink, error) : undefined)
      record.bytes += slice.length
      batched += slice.length
      if (batched >= batchBytes) {
        batched = 0
        sink.uncork()
        if (sink.writableNeedDrain) await drained(sink)
        sink.cork()
      }
    }
  }
  sink.uncork()
  if (sink.writableNeedDrain) await drained(sink)
}

/** HTTP/2 says of everything that a destroyed stream had to send that it was written, while the connection may still be about to read it. */
function freeSent(piece: Uint8Array, sink: Writable, error: Error | null | undefined): void {
  if (!error && !sink.destroyed) freeChunk(piece)
}

function drained(sink: Writable): Promise<void> {
  if (sink.destroyed) return Promise.reject(gatewayError('CANCELLED', {}))
  return new Promise((resolve, reject) => {
    const onDrain = () => {
      sink.off('close', onClose)
      resolve()
    }
    const onClose = () => {
      sink.off('drain', onDrain)
      reject(gatewayError('CANCELLED', {}))
    }
    sink.once('drain', onDrain).once('close', onClose)
  })
}
