import { once } from 'node:events'
import type { IncomingHttpHeaders, ServerResponse } from 'node:http'
import { startUpstreamServer, type UpstreamServer } from './upstream-server.ts'

export interface ReceivedCallback {
  path: string
  headers: IncomingHttpHeaders
  body: string
}

export interface CallbackReceiver extends UpstreamServer {
  /** In the order in which their bodies were complete. */
  received: ReceivedCallback[]
  /** The callbacks to the path once there are so many. */
  waitFor(path: string, count: number): Promise<ReceivedCallback[]>
}

/** What a path answers: a status, with headers; nothing at all; or the status and then no end of the body. */
export type CallbackReply = { status: number; headers?: Record<string, string> } | 'hang' | 'hang in the body'

/**
 * Somebody's server for callbacks. Each path has its replies, one after the other, of which the last one is repeated; a path without any
 * answers 200.
 */
export async function startCallbackReceiver(
  replies: Record<string, CallbackReply | readonly CallbackReply[]> = {},
  options: { tls?: boolean; host?: string } = {}
): Promise<CallbackReceiver> {
  const received: ReceivedCallback[] = []
  const counts = new Map<string, number>()
  const server = await startUpstreamServer((request, response) => {
    const path = request.url ?? ''
    const chunks: Buffer[] = []
    request.on('data', (chunk) => chunks.push(chunk))
    request.on('end', () => {
      received.push({ path, headers: request.headers, body: Buffer.concat(chunks).toString() })
      events.dispatchEvent(new Event('received'))
      const own = [replies[path] ?? { status: 200 }].flat()
      const count = counts.get(path) ?? 0
      counts.set(path, count + 1)
      reply(response, own[Math.min(count, own.length - 1)] ?? { status: 200 })
    })
  }, options)
  const events = new EventTarget()
  return Object.assign(server, {
    received,
    async waitFor(path: string, count: number) {
      for (;;) {
        const found = received.filter((callback) => callback.path === path)
        if (found.length >= count) return found
        await once(events, 'received')
      }
    }
  })
}

function reply(response: ServerResponse, answer: CallbackReply): void {
  if (answer === 'hang') return
  if (answer === 'hang in the body') response.writeHead(200, { 'content-length': 1000 }).write('…')
  else response.writeHead(answer.status, answer.headers).end('thank you')
}
