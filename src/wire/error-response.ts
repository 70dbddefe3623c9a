import { constants, type Http2ServerRequest } from 'node:http2'
import { create, type DescMessage, type MessageInitShape } from '@bufbuild/protobuf'
import { DurationSchema } from '@bufbuild/protobuf/wkt'
import { Code, ConnectError } from '@connectrpc/connect'
import { encodeEnvelope } from '@connectrpc/connect/protocol'
import { codeToHttpStatus, endStreamFlag, endStreamToJson, errorToJsonBytes } from '@connectrpc/connect/protocol-connect'
import { setTrailerStatus } from '@connectrpc/connect/protocol-grpc'
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from '../../gen/google/rpc/error_details_pb.ts'
import { errorTable, type GatewayError, type Reason, toGatewayError } from '../errors.ts'
import { toRestWords } from './header-fields.ts'
import type { HttpRequest, HttpResponse } from './listener.ts'
import { dialectOf } from './rest-route.ts'

export interface RestError {
  status: number
  /** Lower-case names; without those that every answer has. */
  headers: Record<string, string>
  /** JSON: `{"error":{message,type,param,code}}`, always all four keys; or in an envelope. */
  body: string
}

/** Any thrown value as gRPC and Connect state it: code, message, and ErrorInfo, BadRequest and RetryInfo as details. */
export function toConnectError(thrown: unknown, requestId: string): ConnectError {
  const error = toGatewayError(thrown)
  const message = shorten(error.message, 1000)
  const param = error.param === undefined ? undefined : shorten(error.param, 200)
  const details = [
    detail(ErrorInfoSchema, { reason: error.reason, domain: 'atelier.v1', metadata: infoOf(error, requestId, param) }),
    ...(param === undefined ? [] : [detail(BadRequestSchema, { fieldViolations: [{ field: param, description: message }] })]),
    ...(error.retryAfterMs === undefined ? [] : [detail(RetryInfoSchema, { retryDelay: duration(waitMs(error.retryAfterMs)) })])
  ]
  return new ConnectError(message, error.entry.rpc, pushback(error), details, thrown)
}

/**
 * Any thrown value as REST states it, in OpenAI's shape. The model name as the caller wrote it decides whose words a refusal by a safety
 * system is told in.
 */
export function toRestError(thrown: unknown, requestId: string, writtenModel?: string): RestError {
  const error = toGatewayError(thrown)
  const { http: status, type } = error.entry
  const plain = { message: error.message.toWellFormed(), type, param: error.param?.toWellFormed() ?? null, code: error.code }
  const inGptImageWords = error.reason === 'CONTENT_POLICY_VIOLATION' && gptImageName.test(writtenModel ?? '')
  const body = JSON.stringify({ error: inGptImageWords ? { ...plain, ...gptImageRefusal(error) } : plain })
  return { status, headers: restHeaders(error, status, requestId), body }
}

/** Any thrown value as the enveloped dialect states it, with one of its five codes and their statuses. A `taskId` may be empty. */
export function toEnvelopedError(thrown: unknown, requestId: string, ids: { taskId: string; traceId: string }): RestError {
  const error = toGatewayError(thrown)
  const code = envelopedCode(error.reason)
  const task = ids.taskId === '' ? {} : { task_id: ids.taskId }
  const fields = { error: { code, message: error.message.toWellFormed() }, trace_id: ids.traceId }
  const status = envelopedStatus[code]
  return { status, headers: restHeaders(error, status, requestId), body: JSON.stringify({ success: false, ...task, ...fields }) }
}

/** The code under which the enveloped dialect knows a reason. */
export function envelopedCode(reason: string): EnvelopedCode {
  const http = Object.hasOwn(errorTable, reason) ? errorTable[reason as Reason].http : 500
  if (reason === 'ROUTE_NOT_FOUND' || reason === 'MODEL_NOT_FOUND') return 'api_not_implemented'
  if (http === 401 || http === 403) return 'invalid_token'
  if (http === 429) return 'too_many_requests'
  return http < 500 ? 'token_mismatched' : 'api_error'
}

export type EnvelopedCode = keyof typeof envelopedStatus

const envelopedStatus = {
  token_mismatched: 400,
  api_not_implemented: 400,
  invalid_token: 401,
  too_many_requests: 429,
  api_error: 500
} as const

