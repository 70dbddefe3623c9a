import { ResponseFormat } from '../../gen/atelier/v1/image_pb.ts'
import type { GenerateImagesRequest } from '../../gen/atelier/v1/image_service_pb.ts'
import { gatewayError } from '../errors.ts'
import type { GenerationEvent } from '../events.ts'
import { writtenModel } from '../services/generate-images.ts'
import { errorOfCall } from './call-context.ts'
import { writeImagesJson, writeRawImage } from './images-response.ts'
import { askedOf } from './openai-json.ts'
import { applyAccept, applyHeaders, type Included, readIncluded, requireStream } from './request-headers.ts'
import type { Exchange } from './rest-route.ts'
import { type SseOptions, writeImagesSse } from './sse-response.ts'

/**
 * Answers a request for images in the form that it asks for: JSON, server-sent events, or the image itself. The headers are read into
 * the message before `run` is called; what they ask for in vain is refused before.
 */
export async function answerImages(
  exchange: Exchange,
  { message, stream }: { message: GenerateImagesRequest; stream: boolean },
  operation: SseOptions['operation'],
  run: (message: GenerateImagesRequest) => AsyncIterable<GenerationEvent>
): Promise<void> {
  const { request, response, record, call } = exchange
  exchange.writtenModel = writtenModel(message)
  applyHeaders(message, request.headers)
  const include = readIncluded(request.headers)
  const raw = applyAccept(message, request.headers.accept)
  if (raw) refuseWithRawImage(stream, include)
  if (!stream) requireStream(message.partialImages)
  if (raw || (stream && !message.responseFormat)) message.responseFormat = ResponseFormat.B64_JSON
  const events = run(message)
  if (raw) await writeRawImage(events, response, record)
  else if (!stream) await writeImagesJson(events, response, record, include)
  else {
    const toError = (thrown: unknown) => errorOfCall(thrown, call)
    await writeImagesSse(events, response, record, { operation, asked: askedOf(message), keepAliveMs, toError })
  }
}

/** Well under the 60 seconds after which proxies cut silent connections. */
const keepAliveMs = 15_000

/** An answer that is the image itself has no place for anything beside it. */
function refuseWithRawImage(stream: boolean, include: Included): void {
  const problem = 'has no place in an answer that is the image itself, which Accept asks for'
  if (stream) throw gatewayError('INVALID_PARAMETER', { param: 'stream', problem })
  if (include.cost || include.warnings) throw gatewayError('INVALID_PARAMETER', { param: 'x-atelier-include', problem })
}
