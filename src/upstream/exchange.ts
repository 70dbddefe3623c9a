import type { Dispatcher } from 'undici'
import { deadlineExceeded, GatewayError, gatewayError, type Outcome, toGatewayError } from '../errors.ts'
import type { UpstreamBody, UpstreamRequest, UpstreamResponse } from './client.ts'

/**
 * One request and its answer: takes what undici reports about them and is the answer's body. Owns the connection until the answer's end;
 * between undici and the reader stands nothing but a queue that is emptied before more is taken from the connection.
 */
export class Exchange implements Dispatcher.DispatchHandler, AsyncIterableIterator<Uint8Array>, UpstreamBody {
  readonly response: Promise<UpstreamResponse>
  readonly #provider: string
  readonly #signal: AbortSignal
  readonly #timer: NodeJS.Timeout
  readonly #answer = Promise.withResolvers<UpstreamResponse>()
  readonly #queue: Uint8Array[] = []
  #queuedBytes = 0
  #reader: PromiseWithResolvers<IteratorResult<Uint8Array>> | undefined
  /** Set when undici is about to write the request to a connection, never before. */
  #controller: Dispatcher.DispatchController | undefined
  #state: 'open' | 'ended' | 'failed' = 'open'
  #failure: unknown

  constructor(provider: string, request: UpstreamRequest) {
    this.#provider = provider
    this.#signal = request.signal
    this.response = this.#answer.promise
    const timeoutMs = Math.min(request.timeoutMs, longestTimerMs)
    this.#timer = setTimeout(() => this.#stop(this.#deadlineExceeded(request.timeoutMs)), timeoutMs)
    if (request.signal.aborted) this.#onAbort()
    else request.signal.addEventListener('abort', this.#onAbort)
  }

  /** The body of the request on its way to the connection. What its source throws is what the exchange fails with. */
  async *upload(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
    const chunks = bytes[Symbol.asyncIterator]()
    // Only what the source throws: when the connection breaks, undici throws that in here too.
    const next = () =>
      chunks.next().catch((error: unknown) => {
        this.#stop(this.#brokenOff(error))
        throw error
      })
    try {
      for (let chunk = await next(); !chunk.done; chunk = await next()) yield chunk.value
    } finally {
      await chunks.return?.()
    }
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    // A request that was stopped while it waited for a connection: throwing takes it out and leaves the connection to others.
    if (this.#state !== 'open') throw new Error('the request was stopped')
    this.#controller = controller
  }

  onResponseStart(_controller: Dispatcher.DispatchController, status: number, headers: UpstreamResponse['headers']): void {
    if (status < 200) return
    const encoding = headers['content-encoding']
    if (encoding !== undefined && encoding !== 'identity' && encoding !== '') {
      this.#stop(this.#unknown(`the answer has the content-encoding ${nameOf(encoding)}, although none was accepted`))
      return
    }
    this.#answer.resolve({ status, headers, body: this })
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Uint8Array): void {
    if (this.#state !== 'open') return
    if (this.#reader) {
      this.#reader.resolve({ done: false, value: chunk })
      this.#reader = undefined
      return
    }
    this.#queue.push(chunk)
    this.#queuedBytes += chunk.length
    if (this.#queuedBytes >= fullQueueBytes) controller.pause()
  }

  onResponseEnd(): void {
    if (this.#state !== 'open') return
    this.#close('ended')
    this.#reader?.resolve(endOfBody)
    this.#reader = undefined
  }

  onResponseError(_controller: Dispatcher.DispatchController | null, error: Error): void {
    this.#fail(this.#controller ? this.#unknown(describe(error), error) : this.#unreachable(error))
  }

  get whole(): Uint8Array | undefined {
    return this.#state === 'ended' && this.#queue.length === 1 ? this.#queue[0] : undefined
  }

  next(): Promise<IteratorResult<Uint8Array>> {
    const chunk = this.#queue.shift()
    if (chunk) {
      this.#queuedBytes -= chunk.length
      if (this.#queue.length === 0 && this.#state === 'open') this.#controller?.resume()
      return Promise.resolve({ done: false, value: chunk })
    }
    if (this.#state === 'failed') {
      this.#state = 'ended'
      return Promise.reject(this.#failure)
    }
    if (this.#state === 'ended') return Promise.resolve(endOfBody)
    this.#reader = Promise.withResolvers()
    return this.#reader.promise
  }

  return(): Promise<IteratorResult<Uint8Array>> {
    if (this.#state === 'open') {
      this.#close('ended')
      this.#controller?.abort(new Error('the answer was left'))
      this.#reader?.resolve(endOfBody)
      this.#reader = undefined
    }
    this.#queue.length = 0
    return Promise.resolve(endOfBody)
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  readonly #onAbort = () => this.#stop(this.#cancelled())

  /** Fails the exchange from our side and closes its connection. */
  #stop(error: GatewayError): void {
    this.#fail(error)
    this.#controller?.abort(error)
  }

  #fail(error: GatewayError): void {
    if (this.#state !== 'open') return
    this.#close('failed')
    this.#failure = error
    this.#queue.length = 0
    // Whoever waits learns it now, and once: the sender, a reader, or the next one who reads.
    this.#answer.reject(error)
    if (this.#reader) {
      this.#state = 'ended'
      this.#reader.reject(error)
      this.#reader = undefined
    }
  }

  #close(state: 'ended' | 'failed'): void {
    this.#state = state
    clearTimeout(this.#timer)
    this.#signal.removeEventListener('abort', this.#onAbort)
  }

  get #outcome(): Outcome {
    return this.#controller ? 'unknown' : 'not_sent'
  }

  #unreachable(error: Error): GatewayError {
    const retryable = codeOf(error) !== 'UND_ERR_INVALID_ARG'
    return gatewayError(
      'PROVIDER_UNREACHABLE',
      { provider: this.#provider, problem: describe(error) },
      { outcome: 'not_sent', retryable, cause: withoutDetails(error) }
    )
  }

  #unknown(problem: string, error?: Error): GatewayError {
    return gatewayError(
      'OUTCOME_UNKNOWN',
      { provider: this.#provider, problem },
      { outcome: 'unknown', ...(error ? { cause: withoutDetails(error) } : {}) }
    )
  }

  #deadlineExceeded(timeoutMs: number): GatewayError {
    return deadlineExceeded(timeoutMs, { outcome: this.#outcome })
  }

  #brokenOff(error: unknown): GatewayError {
    const { reason, fields, param } = toGatewayError(error)
    return new GatewayError(reason, fields, { outcome: this.#outcome, cause: error, ...(param === undefined ? {} : { param }) })
  }

  #cancelled(): GatewayError {
    const reason: unknown = this.#signal.reason
    if (reason instanceof GatewayError) return new GatewayError(reason.reason, reason.fields, { outcome: this.#outcome, cause: reason })
    return gatewayError('CANCELLED', {}, { outcome: this.#outcome })
  }
}

/** One read of a socket. */
const fullQueueBytes = 65_536

/** Timers beyond this fire at once. */
const longestTimerMs = 2_147_483_647

const endOfBody: IteratorResult<Uint8Array> = { done: true, value: undefined }

const problems: Record<string, string> = {
  ENOTFOUND: 'its host name does not resolve',
  EAI_AGAIN: 'its host name could not be resolved',
  ECONNREFUSED: 'the connection was refused',
  ERR_ADDRESS_NOT_PUBLIC: 'its host name leads to an address that is not public',
  UND_ERR_CONNECT_TIMEOUT: 'no connection was made in time',
  ECONNRESET: 'the connection was reset',
  EPIPE: 'the connection was closed',
  UND_ERR_SOCKET: 'the connection was closed before the answer was whole',
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: 'the body has not the length that was announced',
  UND_ERR_REQ_CONTENT_LENGTH_MISMATCH: 'the body of the request has not the length that was announced',
  UND_ERR_HEADERS_OVERFLOW: 'the headers of the answer are too large',
  UND_ERR_DESTROYED: 'the client was closed',
  UND_ERR_INVALID_ARG: 'the request cannot be written as HTTP'
}

function describe(error: Error): string {
  const code = codeOf(error)
  const problem = problems[code] ?? (code.startsWith('HPE_') ? 'the answer is not valid HTTP/1.1' : 'the connection failed')
  return code ? `${problem} (${code})` : problem
}

function codeOf(error: Error): string {
  return 'code' in error && typeof error.code === 'string' ? error.code : ''
}

/** Name and message only: undici hangs sockets and raw bytes of the answer on its errors. */
function withoutDetails(error: Error): Error {
  return new Error(`${error.name}: ${error.message}`)
}

function nameOf(encoding: string | string[]): string {
  return /^[\w-]{1,20}$/.exec(String(encoding))?.[0] ?? 'of an unknown name'
}