function restHeaders(error: GatewayError, status: number, requestId: string): Record<string, string> {
  return {
    'x-request-id': requestId,
    ...(error.retryAfterMs === undefined ? {} : retryAfter(waitMs(error.retryAfterMs))),
    // OpenAI's SDKs send again what failed with 408, 409, 429 or 5xx, and Portkey's any 5xx, unless these headers forbid it.
    ...(((status >= 500 || status === 429) && !error.retryable) || error.outcome === 'unknown'
      ? { 'x-should-retry': 'false', 'x-portkey-gateway-exception': 'true' }
      : {}),
    ...(error.reason === 'METHOD_NOT_ALLOWED' ? { allow: String(error.fields.allowed) } : {}),
    ...(status === 401 ? { 'www-authenticate': 'Bearer' } : {})
  }
}

export interface RestErrorContext {
  /** The model as the caller wrote it. */
  writtenModel?: string | undefined
  /** The caller's own name for the request; unset or empty where it gave none. */
  traceId?: string
}

/**
 * Answers with an error in the dialect of the path, without reading what is left of the body. It names the task that the answer's headers
 * name already. Does nothing once an answer has begun.
 */
export function sendRestError(
  req: HttpRequest,
  res: HttpResponse,
  thrown: unknown,
  requestId: string,
  context: RestErrorContext = {}
): void {
  const error = toRestWords(thrown)
  const ids = { taskId: String(res.getHeader('x-atelier-task-id') ?? ''), traceId: context.traceId || requestId }
  const { status, headers, body } =
    dialectOf(req.url) === 'enveloped' ? toEnvelopedError(error, requestId, ids) : toRestError(error, requestId, context.writtenModel)
  send(req, res, status, { ...headers, 'content-type': 'application/json' }, Buffer.from(body))
}

/**
 * Answers an RPC with an error before its body is read, in the protocol that its headers announce. What speaks neither gRPC, gRPC-Web
 * nor Connect gets the REST answer. Does nothing once an answer has begun.
 */
export function refuseRpc(req: HttpRequest, res: HttpResponse, thrown: unknown, requestId: string): void {
  const { status, headers, body } = rpcRefusal(req, thrown, requestId)
  send(req, res, status, { 'x-request-id': requestId, ...headers }, body)
}

function rpcRefusal(
  req: HttpRequest,
  thrown: unknown,
  requestId: string
): { status: number; headers: Record<string, string>; body?: Uint8Array } {
  const contentType = req.headers['content-type'] ?? ''
  const error = toConnectError(thrown, requestId)
  switch (protocolOf(req)) {
    case 'grpc': {
      // Trailers alone: the status stands in the headers. gRPC-Web reads it there too.
      const trailers = spellGrpcMessage(setTrailerStatus(new Headers(), error))
      return { status: 200, headers: { ...Object.fromEntries(trailers), 'content-type': contentType } }
    }
    case 'connect-stream': {
      const end = new TextEncoder().encode(JSON.stringify(endStreamToJson(new Headers(), error, undefined)))
      return { status: 200, headers: { 'content-type': contentType }, body: encodeEnvelope(endStreamFlag, end) }
    }
    case 'connect-unary': {
      const authenticate = error.code === Code.Unauthenticated ? { 'www-authenticate': 'Bearer' } : {}
      const headers = { ...Object.fromEntries(error.metadata), ...authenticate, 'content-type': 'application/json' }
      return { status: codeToHttpStatus(error.code), headers, body: errorToJsonBytes(error, undefined) }
    }
    case undefined: {
      const { status, headers, body } = toRestError(thrown, requestId)
      return { status, headers: { ...headers, 'content-type': 'application/json' }, body: Buffer.from(body) }
    }
  }
}

/**
 * Writes `grpc-message` as gRPC's specification has it, with as few escapes as possible: the router escapes punctuation too, which
 * @grpc/grpc-js hands on as it is.
 */
export function spellGrpcMessage(trailers: Headers): Headers {
  const message = trailers.get('grpc-message')
  if (message) trailers.set('grpc-message', decodeURIComponent(message).replace(/[^\x20-\x24\x26-\x7e]+/g, encodeURIComponent))
  return trailers
}

