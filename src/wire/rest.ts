import type { IncomingMessage, ServerResponse } from 'node:http'
import { create } from '@bufbuild/protobuf'
import { EstimateCostRequestSchema, EstimateCostResponseSchema } from '../../gen/atelier/v1/image_service_pb.ts'
import { GetModelRequestSchema, ListModelsRequestSchema } from '../../gen/atelier/v1/model_service_pb.ts'
import { type Authenticator, requireScope } from '../admission/authenticate.ts'
import { encodeMessage } from '../contract/json.ts'
import { gatewayError, toGatewayError } from '../errors.ts'
import type { Operations } from '../invoke.ts'
import type { Logger } from '../log.ts'
import { writtenModel } from '../services/plan-run.ts'
import type { Uploads } from '../storage/uploads.ts'
import { type AskedImages, answerImages } from './answer-images.ts'
import { errorOfCall, openCall } from './call-context.ts'
import { readCallHeaders, type Wanted } from './call-headers.ts'
import type { Cors } from './cors.ts'
import { createEditRoutes } from './edits.ts'
import { createEnvelopedTaskRoutes } from './enveloped-tasks.ts'
import { sendRestError } from './error-response.ts'
import type { HttpRequest, HttpResponse } from './listener.ts'
import type { Metrics } from './metrics.ts'
import { decodeGenerateImages, encodeModel } from './openai-json.ts'
import { setPortkeyHeaders } from './portkey-headers.ts'
import type { ProviderChoices } from './provider-choice.ts'
import { readJsonBody } from './read-body.ts'
import { applyHeaders, requireStream, restDeadlineMs } from './request-headers.ts'
import { type OpenRecord, type RequestRecord, statusOf } from './request-record.ts'
import { dialectOf, type Exchange, type RestRoute } from './rest-route.ts'
import { createRouteTable, routeFor } from './route-table.ts'
import { sendJson, sendText } from './send-json.ts'
import { takeTaskFields } from './task-fields.ts'
import { createTaskRoutes } from './task-routes.ts'

export interface RestDeps {
  operations: Operations
  uploads: Uploads
  authenticator: Authenticator
  choices: ProviderChoices
  downloads: (pathname: string, request: IncomingMessage, response: ServerResponse, record: RequestRecord) => Promise<void>
  metrics: Metrics
  openRecord: OpenRecord
  cors: Cors
  log: Logger
  /** Why the server should get no new requests; undefined while it should. */
  unready(): string | undefined
}

/** The routes of the REST layer; `test/wire/routes.test.ts` pairs each with its RPC. */
export function createRestRoutes(options: { maxBodyBytes: number }, deps: RestDeps): RestRoute[] {
  return [
    ...['/v1/images/generations', '/v1/openai/images/generations', '/openai/images/generations'].map(
      (path): RestRoute => ({
        path,
        methods: ['POST'],
        rpcs: [
          'atelier.v1.ImageService.GenerateImages',
          'atelier.v1.ImageService.StreamGenerateImages',
          'atelier.v1.TaskService.CreateTask'
        ],
        access: 'generate',
        async handle(exchange) {
          const body = await readJsonBody(exchange.request, options.maxBodyBytes)
          const operation: AskedImages['operation'] = (request) => ({ kind: 'generation', request })
          await answerImages(exchange, { body, events: 'image_generation', operation }, deps.operations)
        }
      })
    ),
    ...createEditRoutes(options, deps),
    ...createTaskRoutes(deps),
    ...createEnvelopedTaskRoutes(options, deps),
    {
      path: '/v1/images/estimate',
      methods: ['POST'],
      rpcs: ['atelier.v1.ImageService.EstimateCost'],
      access: 'generate',
      async handle(exchange) {
        const { request, response, record, call } = exchange
        // As it stands in a body that is meant for a task.
        const { rest } = takeTaskFields(await readJsonBody(request, options.maxBodyBytes))
        const { message, stream } = decodeGenerateImages(rest)
        exchange.writtenModel = writtenModel(message)
        applyHeaders(message, request.headers)
        if (!stream) requireStream(message.partialImages)
        const estimate = await deps.operations.estimateCost(create(EstimateCostRequestSchema, { request: message }), call)
        sendJson(response, record, 200, encodeMessage(EstimateCostResponseSchema, estimate))
      }
    },
    {
      path: '/v1/models',
      methods: ['GET', 'HEAD'],
      rpcs: ['atelier.v1.ModelService.ListModels'],
      access: 'generate',
      async handle({ response, record, call }) {
        const { models } = await deps.operations.listModels(create(ListModelsRequestSchema), call)
        sendJson(response, record, 200, { object: 'list', data: models.map(encodeModel) })
      }
    },
    {
      path: '/v1/models/',
      methods: ['GET', 'HEAD'],
      rpcs: ['atelier.v1.ModelService.GetModel'],
      access: 'generate',
      async handle({ response, record, call, rest }) {
        const { model } = await deps.operations.getModel(create(GetModelRequestSchema, { name: rest }), call)
        if (!model) throw gatewayError('MODEL_NOT_FOUND', { model: rest, hint: '' })
        sendJson(response, record, 200, encodeModel(model))
      }
    },
    {
      path: '/healthz',
      methods: ['GET', 'HEAD'],
      rpcs: ['grpc.health.v1.Health.Check'],
      access: 'public',
      async handle({ response, record }) {
        sendJson(response, record, 200, { status: 'ok' })
      }
    },
    {
      path: '/readyz',
      methods: ['GET', 'HEAD'],
      rpcs: ['grpc.health.v1.Health.Check'],
      access: 'public',
      async handle({ response, record }) {
        const reason = deps.unready()
        sendJson(
          response,
          record,
          reason === undefined ? 200 : 503,
          reason === undefined ? { status: 'ready' } : { status: 'unready', reason }
        )
      }
    },
    {
      path: '/metrics',
      methods: ['GET', 'HEAD'],
      rpcs: [],
      access: 'admin',
      async handle({ response, record }) {
        const { contentType, text } = await deps.metrics.render()
        sendText(response, record, 200, contentType, text)
      }
    },
    {
      path: '/images/',
      methods: ['GET', 'HEAD'],
      rpcs: [],
      access: 'public',
      handle: ({ request, response, record, rest }) => deps.downloads(`/images/${rest}`, request, response, record)
    }
  ]
}

