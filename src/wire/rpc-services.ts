import type { ServerResponse } from 'node:http'
import { create, type DescMessage, type MessageShape } from '@bufbuild/protobuf'
import { type ConnectRouter, createContextKey, type HandlerContext } from '@connectrpc/connect'
import { type Image, ResponseFormat } from '../../gen/atelier/v1/image_pb.ts'
import {
  DeleteImageResponseSchema,
  type GenerateImagesRequest,
  type GenerateImagesResponse,
  ImageService,
  type StreamGenerateImagesResponse,
  StreamGenerateImagesResponseSchema
} from '../../gen/atelier/v1/image_service_pb.ts'
import { ModelService } from '../../gen/atelier/v1/model_service_pb.ts'
import { TaskService } from '../../gen/atelier/v1/task_service_pb.ts'
import type { Call, Caller } from '../call.ts'
import { gatewayError } from '../errors.ts'
import type { GenerationEvent } from '../events.ts'
import type { AdministeredService } from '../invoke/administer.ts'
import type { Operations } from '../invoke.ts'
import type { Logger } from '../log.ts'
import type { RequestWays } from '../services/task-order.ts'
import type { Uploads } from '../storage/uploads.ts'
import { errorOfCall, openCall } from './call-context.ts'
import type { CallHeaders } from './call-headers.ts'
import { encodeChunk, encodeResponse, type Wrapping, wrappings } from './encode-images.ts'
import { toConnectError } from './error-response.ts'
import { type FoldDeps, foldResponse } from './fold-response.ts'
import { encodeWarnings, setCost, setServedBy } from './images-response.ts'
import type { HttpRequest, HttpResponse } from './listener.ts'
import type { Pieces } from './pieces.ts'
import { isRepetition, requireStream } from './request-headers.ts'
import type { RequestRecord } from './request-record.ts'
import { administeredRpcs } from './rpc-admin.ts'
import { openEdit, openVariation, uploadedBytes } from './rpc-edits.ts'
import { createTaskService } from './rpc-tasks.ts'
import { createStandIns, type StandIns } from './stand-ins.ts'
import { streamResponses } from './stream-response.ts'
import { checkImageId } from './task-fields.ts'

/** How an implementation enters its call, and what a value that it throws becomes. */
export interface RpcDoor {
  enter(context: HandlerContext): { call: Call; exchange: Exchange }
  inCall<T>(context: HandlerContext, run: (call: Call, exchange: Exchange) => Promise<T>): Promise<T>
  failure(thrown: unknown, call: Call, exchange: Exchange): Error
}

/** One RPC on its way through the router. */
export interface Exchange {
  req: HttpRequest
  res: HttpResponse
  record: RequestRecord
  caller: Caller
  /** What the headers say besides. */
  said: CallHeaders
  /** Set as soon as the router knows the RPC. */
  context?: HandlerContext
  /** Whether the implementation has been reached: what fails before that is the router's complaint about the request. */
  entered: boolean
  /** Set where the answer is in protobuf's binary format: images go around the router. */
  standIns?: StandIns
}

/** Under which the router hands an implementation its exchange. */
export const exchangeKey = createContextKey<Exchange | undefined>(undefined, { description: 'exchange' })

export interface RpcServicesDeps {
  operations: Operations
  /** What `adminServices` of rpc-access names. */
  administered: readonly AdministeredService[]
  uploads: Uploads
  hostImage: FoldDeps['hostImage']
  log: Logger
}

export interface RpcServicesOptions {
  /** Largest request message; of a client stream, each one. */
  maxRequestBytes: number
  /** Most bytes of images in one answer. */
  maxImageBytes: number
}

