import {
  constants,
  createServer,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type ServerHttp2Session,
  type ServerHttp2Stream
} from 'node:http2'
import { gatewayError } from '../errors.ts'
import { toRestError } from './error-response.ts'
import type { Engine } from './listener.ts'
import { newRequestId } from './request-id.ts'

export interface Http2Options {
  requestTimeoutMs: number
  /** How long a session without streams is kept. */
  sessionIdleTimeoutMs: number
  /** How often a client with open streams is asked whether it is still there, and how long it may take to answer. */
  pingIntervalMs: number
  pingTimeoutMs: number
  checkIntervalMs: number
}

interface Session {
  openStreams: number
  /** When the last stream ended, or the client last proved to be there. */
  heardAtMs: number
  pingedAtMs: number | undefined
  closing: boolean
}

/**
 * Serves HTTP/2 on sockets that somebody else accepted. A request must arrive within its time limit, an answer may take as long as it
 * needs while the client answers pings; idle sessions are closed.
 */
export function createHttp2(options: Http2Options, handle: (req: Http2ServerRequest, res: Http2ServerResponse) => void): Engine {
  const server = createServer({
    settings: { maxConcurrentStreams: 100, maxHeaderListSize: 16 * 1024, enablePush: false },
    maxHeaderListPairs: 128,
    // In MB. What 100 streams have been given to send counts, and above the limit Node refuses new streams.
    maxSessionMemory: 32,
    maxSessionInvalidFrames: 100,
    streamResetBurst: 200,
    streamResetRate: 33
  })
  const sessions = new Map<ServerHttp2Session, Session>()
  /** Streams whose request has not arrived whole, with the time at which they began. */
  const receiving = new Map<ServerHttp2Stream, number>()

  server.on('session', (session) => {
    const state: Session = { openStreams: 0, heardAtMs: Date.now(), pingedAtMs: undefined, closing: false }
    sessions.set(session, state)
    session.on('error', ignore)
    session.once('close', () => sessions.delete(session))
    session.on('stream', (stream, _headers, flags) => {
      state.openStreams += 1
      if (!(flags & constants.NGHTTP2_FLAG_END_STREAM)) receiving.set(stream, Date.now())
      stream.on('error', ignore)
      stream.once('end', () => receiving.delete(stream))
      stream.once('close', () => {
        receiving.delete(stream)
        state.openStreams -= 1
        state.heardAtMs = Date.now()
      })
    })
  })
  server.on('sessionError', ignore)
  server.on('request', handle)

  const checks = setInterval(() => {
    const nowMs = Date.now()
    for (const [stream, begunAtMs] of receiving) {
      if (hasArrived(stream)) receiving.delete(stream)
      else if (nowMs - begunAtMs > options.requestTimeoutMs) refuseSlow(stream, options.requestTimeoutMs)
    }
    for (const [session, state] of sessions) check(session, state, nowMs)
  }, options.checkIntervalMs)
  checks.unref()

  function check(session: ServerHttp2Session, state: Session, nowMs: number): void {
    if (state.openStreams === 0) {
      if (state.closing) session.destroy()
      else if (nowMs - state.heardAtMs > options.sessionIdleTimeoutMs) close(session, state)
    } else if (state.pingedAtMs !== undefined) {
      if (nowMs - state.pingedAtMs > options.pingTimeoutMs) session.destroy()
    } else if (nowMs - state.heardAtMs > options.pingIntervalMs) {
      state.pingedAtMs = nowMs
      session.ping(() => {
        state.pingedAtMs = undefined
        state.heardAtMs = Date.now()
      })
    }
  }

  return {
    adopt(socket) {
      // Sockets may be half open for the sake of HTTP/1.1; a client that sends no more can here make no room for answers, and is gone.
      socket.once('end', () => socket.destroy())
      server.emit('connection', socket)
    },
    drain() {
      for (const [session, state] of sessions) close(session, state)
    },
    [Symbol.dispose]() {
      clearInterval(checks)
      for (const session of sessions.keys()) session.destroy()
    }
  }
}

/** Says GOAWAY; the session ends by itself after its last stream. */
function close(session: ServerHttp2Session, state: Session): void {
  state.closing = true
  if (!session.destroyed) session.close()
}

function hasArrived(stream: ServerHttp2Stream): boolean {
  return stream.destroyed || stream.state.state === constants.NGHTTP2_STREAM_STATE_HALF_CLOSED_REMOTE
}

function refuseSlow(stream: ServerHttp2Stream, requestTimeoutMs: number): void {
  if (stream.headersSent) {
    stream.close(constants.NGHTTP2_CANCEL)
    return
  }
  const { status, headers, body } = toRestError(gatewayError('BODY_TOO_SLOW', { limitSeconds: requestTimeoutMs / 1000 }), newRequestId())
  stream.respond({ ...headers, ':status': status, 'content-type': 'application/json' })
  stream.end(body, () => stream.close(constants.NGHTTP2_NO_ERROR))
}

/** Node reports every lost connection as an error too; whoever needs to know listens for 'close'. */
function ignore(): void {}