/** Serves every request that is not an RPC; whatever happens, it is answered with an error in the dialect of its path or, too late for that, cut off. */
export function createRestHandler(routes: readonly RestRoute[], deps: RestDeps) {
  const find = createRouteTable(routes)

  return async (...pair: [HttpRequest, HttpResponse]): Promise<void> => {
    // Node's compatibility API gives an HTTP/2 request the methods of an HTTP/1.1 one.
    const [request, response] = pair as [IncomingMessage, ServerResponse]
    const pathname = (request.url ?? '/').replace(/[?#].*$/s, '')
    const found = find(pathname)
    const record = deps.openRecord(found?.path ?? 'unknown')
    response.on('close', () => record.close(statusOf(response)))
    response.setHeader('x-request-id', record.id)
    setPortkeyHeaders(request.headers, response, record.id)
    const dialect = dialectOf(request.url)
    const exchange = { request, response, record, rest: '', dialect, traceId: '', writtenModel: undefined } as Omit<
      Exchange,
      'call'
    > as Exchange
    try {
      if (deps.cors(request, response)) return
      if (!found) throw gatewayError('ROUTE_NOT_FOUND', { method: request.method ?? '', path: pathname.slice(0, 200) })
      const route = routeFor(found, request.method ?? '')
      exchange.rest = decodePath(found.rest)
      if (route.access !== 'public') admit({ scope: route.access, rpcs: route.rpcs }, exchange)
      await route.handle(exchange)
    } catch (thrown) {
      refuse(exchange, thrown)
    }
  }

  function admit(wanted: Wanted, exchange: Exchange): void {
    const { request, response, record } = exchange
    const authenticated = deps.authenticator.authenticate(request.headers)
    record.caller = authenticated.caller
    requireScope(record.caller, wanted.scope)
    const { traceId, deadlineMs, choice, metadata } = readCallHeaders(request.headers, authenticated, wanted, deps.choices)
    exchange.traceId = traceId
    exchange.call = openCall({
      record,
      caller: record.caller,
      choice,
      metadata,
      headers: request.headers,
      deadlineMs: Math.min(deadlineMs, restDeadlineMs(request.headers)),
      response,
      log: deps.log
    })
  }

  function refuse({ request, response, record, call, ...context }: Partial<Pick<Exchange, 'call'>> & Exchange, thrown: unknown): void {
    const error = call ? errorOfCall(thrown, call) : toGatewayError(thrown)
    record.fail(error)
    if (response.headersSent || response.destroyed) {
      response.destroy()
      return
    }
    sendRestError(request, response, error, record.id, context)
  }
}

function decodePath(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch (cause) {
    throw gatewayError('MALFORMED_REQUEST', { problem: 'the path holds a malformed percent-encoding' }, { cause })
  }
}
