import { create, type MessageInitShape } from '@bufbuild/protobuf'
import { type Image, ImageOutcome, ImageSchema } from '../../gen/atelier/v1/image_pb.ts'
import { type StreamGenerateImagesResponse, StreamGenerateImagesResponseSchema } from '../../gen/atelier/v1/image_service_pb.ts'
import { type GenerationEvent, isImageBody } from '../events.ts'
import type { ImageBody } from '../images/image-body.ts'
import { sniffMediaType } from '../images/media-type.ts'

/** gRPC clients refuse messages above 4 MiB, and what waits to be sent stays in memory. */
const maxChunkBytes = 1024 * 1024

/** Turns events into the messages of a streaming RPC: each image as chunks of at most 1 MiB, then what is known about it. */
export async function* streamResponses(
  events: AsyncIterable<GenerationEvent>,
  accepted: (event: Extract<GenerationEvent, { kind: 'accepted' }>) => void
): AsyncGenerator<StreamGenerateImagesResponse> {
  let image: Image | undefined
  for await (const event of events) {
    if (image && event.kind !== 'image_details') {
      yield message({ case: 'image', value: image })
      image = undefined
    }
    switch (event.kind) {
      case 'accepted': {
        accepted(event)
        const { taskId, provider, model, warnings } = event
        yield message({ case: 'accepted', value: { taskId, provider, model, warnings: [...warnings] } })
        break
      }
      case 'progress':
        yield message({ case: 'progress', value: { fraction: event.fraction } })
        break
      case 'preview':
        for await (const chunk of inChunks(event.image)) {
          yield message({ case: 'chunk', value: { index: event.index, previewIndex: event.previewIndex, ...chunk } })
        }
        break
      case 'image':
        image = create(ImageSchema, { index: event.index, outcome: ImageOutcome.DELIVERED, mediaType: event.image.mediaType })
        if (isImageBody(event.image)) {
          for await (const chunk of inChunks(event.image, (mediaType) => Object.assign(image ?? {}, { mediaType }))) {
            yield message({ case: 'chunk', value: { index: event.index, ...chunk } })
          }
        } else {
          image.content = { case: 'url', value: event.image.url }
        }
        break
      case 'image_details':
        Object.assign(image ?? {}, {
          ...(event.revisedPrompt === undefined ? {} : { revisedPrompt: event.revisedPrompt }),
          ...(event.providerFields === undefined ? {} : { providerFields: event.providerFields })
        })
        break
      case 'no_image':
        yield message({ case: 'image', value: { index: event.index, outcome: event.outcome, message: event.message } })
        break
      case 'completed': {
        const { kind: _, warnings, ...rest } = event
        const created = BigInt(Math.floor(Date.now() / 1000))
        yield message({ case: 'completed', value: { ...rest, created, warnings: [...(warnings ?? [])] } })
      }
    }
  }
}

type StreamEvent = MessageInitShape<typeof StreamGenerateImagesResponseSchema>['event']

function message(event: StreamEvent & {}): StreamGenerateImagesResponse {
  return create(StreamGenerateImagesResponseSchema, { event })
}

interface Chunk {
  data: Uint8Array
  last: boolean
}

/** Gathers what the source gives in small pieces, because each message costs more than a copy. */
async function* inChunks(image: ImageBody, sniffed?: (mediaType: string) => void): AsyncGenerator<Chunk> {
  let parts: Uint8Array[] = []
  let sizeBytes = 0
  let first = true
  const take = (last: boolean): Chunk => {
    const data = parts.length === 1 && parts[0] ? parts[0] : Buffer.concat(parts, sizeBytes)
    if (first) sniffed?.(sniffMediaType(data) ?? image.mediaType)
    first = false
    parts = []
    sizeBytes = 0
    return { data, last }
  }
  for await (const part of image.read('bytes')) {
    for (let offset = 0; offset < part.length; ) {
      const piece = part.subarray(offset, offset + maxChunkBytes - sizeBytes)
      if (sizeBytes === maxChunkBytes) yield take(false)
      else {
        parts.push(piece)
        sizeBytes += piece.length
        offset += piece.length
      }
    }
  }
  yield take(true)
}