/** Routes the services of this server to its operations; they answer as REST does, and with the same `x-atelier-…` headers. */
export function addServices(router: ConnectRouter, options: RpcServicesOptions, deps: RpcServicesDeps): void {
  const enter = (context: HandlerContext): { call: Call; exchange: Exchange } => {
    const exchange = context.values.get(exchangeKey)
    if (!exchange) throw new Error('an RPC came past its front door')
    exchange.entered = true
    if (context.responseHeader.get('content-type')?.endsWith('proto')) exchange.standIns = createStandIns()
    const { req, res, record, caller } = exchange
    const { traceId: _, ...said } = exchange.said
    const deadlineMs = Math.min(said.deadlineMs, Date.now() + (context.timeoutMs() ?? Number.POSITIVE_INFINITY))
    return { call: openCall({ ...said, record, caller, headers: req.headers, deadlineMs, response: res, log: deps.log }), exchange }
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

  const fold = async <Desc extends DescMessage>(
    { schema, wrap, wrapEncoded }: Wrapping<GenerateImagesResponse, Desc>,
    events: AsyncIterable<GenerationEvent>,
    call: Call,
    exchange: Exchange
  ): Promise<MessageShape<Desc>> => {
    const { standIns } = exchange
    const files = new Map<Image, Pieces>()
    let areGivenAway = true
    const response = await foldResponse(events, options.maxImageBytes, call, {
      hostImage: deps.hostImage,
      accepted: (event) => accept(event, exchange),
      ...(standIns && {
        setAside: (image, file, isGivenAway) => {
          files.set(image, file)
          areGivenAway &&= isGivenAway
        }
      })
    })
    const res = exchange.res as ServerResponse
    if (response.warnings.length > 0) res.setHeader('x-atelier-warnings', encodeWarnings(response.warnings))
    setCost(res, response.cost)
    return standIns?.standFor(schema, wrapEncoded(encodeResponse(response, files)), areGivenAway) ?? wrap(response)
  }

  const stream = <Desc extends DescMessage>(
    { schema, wrap, wrapEncoded }: Wrapping<StreamGenerateImagesResponse, Desc>,
    events: AsyncIterable<GenerationEvent>,
    exchange: Exchange
  ): AsyncGenerator<MessageShape<Desc>> =>
    streamResponses(events, {
      accepted: (event) => accept(event, exchange),
      toMessage: wrap,
      toChunk: (chunk, data, isGivenAway) =>
        exchange.standIns?.standFor(schema, wrapEncoded(encodeChunk(chunk, data)), isGivenAway) ??
        wrap(create(StreamGenerateImagesResponseSchema, { event: { case: 'chunk', value: { ...chunk, data: Buffer.concat(data) } } }))
    })

  router.service(ImageService, {
    generateImages: (request, context) =>
      inCall(context, (call, exchange) => {
        requireStream(request.partialImages)
        return fold(wrappings.generateImages, deps.operations.generateImages(request, call, waysOf(exchange)), call, exchange)
      }),
    async *streamGenerateImages({ request }, context) {
      const { call, exchange } = enter(context)
      try {
        if (!request) throw gatewayError('MISSING_PARAMETER', { param: 'request' })
        yield* stream(wrappings.streamGenerateImages, deps.operations.generateImages(inBytes(request), call, waysOf(exchange)), exchange)
      } catch (thrown) {
        throw failure(thrown, call, exchange)
      }
    },
    editImages: (request, context) =>
      inCall(context, async (call, exchange) => {
        requireStream(request.parameters?.partialImages)
        const order = await openEdit(request, call, deps.uploads)
        return fold(wrappings.editImages, deps.operations.editImages(order, call, waysOf(exchange)), call, exchange)
      }),
    async *streamEditImages({ request }, context) {
      const { call, exchange } = enter(context)
      try {
        if (!request) throw gatewayError('MISSING_PARAMETER', { param: 'request' })
        const order = await openEdit(request, call, deps.uploads)
        const events = deps.operations.editImages({ ...order, parameters: inBytes(order.parameters) }, call, waysOf(exchange))
        yield* stream(wrappings.streamEditImages, events, exchange)
      } catch (thrown) {
        throw failure(thrown, call, exchange)
      }
    },
    createVariations: (request, context) =>
      inCall(context, async (call, exchange) => {
        requireStream(request.parameters?.partialImages)
        const order = await openVariation(request, call, deps.uploads)
        return fold(wrappings.createVariations, deps.operations.createVariations(order, call, waysOf(exchange)), call, exchange)
      }),
    uploadImage: (requests, context) =>
      inCall(context, (call) => deps.operations.uploadImage(uploadedBytes(requests, options.maxRequestBytes), call)),
    estimateCost: (request, context) => inCall(context, (call) => deps.operations.estimateCost(request, call)),
    deleteImage: (request, context) =>
      inCall(context, async (call) => {
        checkImageId(request.imageId)
        await deps.operations.deleteImage(request, call)
        return create(DeleteImageResponseSchema)
      })
  })
  router.service(TaskService, createTaskService({ enter, inCall, failure }, deps))
  router.service(ModelService, {
    listModels: (request, context) => inCall(context, (call) => deps.operations.listModels(request, call)),
    getModel: (request, context) => inCall(context, (call) => deps.operations.getModel(request, call))
  })
  for (const administered of deps.administered) router.service(administered.service, administeredRpcs(inCall, administered))
}

function waysOf({ req, said: { traceId } }: Exchange): RequestWays {
  return { ...(traceId !== '' && { traceId }), ...(isRepetition(req.headers) && { isRepetition: true }) }
}

function accept(event: Parameters<FoldDeps['accepted']>[0], { record, res }: Exchange): void {
  record.accept(event)
  setServedBy(res as ServerResponse, event)
}

/** A stream has room for images of any size. */
function inBytes(request: GenerateImagesRequest): GenerateImagesRequest {
  return { ...request, responseFormat: request.responseFormat || ResponseFormat.B64_JSON }
}