/** The RPC protocol that a request's headers announce; undefined for anything else. */
export function protocolOf(req: HttpRequest): 'grpc' | 'connect-stream' | 'connect-unary' | undefined {
  const contentType = req.headers['content-type'] ?? ''
  if (/^application\/grpc(?:-web)?(?:\+|;|$)/.test(contentType)) return 'grpc'
  if (/^application\/connect\+/.test(contentType)) return 'connect-stream'
  if (/^application\/(?:json|proto)\s*(?:;|$)/.test(contentType)) return 'connect-unary'
  return req.method === 'GET' && /[?&]connect=v1(?:&|$)/.test(req.url ?? '') ? 'connect-unary' : undefined
}

function infoOf(error: GatewayError, requestId: string, param: string | undefined): Record<string, string> {
  return {
    requestId,
    retryable: String(error.retryable),
    ...(param === undefined ? {} : { param }),
    ...(error.outcome === undefined ? {} : { outcome: error.outcome }),
    ...(error.moderation === undefined
      ? {}
      : { moderationStage: error.moderation.stage, moderationCategories: shorten(error.moderation.categories.join(','), 200) })
  }
}

function detail<Desc extends DescMessage>(desc: Desc, value: MessageInitShape<Desc>) {
  return { desc, value: create(desc, value) }
}

/** gRPC's own word for "wait this long" and "do not send it again", which clients with a retry policy obey. */
function pushback(error: GatewayError): Record<string, string> {
  if (error.outcome === 'unknown' || !error.retryable) return { 'grpc-retry-pushback-ms': '-1' }
  return error.retryAfterMs === undefined ? {} : { 'grpc-retry-pushback-ms': String(waitMs(error.retryAfterMs)) }
}

function retryAfter(ms: number): Record<string, string> {
  return { 'retry-after': String(Math.max(1, Math.ceil(ms / 1000))), 'retry-after-ms': String(ms) }
}

/** One SDK sleeps as long as it is told, deaf to cancellation, and another ignores waits above a minute. */
function waitMs(retryAfterMs: number): number {
  return Math.min(60_000, Math.max(1, Math.ceil(retryAfterMs)))
}

function duration(ms: number) {
  return create(DurationSchema, { seconds: BigInt(Math.floor(ms / 1000)), nanos: (ms % 1000) * 1_000_000 })
}

/** With or without the provider's name in front. */
const gptImageName = /^(?:[^/]+\/)?(?:gpt|chatgpt)-image-/

function gptImageRefusal({ moderation }: GatewayError) {
  return {
    type: 'image_generation_user_error',
    code: 'moderation_blocked',
    moderation_details: { moderation_stage: moderation?.stage ?? 'unknown', categories: moderation?.categories ?? [] }
  }
}

/** RPC errors travel in headers, of which clients accept 8 KiB, and half a surrogate pair cannot be encoded at all. */
function shorten(text: string, maxBytes: number): string {
  const bytes = Buffer.from(text.toWellFormed())
  // As a stream, so that a character which the cut would split is left out.
  return bytes.length <= maxBytes ? bytes.toString() : `${new TextDecoder().decode(bytes.subarray(0, maxBytes), { stream: true })}…`
}

function send(req: HttpRequest, res: HttpResponse, status: number, headers: Record<string, string>, body?: Uint8Array): void {
  if (res.headersSent || res.writableEnded) return
  // Nobody will read the rest of the body, so the connection cannot carry another request.
  if ('shouldKeepAlive' in res && !req.complete && hasBody(req)) res.shouldKeepAlive = false
  if ('stream' in req && !req.complete && !req.stream.endAfterHeaders) discardFor(req, lingerMs)
  for (const [name, value] of Object.entries(headers)) res.setHeader(name, value)
  if (body && req.method !== 'HEAD') res.setHeader('content-length', body.byteLength)
  res.statusCode = status
  if (body && req.method !== 'HEAD') res.end(body)
  else res.end()
}

const lingerMs = 2_000

/** Takes the rest of a body for a while: clients lose the answer when their stream is reset while they still send. */
function discardFor(req: Http2ServerRequest, durationMs: number): void {
  req.resume()
  const timer = setTimeout(() => req.stream.close(constants.NGHTTP2_NO_ERROR), durationMs)
  req.stream.once('close', () => clearTimeout(timer))
}

function hasBody(req: HttpRequest): boolean {
  return req.headers['transfer-encoding'] !== undefined || Number(req.headers['content-length'] ?? 0) > 0
}
