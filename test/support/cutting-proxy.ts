import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

export interface CuttingProxy extends AsyncDisposable {
  /** Origin of the proxy. */
  readonly url: string
  /** Connections accepted so far. */
  readonly accepted: number
  /** Breaks every connection that is open, without a word to either side. */
  cut(): void
}

/** Passes TCP connections on to a server, which may be named later than the proxy is started. */
export async function startCuttingProxy(target: string | (() => string)): Promise<CuttingProxy> {
  const open = new Set<Socket>()
  let accepted = 0
  const keep = (socket: Socket) => {
    open.add(socket)
    socket.on('error', () => undefined)
    socket.once('close', () => open.delete(socket))
  }
  const server = createServer((client) => {
    accepted += 1
    const { hostname, port } = new URL(typeof target === 'string' ? target : target())
    const upstream = connect(Number(port), hostname)
    for (const socket of [client, upstream]) keep(socket)
    client.once('close', () => upstream.destroy())
    upstream.once('close', () => client.destroy())
    client.pipe(upstream).pipe(client)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const cut = () => {
    for (const socket of open) socket.resetAndDestroy()
  }
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    get accepted() {
      return accepted
    },
    cut,
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close')
      server.close()
      cut()
      await closed
    }
  }
}
