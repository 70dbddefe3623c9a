import type { IncomingMessage, ServerResponse } from 'node:http'
import type { DescMessage } from '@bufbuild/protobuf'
import { Code, ConnectError, createConnectRouter, createContextValues } from '@connectrpc/connect'
import type { UniversalHandler, UniversalServerResponse } from '@connectrpc/connect/protocol'
import { universalRequestFromNodeRequest } from '@connectrpc/connect-node'
import { file_atelier_v1_error } from '../../gen/atelier/v1/error_pb.ts'
import { file_google_rpc_error_details } from '../../gen/google/rpc/error_details_pb.ts'
import { Health } from '../../gen/grpc/health/v1/health_pb.ts'
import { ServerReflection } from '../../gen/grpc/reflection/v1/reflection_pb.ts'
import { ServerReflection as ServerReflectionAlpha } from '../../gen/grpc/reflection/v1alpha/reflection_pb.ts'
import { type Authenticator, requireScope } from '../admission/authenticate.ts'
import { type GatewayError, gatewayError, toGatewayError } from '../errors.ts'
import { readCallHeaders } from './call-headers.ts'
import type { Cors } from './cors.ts'
import { protocolOf, refuseRpc, spellGrpcMessage } from './error-response.ts'
import { createHealth } from './health.ts'
import type { HttpRequest, HttpResponse } from './listener.ts'
import { setPortkeyHeaders } from './portkey-headers.ts'
import type { ProviderChoices } from './provider-choice.ts'
import { createReflection } from './reflection.ts'
import { type OpenRecord, type RequestRecord, statusOf } from './request-record.ts'
import { guardedServices, scopeOfRpc } from './rpc-access.ts'
import { addServices, type Exchange, exchangeKey, type RpcServicesDeps } from './rpc-services.ts'
import { sendAnswer } from './send-answer.ts'

export interface RpcOptions {
  /** Largest request message. Unset: 4 MiB. */
  maxRequestBytes?: number
  /** Most bytes of images in one answer; larger ones become links. Unset: 3 MiB, because gRPC clients refuse messages above 4. */
  maxImageBytes?: number
  /** Longest deadline; a caller's longer one is lowered to it. Unset: 1 h. */
  maxTimeoutMs?: number
}

export interface RpcDeps extends RpcServicesDeps {
  authenticator: Authenticator
  choices: ProviderChoices
  openRecord: OpenRecord
  cors: Cors
  /** Why the server should get no new requests; undefined while it should. */
  unready(): string | undefined
}

/**
 * Serves gRPC, gRPC-Web and Connect: takes a request and returns true, or returns false for what is no RPC. Callers are authenticated by
 * their headers, and refused in their own protocol, also for what their keys do not allow, before the body is read; health and reflection,
 * which tell nothing that is not public, need no key. Never throws.
 */
export function createRpcHandler(deps: RpcDeps, options: RpcOptions = {}): (req: HttpRequest, res: HttpResponse) => boolean {
  const maxRequestBytes = options.maxRequestBytes ?? 4 * 1024 * 1024
  const maxTimeoutMs = options.maxTimeoutMs ?? 3_600_000
  const router = createConnectRouter({
    // Compressing an image costs 100 ms and gains nothing.
    acceptCompression: [],
    readMaxBytes: maxRequestBytes,
    writeMaxBytes: 64 * 1024 * 1024,
    // A misspelt field or enum value must not be dropped in silence.
    jsonOptions: { ignoreUnknownFields: false },
    requestGate: (context) => {
      const exchange = context.values.get(exchangeKey)
      if (exchange) exchange.context = context
    }
  })
  addServices(router, { maxRequestBytes, maxImageBytes: options.maxImageBytes ?? 3 * 1024 * 1024 }, deps)
  const reflection = createReflection(describedFiles, serviceNames)
  router.service(Health, createHealth({ services: serviceNames, unready: deps.unready }))
  router.service(ServerReflection, reflection)
  router.service(ServerReflectionAlpha, reflection)
  const handlers = new Map(router.handlers.map((handler) => [handler.requestPath, handler]))

  async function serve(req: HttpRequest, res: HttpResponse, path: string, handler: UniversalHandler | undefined): Promise<void> {
    const record = deps.openRecord(handler ? `${handler.service.typeName}.${handler.method.name}` : 'unknown')
    res.once('close', () => record.close(statusOf(res)))
    res.setHeader('x-request-id', record.id)
    setPortkeyHeaders(req.headers, res, record.id)
    try {
      if (deps.cors(req as IncomingMessage, res as ServerResponse)) return
      if (!handler) throw gatewayError('ROUTE_NOT_FOUND', { method: req.method ?? '', path: path.slice(0, 200) })
      await run(req, res, handler, record)
    } catch (thrown) {
      const isGone = 'stream' in res ? res.stream.destroyed : res.destroyed
      const error = isGone ? gatewayError('CANCELLED', {}, { cause: thrown }) : toGatewayError(thrown)
      record.fail(error)
      if (isGone || res.headersSent) res.destroy()
      else refuseRpc(req, res, error, record.id)
    }
  }

  async function run(req: HttpRequest, res: HttpResponse, handler: UniversalHandler, record: RequestRecord): Promise<void> {
    if (!handler.allowedMethods.includes(req.method ?? '')) {
      throw gatewayError('METHOD_NOT_ALLOWED', {
        method: req.method ?? '',
        path: handler.requestPath,
        allowed: handler.allowedMethods.join(', ')
      })
    }
    const values = createContextValues()
    let exchange: Exchange | undefined
    const scope = scopeOfRpc(handler.method)
    if (scope !== undefined) {
      const authenticated = deps.authenticator.authenticate(req.headers)
      record.caller = authenticated.caller
      requireScope(record.caller, scope)
      const rpcs = [`${handler.service.typeName}.${handler.method.name}`]
      const said = readCallHeaders(req.headers, authenticated, { scope, rpcs }, deps.choices)
      exchange = { req, res, record, caller: record.caller, said, entered: false }
      values.set(exchangeKey, exchange)
    }
    if (protocolOf(req) === undefined) throw unknownContentType(req)
    const request = universalRequestFromNodeRequest(req, res, undefined, values)
    lowerDeadline(request.header, maxTimeoutMs)
    const begunAtMs = performance.now()
    const answer = await handler(request)
    if (answer.status === 415) throw unknownContentType(req)
    const complaint = exchange && complaintOf(exchange, { maxRequestBytes, elapsedMs: performance.now() - begunAtMs })
    if (complaint) throw complaint
    if (answer.trailer) spellGrpcMessage(answer.trailer)
    if (answer.trailer && answer.trailer.get('grpc-status') !== '0') sendTrailersAlone(answer, answer.trailer, res)
    else await sendAnswer(answer, res, record, exchange?.standIns)
  }

  return (req, res) => {
    const { url = '' } = req
    const query = url.indexOf('?')
    const path = query === -1 ? url : url.slice(0, query)
    const handler = handlers.get(path)
    if (!handler && !isRpc(req, path)) return false
    void serve(req, res, path, handler)
    return true
  }
}

