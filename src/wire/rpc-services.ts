import type { ServerResponse } from 'node:http'
import { type ConnectRouter, createContextKey, type HandlerContext } from '@connectrpc/connect'
import { ImageService } from '../../gen/atelier/v1/image_service_pb.ts'
import { ModelService } from '../../gen/atelier/v1/model_service_pb.ts'
import type { Call, Caller } from '../call.ts'
import type { Operations } from '../invoke.ts'
import type { Logger } from '../log.ts'
import { errorOfCall, openCall } from './call-context.ts'
import { toConnectError } from './error-response.ts'
import { type FoldDeps, foldResponse } from './fold-response.ts'
import { encodeWarnings, setServedBy } from './images-response.ts'
import type { HttpRequest, HttpResponse } from './listener.ts'
import type { RequestRecord } from './request-record.ts'

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
  const inCall = async <T>(context: HandlerContext, run: (call: Call, exchange: Exchange) => Promise<T>): Promise<T> => {
    const exchange = context.values.get(exchangeKey)
    if (!exchange) throw new Error('an RPC came past its front door')
    exchange.entered = true
    const { req, res, record, caller } = exchange
    const deadlineMs = Date.now() + (context.timeoutMs() ?? Number.POSITIVE_INFINITY)
    const call = openCall({ record, caller, headers: req.headers, deadlineMs, response: res, log: deps.log })
    try {
      return await run(call, exchange)
    } catch (thrown) {
      const error = errorOfCall(thrown, call)
      record.fail(error)
      throw toConnectError(error, call.id)
    }
  }

  router.service(ImageService, {
    generateImages: (request, context) =>
      inCall(context, async (call, { res, record }) => {
        const accepted: FoldDeps['accepted'] = (event) => {
          record.accept(event)
          setServedBy(res as ServerResponse, event)
        }
        const events = deps.operations.generateImages(request, call)
        const response = await foldResponse(events, options.maxImageBytes, call, { hostImage: deps.hostImage, accepted })
        if (response.warnings.length > 0) res.setHeader('x-atelier-warnings', encodeWarnings(response.warnings))
        if (response.cost) res.setHeader('x-atelier-cost', `${response.cost.totalMicros}`)
        return response
      })
  })
  router.service(ModelService, {
    listModels: (request, context) => inCall(context, (call) => deps.operations.listModels(request, call)),
    getModel: (request, context) => inCall(context, (call) => deps.operations.getModel(request, call))
  })
}
