import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2'
import { type AddressInfo, createServer as createTcpServer, type Socket } from 'node:net'
import { createServer as createTlsServer, type TLSSocket } from 'node:tls'
import { gatewayError } from '../errors.ts'
import type { Logger } from '../log.ts'
import { sendRestError } from './error-response.ts'
import { createHttp1 } from './http1.ts'
import { createHttp2 } from './http2.ts'
import { newRequestId } from './request-id.ts'
import { sniffProtocol } from './sniff-protocol.ts'

export type HttpRequest = IncomingMessage | Http2ServerRequest
export type HttpResponse = ServerResponse | Http2ServerResponse

export interface ListenerOptions {
  host: string
  /** 0 takes a free one. */
  port: number
  /** PEM texts; cleartext where unset. */
  tls?: { certificate: Buffer | string; key: Buffer | string }
  /** Connections above this are closed as they come. */
  maxConnections: number
  log: Logger
  /** Longest time for the first bytes of a connection, and for the headers of each request. Unset: 10 s. */
  headersTimeoutMs?: number
  /** Longest time for a whole request to arrive, body included. Unset: 10 min, in which 17 images of 50 MB come through 12 Mbit/s. */
  requestTimeoutMs?: number
  /** How long an HTTP/1.1 connection without requests is kept. Unset: 65 s, above the usual 60 s of load balancers. */
  keepAliveTimeoutMs?: number
  /** How long an HTTP/2 session without streams is kept. Unset: 5 min. */
  sessionIdleTimeoutMs?: number
  /** How often an HTTP/2 client that waits for an answer is asked whether it is still there. Unset: 30 s. */
  pingIntervalMs?: number
  /** How long it may take to say so. Unset: 20 s. */
  pingTimeoutMs?: number
  /** How often the limits are checked. Unset: 1 s. */
  checkIntervalMs?: number
}

/** One protocol's server behind the port. */
export interface Engine extends Disposable {
  /** Takes over a connection whose first bytes are unread. */
  adopt(socket: Socket): void
  /** Closes idle connections now and each other one after the last answer it owes. */
  drain(): void
}

export interface Listener extends AsyncDisposable {
  /** Begins to accept connections; throws where the address cannot be had. */
  listen(): Promise<{ host: string; port: number }>
  /** Accepts nothing more, lets requests in flight finish, and after the time given breaks off what is left. Never throws. */
  drain(timeoutMs: number): Promise<void>
}

/**
 * One port for HTTP/1.1 and HTTP/2, in cleartext or, by ALPN, in TLS. The handler gets every request that has a legal Host; a handler
 * that throws is logged and answered with 500, and no client can make the process throw.
 */
export function createListener(options: ListenerOptions, handler: (req: HttpRequest, res: HttpResponse) => void): Listener {
  const limits = {
    headersTimeoutMs: options.headersTimeoutMs ?? 10_000,
    requestTimeoutMs: options.requestTimeoutMs ?? 600_000,
    keepAliveTimeoutMs: options.keepAliveTimeoutMs ?? 65_000,
    sessionIdleTimeoutMs: options.sessionIdleTimeoutMs ?? 300_000,
    pingIntervalMs: options.pingIntervalMs ?? 30_000,
    pingTimeoutMs: options.pingTimeoutMs ?? 20_000,
    checkIntervalMs: options.checkIntervalMs ?? 1_000
  }
  const http1 = createHttp1(limits, handle)
  const http2 = createHttp2(limits, handle)
  const sockets = new Set<Socket>()
  const undecided = new Set<Socket>()
  const tcp = { noDelay: true, keepAlive: true, keepAliveInitialDelay: 30_000, allowHalfOpen: true }
  const server = options.tls
    ? createTlsServer({
        ...tcp,
        cert: options.tls.certificate,
        key: options.tls.key,
        minVersion: 'TLSv1.2',
        ALPNProtocols: ['h2', 'http/1.1'],
        handshakeTimeout: limits.headersTimeoutMs
      })
    : createTcpServer(tcp)
  server.maxConnections = options.maxConnections
  const hasLegalHost = createHostCheck()
  let drained = () => {}

  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('error', ignore)
    socket.once('close', () => {
      sockets.delete(socket)
      if (sockets.size === 0) drained()
    })
  })
  server.on('tlsClientError', (_error, socket: TLSSocket) => socket.destroy())
  server.on(options.tls ? 'secureConnection' : 'connection', async (socket: Socket | TLSSocket) => {
    if (options.tls) socket.on('error', ignore)
    undecided.add(socket)
    const protocol = await sniffProtocol(socket, limits.headersTimeoutMs)
    undecided.delete(socket)
    if (protocol === 'nothing' || socket.destroyed || !server.listening) socket.destroy()
    else (protocol === 'h1' ? http1 : http2).adopt(socket)
  })

  function handle(req: HttpRequest, res: HttpResponse): void {
    req.on('error', ignore)
    res.on('error', ignore)
    if (!hasLegalHost(req)) {
      sendRestError(req, res, gatewayError('MALFORMED_REQUEST', { problem: 'the Host header is missing or malformed' }), newRequestId())
      return
    }
    try {
      handler(req, res)
    } catch (thrown) {
      const requestId = newRequestId()
      options.log.error({ err: thrown, request: requestId }, 'a request could not be handled')
      sendRestError(req, res, thrown, requestId)
    }
  }

  async function drain(timeoutMs: number): Promise<void> {
    server.close()
    for (const socket of undecided) socket.destroy()
    http1.drain()
    http2.drain()
    if (sockets.size > 0) {
      const { promise, resolve } = Promise.withResolvers<void>()
      drained = resolve
      const timer = setTimeout(resolve, timeoutMs)
      await promise
      clearTimeout(timer)
    }
    http1[Symbol.dispose]()
    http2[Symbol.dispose]()
    for (const socket of sockets) socket.destroy()
  }

  return {
    listen: () =>
      new Promise((resolve, reject) => {
        server.once('error', reject)
        server.listen({ host: options.host, port: options.port, backlog: 1024 }, () => {
          server.off('error', reject)
          server.on('error', (err) => options.log.error({ err }, 'the listener failed'))
          const { address, port } = server.address() as AddressInfo
          resolve({ host: address, port })
        })
      }),
    drain,
    [Symbol.asyncDispose]: () => drain(0)
  }
}

/** What cannot stand in a URL makes URL parsers throw further on; only HTTP/1.0 may leave it out. */
function createHostCheck(): (req: HttpRequest) => boolean {
  // Nearly all requests name the same one.
  let lastLegal: string | undefined
  return (req) => {
    const host = 'authority' in req ? req.authority : req.headers.host
    if (host === undefined) return req.httpVersion === '1.0'
    if (host === lastLegal) return true
    const isLegal = /^[^\s/?#@\\]+$/.test(host) && URL.canParse(`http://${host}`)
    if (isLegal) lastLegal = host
    return isLegal
  }
}

function ignore(): void {}