const services = [...guardedServices, Health, ServerReflection, ServerReflectionAlpha]
const serviceNames = services.map(({ typeName }) => typeName)
const servicePrefixes = serviceNames.map((name) => `/${name}/`)
const describedFiles = [...services.map(({ file }) => file), file_atelier_v1_error, file_google_rpc_error_details]

/** Whether a request that no handler takes should be told so as an RPC. */
function isRpc(req: HttpRequest, path: string): boolean {
  if (servicePrefixes.some((prefix) => path.startsWith(prefix))) return true
  return /^application\/(?:grpc|connect\+|proto)/.test(req.headers['content-type'] ?? '')
}

function unknownContentType(req: HttpRequest): GatewayError {
  const given = (req.headers['content-type'] ?? '').slice(0, 100)
  return gatewayError('UNSUPPORTED_MEDIA_TYPE', {
    problem: `the content type "${given}" is not understood here: use application/json, application/proto, application/grpc or application/grpc-web`
  })
}

/** gRPC clients may ask for any time, the router refuses what is above its limit, and Node's timers overflow after 24 days. */
function lowerDeadline(headers: Headers, maxTimeoutMs: number): void {
  const [, digits, unit] = /^(\d{1,8})([HMS])$/.exec(headers.get('grpc-timeout') ?? '') ?? []
  const seconds = Number(digits ?? 0) * (unit === 'H' ? 3600 : unit === 'M' ? 60 : 1)
  if (seconds * 1000 > maxTimeoutMs) headers.set('grpc-timeout', `${maxTimeoutMs}m`)
  if (Number(headers.get('connect-timeout-ms') ?? 0) > maxTimeoutMs) headers.set('connect-timeout-ms', `${maxTimeoutMs}`)
}

/** What the router has against a request that it did not hand on, in our own terms; undefined where its own answer is the best. */
function complaintOf({ entered, context }: Exchange, limits: { maxRequestBytes: number; elapsedMs: number }): GatewayError | undefined {
  const reason: unknown = context?.signal.reason
  if (entered || !(reason instanceof ConnectError)) return undefined
  switch (reason.code) {
    case Code.ResourceExhausted:
      return gatewayError('BODY_TOO_LARGE', { limitBytes: limits.maxRequestBytes })
    case Code.DeadlineExceeded:
      return gatewayError('BODY_TOO_SLOW', { limitSeconds: Math.round(limits.elapsedMs / 100) / 10 })
    case Code.Canceled:
    case Code.Aborted:
      return gatewayError('CANCELLED', {}, { cause: reason })
    case Code.Unimplemented:
      return undefined
    default: {
      const param = paramOf(reason.rawMessage, context?.method.input)
      return gatewayError('MALFORMED_BODY', { problem: reason.rawMessage }, { cause: reason, ...(param === undefined ? {} : { param }) })
    }
  }
}

/** The field at fault, which protobuf's decoders only name in their messages; for an enum they name its type. */
function paramOf(problem: string, input: DescMessage | undefined): string | undefined {
  const enumName = /\bdecode enum (\S+) /.exec(problem)?.[1]
  if (enumName !== undefined) return input?.fields.find((field) => field.enum?.typeName === enumName)?.name
  return (/\bdecode (?:field|oneof) atelier\.v1\.\w+\.(\w+) /.exec(problem) ?? /\bkey "(\w{1,64})"/.exec(problem))?.[1]
}

/** For what failed before its first message: gRPC clients follow their retry policy only where nothing but trailers comes. */
function sendTrailersAlone({ status, header }: UniversalServerResponse, trailer: Headers, res: HttpResponse): void {
  for (const [name, value] of [...new Headers(header), ...trailer]) res.setHeader(name, value)
  res.statusCode = status
  res.end()
}
