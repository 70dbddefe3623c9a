import type { IncomingHttpHeaders, ServerResponse } from 'node:http'
import type { Call, Caller } from '../call.ts'
import { deadlineExceeded, GatewayError, gatewayError, toGatewayError } from '../errors.ts'
import { type Logger, withFields } from '../log.ts'
import type { HttpResponse } from './listener.ts'
import type { RequestRecord } from './request-record.ts'

export interface CallOptions {
  record: Pick<RequestRecord, 'id' | 'traceId' | 'credential' | 'fail'>
  caller: Caller
  choice?: Call['choice'] | undefined
  metadata?: Call['metadata'] | undefined
  headers: IncomingHttpHeaders
  /** Unix milliseconds after which the caller waits no longer; Infinity where it did not say. */
  deadlineMs: number
  /** The answer; the call lasts until it is closed. */
  response: HttpResponse
  log: Logger
}

/**
 * Opens the call of one request, the same for REST and RPC. Its signal aborts with the GatewayError that tells why: `CANCELLED` when the
 * caller goes away before it is answered, else `DEADLINE_EXCEEDED`. Every log line through it carries the request id and, where the
 * caller sent a W3C `traceparent`, the trace id, which the record keeps as well; it also notes a caller that went away.
 */
export function openCall({ record, caller, headers, deadlineMs, choice, metadata, response, log }: CallOptions): Call {
  const controller = new AbortController()
  const remainingMs = deadlineMs - Date.now()
  const expire = () => controller.abort(deadlineExceeded(remainingMs))
  const timer = remainingMs <= longestTimerMs ? setTimeout(expire, Math.max(0, remainingMs)) : undefined
  const close = () => {
    clearTimeout(timer)
    if (response.writableEnded) return
    const reason = Date.now() >= deadlineMs - hangUpMs ? deadlineExceeded(remainingMs) : gatewayError('CANCELLED', {})
    record.fail(reason)
    controller.abort(reason)
  }
  if (isGone(response)) close()
  // Before the listener that closes the record.
  else response.prependListener('close', close)

  record.traceId = traceIdOf(headers.traceparent)
  const call: Call = {
    id: record.id,
    caller,
    signal: controller.signal,
    deadlineMs,
    answered: async () => {
      if (!isGone(response)) await new Promise((resolve) => response.once('close', resolve))
      return isWhole(response)
    },
    tell: (header, value) => {
      if (!response.headersSent) (response as ServerResponse).setHeader(header, value)
    },
    calledWith: (credentials) => {
      record.credential = credentials.map(({ kind, id }) => (id === '' ? kind : `${kind}:${id}`)).join(', ')
      const kinds = credentials.map(({ kind }) => kind).filter((kind, index, all) => all.indexOf(kind) === index)
      if (!response.headersSent) (response as ServerResponse).setHeader('x-atelier-credential', kinds.join(', '))
    },
    log: withFields(log, record.traceId === '' ? { request: record.id } : { request: record.id, trace: record.traceId })
  }
  if (choice) call.choice = choice
  if (metadata !== undefined) call.metadata = metadata
  return call
}

/**
 * What a value thrown during a call is to its caller. After the call was ended, whatever its ending made other code throw is reported as
 * the deadline or the cancellation that it was; what is known about the upstream call stays.
 */
export function errorOfCall(thrown: unknown, call: Call): GatewayError {
  const ended: unknown = call.signal.aborted ? call.signal.reason : undefined
  if (!(ended instanceof GatewayError) || thrown === ended) return toGatewayError(thrown)
  if (thrown instanceof GatewayError && (thrown.reason !== 'CANCELLED' || ended.reason === 'CANCELLED')) return thrown
  const outcome = thrown instanceof GatewayError ? thrown.outcome : undefined
  return new GatewayError(ended.reason, ended.fields, { cause: thrown, ...(outcome && { outcome }) })
}

/** A client hangs up when its deadline passes, which it counts from a moment before the request reached us. */
const hangUpMs = 200

/** Node's timers fire at once when they are set for longer. */
const longestTimerMs = 2 ** 31 - 1

/** Whether the connection was lost before anybody could listen for its end. */
function isGone(response: HttpResponse): boolean {
  return 'stream' in response ? response.stream.destroyed : response.destroyed
}

/** Whether all of the answer was handed to the network before its end. */
function isWhole(response: HttpResponse): boolean {
  return 'stream' in response ? response.stream.writableFinished && response.stream.rstCode === 0 : response.writableFinished
}

function traceIdOf(traceparent: unknown): string {
  if (traceparent === undefined) return ''
  const traceId = /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-|$)/.exec(String(traceparent))?.[1] ?? ''
  return /^0*$/.test(traceId) ? '' : traceId
}
