import type { ServerResponse } from 'node:http'
import { type ConnectRouter, createContextKey, type HandlerContext } from '@connectrpc/connect'
import { ResponseFormat } from '../../gen/atelier/v1/image_pb.ts'
import { ImageService } from '../../gen/atelier/v1/image_service_pb.ts'
import { ModelService } from '../../gen/atelier/v1/model_service_pb.ts'
import type { Call, Caller } from '../call.ts'
import { gatewayError } from '../errors.ts'
import type { Operations } from '../invoke.ts'
import type { Logger } from '../log.ts'
import { errorOfCall, openCall } from './call-context.ts'
import { toConnectError } from './error-response.ts'
import { type FoldDeps, foldResponse } from './fold-response.ts'
import { encodeWarnings, setCost, setServedBy } from './images-response.ts'
import type { HttpRequest, HttpResponse } from './listener.ts'
import { requireStream } from './request-headers.ts'
import type { RequestRecord } from './request-record.ts'
import { streamResponses } from './stream-response.ts'

/** One RPC on its way through the router. */
export interface Exchange {
  req: HttpRequest
  res: HttpResponse
  record: RequestRecord
  caller: Caller
  /** Set as soon as the router knows the RPC. */
  context?: HandlerContext
  /** Whether the implementation has been reached: what fails before that is the router's complaint about the request. */
  entered: boolean
}

/** Under which the router hands an implementation its exchange. */
export const exchangeKey = createContextKey<Exchange | undefined>(undefined, { description: 'exchange' })

export interface RpcServicesDeps {
  operations: Operations
  hostImage: FoldDeps['hostImage']
  log: Logger
}

/** Routes the services of this server to its operations; they answer as REST does, and with the same `x-atelier-…` headers. */
export function addServices(router: ConnectRouter, options: { maxImageBytes: number }, deps: RpcServicesDeps): void {
  const enter = (context: HandlerContext): { call: Call; exchange: Exchange } => {
    const exchange = context.values.get(exchangeKey)
    if (!exchange) throw new Error('an RPC came past its front door')
    exchange.entered = true
    const { req, res, record, caller } = exchange
    const deadlineMs = Date.now() + (context.timeoutMs() ?? Number.POSITIVE_INFINITY)
    return { call: openCall({ record, caller, headers: req.headers, deadlineMs, response: res, log: deps.log }), exchange }
  }

  const failure = (thrown: unknown, call: Call, { record }: Exchange) => {
    const error = errorOfCall(thrown, call)
    record.fail(error)
    return toConnectError(error, call.id)
  }

  const inCall = async <T>(context: HandlerContext, run: (call: Call, exchange: Exchange) => Promise<T>): Promise<T> => {
    const { call, exchange } = enter(context)
    try {
      return await run(call, exchange)
    } catch (thrown) {
      throw failure(thrown, call, exchange)
    }
  }

  router.service(ImageService, {
    generateImages: (request, context) =>
      inCall(context, async (call, exchange) => {
        const { res } = exchange
        requireStream(request.partialImages)
        const events = deps.operations.generateImages(request, call)
        const accepted: FoldDeps['accepted'] = (event) => accept(event, exchange)
        const response = await foldResponse(events, options.maxImageBytes, call, { hostImage: deps.hostImage, accepted })
        if (response.warnings.length > 0) res.setHeader('x-atelier-warnings', encodeWarnings(response.warnings))
        setCost(res as ServerResponse, response.cost)
        return response
      }),
    async *streamGenerateImages({ request }, context) {
      const { call, exchange } = enter(context)
      try {
        if (!request) throw gatewayError('MISSING_PARAMETER', { param: 'request' })
        const inBytes = { ...request, responseFormat: request.responseFormat || ResponseFormat.B64_JSON }
        yield* streamResponses(deps.operations.generateImages(inBytes, call), (event) => accept(event, exchange))
      } catch (thrown) {
        throw failure(thrown, call, exchange)
      }
    },
    estimateCost: (request, context) => inCall(context, (call) => deps.operations.estimateCost(request, call))
  })
  router.service(ModelService, {
    listModels: (request, context) => inCall(context, (call) => deps.operations.listModels(request, call)),
    getModel: (request, context) => inCall(context, (call) => deps.operations.getModel(request, call))
  })
}

function accept(event: Parameters<FoldDeps['accepted']>[0], { record, res }: Exchange): void {
  record.accept(event)
  setServedBy(res as ServerResponse, event)
}
