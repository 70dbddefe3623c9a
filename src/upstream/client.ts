import type { LookupFunction } from 'node:net'
import { Readable } from 'node:stream'
import { Exchange } from './exchange.ts'
import { loadPool } from './undici.ts'

/** Pooled HTTP/1.1 connections to one upstream. Disposing closes them and fails what is in flight. */
export interface UpstreamClient extends AsyncDisposable {
  /**
   * Sends one request and resolves when the answer's headers are here. It is sent at most once: never repeated, never redirected. Throws,
   * and so does the body, GatewayErrors that state their outcome: PROVIDER_UNREACHABLE (`not_sent`: nothing was written to a connection),
   * OUTCOME_UNKNOWN (the connection broke, or the answer is not HTTP, not whole, or encoded), DEADLINE_EXCEEDED, CANCELLED or the
   * GatewayError that is the signal's reason, and the error of a streamed body that broke off. They hold no header and no part of a body.
   */
  send(request: UpstreamRequest): Promise<UpstreamResponse>
}

export interface UpstreamRequest {
  method: 'GET' | 'POST'
  /** Below the base URL, beginning with a slash; may hold a query. */
  path: string
  headers: Record<string, string>
  body?: string | Uint8Array | StreamedBody | undefined
  /** Stops the request and its answer. */
  signal: AbortSignal
  /** For all of it: the wait for a connection, the answer and the reading of its body. */
  timeoutMs: number
}

/** A body that is read while it is sent, as fast as the connection takes it. */
export interface StreamedBody {
  /** Read once at most, and not at all where the request never gets a connection. It is left early where the request ends early. */
  bytes: AsyncIterable<Uint8Array>
  /** What `bytes` comes to, exactly: it is announced, and fewer or more break the request off. */
  sizeBytes: number
}

export interface UpstreamResponse {
  status: number
  /** Names in lower case. */
  headers: Record<string, string | string[] | undefined>
  /**
   * The body as it was sent; it can be read once. While nobody reads, at most about 64 KiB are taken from the connection. Leaving the
   * iteration early closes the connection; a body that nobody wants must be left too (`body[Symbol.asyncIterator]().return?.()`).
   */
  body: UpstreamBody
}

export interface UpstreamBody extends AsyncIterable<Uint8Array> {
  /** All of it, where it came in one piece and is already here: then it need not be read. */
  readonly whole?: Uint8Array | undefined
}

export interface UpstreamClientOptions {
  /** Its name in errors. */
  provider: string
  /** Every request's path goes below this URL's. */
  baseUrl: string
  /** Requests beyond this number wait for a connection. */
  maxConnections: number
  /** Resolves its host whenever a connection is made. Unset: as the system does. */
  lookup?: LookupFunction
}

export function createUpstreamClient(options: UpstreamClientOptions): UpstreamClient {
  const { origin, pathname } = new URL(options.baseUrl)
  const basePath = pathname.replace(/\/+$/, '')
  const Pool = loadPool()
  const pool = new Pool(origin, {
    connections: options.maxConnections,
    // One request per connection at a time: whatever breaks it can only be the answer to that request.
    pipelining: 1,
    // HTTP/2 costs 1.8 times the CPU and gains nothing.
    allowH2: false,
    connect: { timeout: connectTimeoutMs, ...(options.lookup && { lookup: options.lookup }) },
    // There is one time limit: the request's own.
    headersTimeout: 0,
    bodyTimeout: 0,
    maxHeaderSize: maxHeaderBytes
  })
  return {
    send(request) {
      const exchange = new Exchange(options.provider, request)
      if (!request.signal.aborted) {
        const { headers, body } = toSend(request, exchange)
        pool.dispatch({ method: request.method, path: basePath + request.path, headers, body }, exchange)
      }
      return exchange.response
    },
    async [Symbol.asyncDispose]() {
      await pool.destroy()
    }
  }
}

function toSend({ headers, body }: UpstreamRequest, exchange: Exchange) {
  const sent = { 'accept-encoding': 'identity', ...headers }
  if (body === undefined) return { headers: sent, body: null }
  if (typeof body === 'string' || body instanceof Uint8Array) return { headers: sent, body }
  const length = { 'content-length': String(body.sizeBytes) }
  return { headers: { ...sent, ...length }, body: Readable.from(exchange.upload(body.bytes), { objectMode: false }) }
}

const connectTimeoutMs = 10_000
const maxHeaderBytes = 32_768
