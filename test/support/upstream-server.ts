import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { testCertificate } from './test-certificate.ts'

export interface UpstreamServer extends AsyncDisposable {
  /** `http://127.0.0.1:1234` */
  origin: string
  port: number
  /** Request targets in the order of arrival. */
  paths: string[]
  /** Connections accepted so far, and those that are open. */
  connections: { accepted: number; open: number }
  /** Resolves once no connection is open. */
  closed(): Promise<void>
}

/** A server on loopback that stands for somebody else's; over TLS it shows the test certificate. */
export async function startUpstreamServer(listener: RequestListener, { tls = false, host = '127.0.0.1' } = {}): Promise<UpstreamServer> {
  const paths: string[] = []
  const connections = { accepted: 0, open: 0 }
  const sockets = new Set<Socket>()
  const counted: RequestListener = (request, response) => {
    paths.push(request.url ?? '')
    listener(request, response)
  }
  const server = tls ? createSecureServer(testCertificate, counted) : createServer(counted)
  server.on('connection', (socket: Socket) => {
    connections.accepted++
    connections.open++
    sockets.add(socket)
    socket.on('error', () => {})
    socket.once('close', () => {
      connections.open--
      sockets.delete(socket)
      server.emit('left')
    })
  })
  server.listen(0, host)
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    origin: `${tls ? 'https' : 'http'}://${host.includes(':') ? `[${host}]` : host}:${port}`,
    port,
    paths,
    connections,
    async closed() {
      while (connections.open > 0) await once(server, 'left')
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    }
  }
}
