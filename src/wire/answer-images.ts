import type { JsonValue } from '@bufbuild/protobuf'
import { ResponseFormat, type Warning } from '../../gen/atelier/v1/image_pb.ts'
import type { GenerateImagesRequest } from '../../gen/atelier/v1/image_service_pb.ts'
import type { Call } from '../call.ts'
import { invalidParameter } from '../errors.ts'
import type { GenerationEvent } from '../events.ts'
import type { Operations } from '../invoke.ts'
import { writtenModel } from '../services/plan-run.ts'
import type { RequestWays, TaskOrder } from '../services/task-order.ts'
import { answerWithTask } from './answer-task.ts'
import { errorOfCall } from './call-context.ts'
import { applyEnvelopedRules, envelope } from './enveloped.ts'
import { writeImagesJson, writeRawImage } from './images-response.ts'
import { askedOf, decodeGenerateImages } from './openai-json.ts'
import { applyAccept, applyHeaders, type Included, isRepetition, prefersAsync, readIncluded, requireStream } from './request-headers.ts'
import type { Exchange } from './rest-route.ts'
import { type SseOptions, writeImagesSse } from './sse-response.ts'
import { takeTaskFields } from './task-fields.ts'

export interface AskedImages {
  /** The fields of the body, beside its files. */
  body: JsonValue
  /** What streamed events are called; unset where nothing is streamed. */
  events?: SseOptions['operation']
  /** Called once, when nothing more can be wrong with the request: what it does. From then on its files are the operation's. */
  operation(parameters: GenerateImagesRequest): TaskOrder['operation']
}

/**
 * Answers a request for images in the form that it asks for: JSON, server-sent events, the image itself, or the task that makes it. The
 * headers are read into the message before the operation begins; what they ask for in vain is refused before.
 */
export async function answerImages(exchange: Exchange, asked: AskedImages, operations: Operations): Promise<void> {
  const { request, call, dialect } = exchange
  const { callbackUrl, traceId: ofBody, rest } = takeTaskFields(asked.body)
  const traceId = ofBody || exchange.traceId
  exchange.traceId = traceId
  const { message, stream } = decodeGenerateImages(rest)
  exchange.writtenModel = writtenModel(message)
  applyHeaders(message, request.headers)
  const notes = dialect === 'enveloped' ? applyEnvelopedRules(message) : []
  const include = readIncluded(request.headers)
  const raw = dialect === 'openai' && applyAccept(message, request.headers.accept)
  if (raw) refuseWithRawImage(stream, include)
  if (!stream) requireStream(message.partialImages)
  else if (!asked.events) throw invalidParameter('stream', 'must be false: variations are not streamed')

  const isPreferred = prefersAsync(request.headers)
  if (isPreferred || callbackUrl !== '') {
    refuseWithTask({ stream, raw, because: callbackUrl === '' ? 'Prefer: respond-async' : 'callback_url' })
    const order = { operation: asked.operation(message), callbackUrl, traceId, permanentLinks: dialect === 'enveloped' }
    await answerWithTask(exchange, order, { inFull: isPreferred, notes }, operations)
    return
  }
  if (raw || (stream && !message.responseFormat)) message.responseFormat = ResponseFormat.B64_JSON
  const events = begin(asked.operation(message), call, waysOf(exchange, notes), operations)
  await writeImages(events, exchange, { raw, include, events: stream ? asked.events : undefined, message })
}

interface Form {
  raw: boolean
  include: Included
  events: SseOptions['operation'] | undefined
  message: GenerateImagesRequest
}

function writeImages(events: AsyncIterable<GenerationEvent>, exchange: Exchange, form: Form): Promise<void> {
  const { response, record, call, dialect } = exchange
  if (form.raw) return writeRawImage(events, response, record)
  if (form.events) {
    const toError = (thrown: unknown) => errorOfCall(thrown, call)
    return writeImagesSse(events, response, record, { operation: form.events, asked: askedOf(form.message), keepAliveMs, toError })
  }
  const { include } = form
  const options = dialect === 'enveloped' ? { include, envelope: (event: { taskId: string }) => envelope(exchange, event) } : { include }
  return writeImagesJson(events, response, record, options)
}

/** Well under the 60 seconds after which proxies cut silent connections. */
const keepAliveMs = 15_000

function begin(operation: TaskOrder['operation'], call: Call, ways: RequestWays, operations: Operations): AsyncIterable<GenerationEvent> {
  switch (operation.kind) {
    case 'generation':
      return operations.generateImages(operation.request, call, ways)
    case 'edit':
      return operations.editImages(operation.order, call, ways)
    case 'variation':
      return operations.createVariations(operation.order, call, ways)
  }
}

function waysOf({ request, traceId, dialect }: Exchange, notes: readonly Warning[]): RequestWays {
  const ways: RequestWays = {}
  if (traceId !== '') ways.traceId = traceId
  if (dialect === 'enveloped') ways.permanentLinks = true
  if (isRepetition(request.headers)) ways.isRepetition = true
  if (notes.length > 0) ways.notes = notes
  return ways
}

/** An answer that is the image itself has no place for anything beside it. */
function refuseWithRawImage(stream: boolean, include: Included): void {
  const problem = 'has no place in an answer that is the image itself, which Accept asks for'
  if (stream) throw invalidParameter('stream', problem)
  if (include.cost || include.warnings) throw invalidParameter('x-atelier-include', problem)
}

/** An answer that comes before there is any image can neither stream one nor be one. */
function refuseWithTask({ stream, raw, because }: { stream: boolean; raw: boolean; because: string }): void {
  if (stream) throw invalidParameter('stream', `must be false with ${because}, which asks for an answer before there are images`)
  if (raw) throw invalidParameter('accept', `must be application/json with ${because}, which asks for an answer before there are images`)
}
