import type { JsonObject } from '@bufbuild/protobuf'
import { isObject } from '../contract/json-object.ts'
import { gatewayError } from '../errors.ts'
import { imageFromBase64 } from '../images/image-body.ts'
import { readJson } from '../images/read-json.ts'
import { readSse, type ServerSentEvent } from '../upstream/read-sse.ts'
import { type AnswerContext, completed, noImage } from './openai-answer.ts'
import { toInlineError } from './openai-errors.ts'
import type { ProviderEvent } from './provider.ts'
import { toUpstreamError, withUpstreamErrors } from './upstream-image.ts'

/**
 * Reads a streamed answer while it arrives: partial images as previews, then each image. Throws where the stream reports an error or ends
 * before any image; an image that is missing at its end is `no_image`.
 */
export async function* fromStream(body: AsyncIterable<Uint8Array>, context: AnswerContext): AsyncIterable<ProviderEvent> {
  let document: JsonObject = {}
  let images = 0
  let previews = 0
  try {
    for await (const event of readSse(body)) {
      for await (const part of readEvent(event)) {
        if (part.kind === 'value' && part.path.length === 0) {
          const fields = isObject(part.value) ? part.value : {}
          if (fields.error !== undefined && fields.error !== null) throw toInlineError(fields, context)
          if (isCompleted(event)) document = fields
        } else if (part.kind === 'lifted') {
          const image = withUpstreamErrors(imageFromBase64(part.chars, context.mediaType), context.provider)
          if (isCompleted(event)) {
            yield { kind: 'image', index: images, image }
            images += 1
            previews = 0
          } else {
            yield { kind: 'preview', index: images, previewIndex: previews, image }
            previews += 1
          }
        }
      }
    }
  } catch (error) {
    throw toUpstreamError(error, context.provider)
  }
  if (images === 0) {
    throw gatewayError(
      'OUTCOME_UNKNOWN',
      { provider: context.provider, problem: 'its stream ended without an image' },
      { outcome: 'unknown' }
    )
  }
  for (let missing = images; missing < context.n; missing++) yield noImage({}, missing, context)
  const { type, created_at, partial_image_index, b64_json, ...fields } = document
  yield completed(fields, images, context)
}

function readEvent({ event, data }: ServerSentEvent) {
  // What is neither a partial image nor an image has no image to lift, and only its error counts.
  return readJson(data, { lift: /\.(partial_image|completed)$/.test(event) ? ['b64_json'] : [] })
}

function isCompleted({ event }: ServerSentEvent): boolean {
  return event.endsWith('.completed')
}
