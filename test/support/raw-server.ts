import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'

export interface RawServer extends AsyncDisposable {
  /** `http://127.0.0.1:1234` */
  origin: string
  /** Requests seen so far, as they came over the wire. */
  requests: string[]
  /** Connections accepted so far. */
  accepted: number
  /** Resolves once every connection is closed. */
  closed(): Promise<void>
}

/** A server that answers each request with bytes of the test's choice; requests must arrive in one piece and not be pipelined. */
export async function startRawServer(answer: (socket: Socket, request: string) => void): Promise<RawServer> {
  const sockets = new Set<Socket>()
  const raw = createServer((socket) => {
    server.accepted++
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('data', (data) => {
      server.requests.push(data.toString('latin1'))
      answer(socket, data.toString('latin1'))
    })
    socket.once('close', () => {
      sockets.delete(socket)
      raw.emit('left')
    })
  })
  raw.listen(0, '127.0.0.1')
  await once(raw, 'listening')
  const server: RawServer = {
    origin: `http://127.0.0.1:${(raw.address() as AddressInfo).port}`,
    requests: [],
    accepted: 0,
    async closed() {
      while (sockets.size > 0) await once(raw, 'left')
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      raw.close()
      await once(raw, 'close')
    }
  }
  return server
}
