import { createServer, type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { type GatewayError, gatewayError } from '../errors.ts'
import { toRestError } from './error-response.ts'
import type { Engine } from './listener.ts'
import { newRequestId } from './request-id.ts'

export interface Http1Options {
  headersTimeoutMs: number
  requestTimeoutMs: number
  keepAliveTimeoutMs: number
  checkIntervalMs: number
}

interface Connection {
  /** Answers that are not finished. */
  open: ServerResponse[]
  lastRequest: IncomingMessage | undefined
  refused: boolean
}

/**
 * Serves HTTP/1.1 on sockets that somebody else accepted. Its time limits end when a request has arrived whole: an answer may take as
 * long as it needs. What is not HTTP is told so in JSON.
 */
export function createHttp1(options: Http1Options, handle: (req: IncomingMessage, res: ServerResponse) => void): Engine {
  const server = createServer({
    maxHeaderSize,
    headersTimeout: Math.min(options.headersTimeoutMs, options.requestTimeoutMs),
    requestTimeout: options.requestTimeoutMs,
    keepAliveTimeout: options.keepAliveTimeoutMs,
    connectionsCheckingInterval: options.checkIntervalMs,
    // The listener checks it, with an answer that has a body.
    requireHostHeader: false
  })
  server.timeout = 0
  server.maxRequestsPerSocket = 10_000
  // Node starts to watch its time limits when the server listens itself, which this one never does.
  server.emit('listening')

  const connections = new Map<Socket, Connection>()
  let draining = false

  server.on('request', (req, res) => {
    const { socket } = req
    const connection = connections.get(socket)
    if (connection) {
      connection.lastRequest = req
      connection.open.push(res)
      res.on('close', () => {
        connection.open.splice(connection.open.indexOf(res), 1)
        if (draining && connection.open.length === 0) socket.destroySoon()
      })
    }
    if (draining) res.shouldKeepAlive = false
    handle(req, res)
  })

  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    const connection = connections.get(socket)
    if (connection?.refused) return
    if (connection) connection.refused = true
    const answered = connection?.open.some((res) => res.headersSent)
    if (!socket.writable || answered || error.code === 'ECONNRESET') socket.destroy()
    else {
      socket.write(rawAnswer(refusalOf(error, options)))
      closeGently(socket)
    }
  })

  return {
    adopt(socket) {
      const connection: Connection = { open: [], lastRequest: undefined, refused: false }
      connections.set(socket, connection)
      socket.once('close', () => connections.delete(socket))
      // Node closes with this after a connection's last answer. While the client still sends, that resets the connection, and the
      // client may lose the answer before it has read it.
      const destroySoon = socket.destroySoon.bind(socket)
      socket.destroySoon = () => (connection.lastRequest?.complete === false ? closeGently(socket) : destroySoon())
      server.emit('connection', socket)
      socket.resume()
    },
    drain() {
      draining = true
      for (const [socket, { open }] of connections) {
        for (const res of open) res.shouldKeepAlive = false
        if (open.length === 0) socket.destroy()
      }
    },
    [Symbol.dispose]() {
      server.close()
    }
  }
}

const maxHeaderSize = 16 * 1024
const lingerMs = 2_000

/** Ends our side and reads on, unheard, until the client has ended its own or the time is up. */
function closeGently(socket: Socket): void {
  socket.end()
  const timer = setTimeout(() => socket.destroy(), lingerMs)
  socket.once('close', () => clearTimeout(timer))
}

function refusalOf({ code }: NodeJS.ErrnoException, { requestTimeoutMs }: Http1Options): { error: GatewayError; status?: number } {
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return {
        error: gatewayError('MALFORMED_REQUEST', { problem: `the request line and headers exceed ${maxHeaderSize} bytes` }),
        status: 431
      }
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return { error: gatewayError('BODY_TOO_SLOW', { limitSeconds: requestTimeoutMs / 1000 }) }
    default:
      return { error: gatewayError('MALFORMED_REQUEST', { problem: 'this is no HTTP/1.1 request' }) }
  }
}

/** A whole answer as it stands on the wire, for when there is no response object to write it with. */
function rawAnswer({ error, status: given }: { error: GatewayError; status?: number }): string {
  const { status, headers, body } = toRestError(error, newRequestId())
  const code = given ?? status
  const all = { ...headers, 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(body)), connection: 'close' }
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`)
  return `HTTP/1.1 ${code} ${STATUS_CODES[code]}\r\n${lines.join('')}\r\n${body}`
}
