import { create, type MessageInitShape } from '@bufbuild/protobuf'
import { type Image, ImageOutcome, ImageSchema } from '../../gen/atelier/v1/image_pb.ts'
import {
  type ImageChunk,
  ImageChunkSchema,
  type StreamGenerateImagesResponse,
  StreamGenerateImagesResponseSchema
} from '../../gen/atelier/v1/image_service_pb.ts'
import { type GenerationEvent, isImageBody } from '../events.ts'
import type { ImageBody } from '../images/image-body.ts'
import { sniffMediaType } from '../images/media-type.ts'
import { createGathering, headOf, type Pieces } from './pieces.ts'

/** gRPC clients refuse messages above 4 MiB, and what waits to be sent stays in memory. */
const maxChunkBytes = 1024 * 1024

export interface StreamDeps<Message> {
  /** Sees who serves the request, before anything is read. */
  accepted(event: Extract<GenerationEvent, { kind: 'accepted' }>): void
  toMessage(event: StreamGenerateImagesResponse): Message
  /** The message for a part of an image, whose bytes stand beside it; they may be given away, as chunks of an ImageBody are. */
  toChunk(chunk: ImageChunk, data: Pieces, isGivenAway: boolean): Message
}

/** Turns events into the messages of a streaming RPC: each image as chunks of at most 1 MiB, then what is known about it. */
export async function* streamResponses<Message>(
  events: AsyncIterable<GenerationEvent>,
  { accepted, toMessage, toChunk }: StreamDeps<Message>
): AsyncGenerator<Message> {
  const message = (event: StreamEvent & {}) => toMessage(create(StreamGenerateImagesResponseSchema, { event }))
  let image: Image | undefined
  let created = 0n
  for await (const event of events) {
    if (image && event.kind !== 'image_details') {
      yield message({ case: 'image', value: image })
      image = undefined
    }
    switch (event.kind) {
      case 'accepted': {
        accepted(event)
        created = BigInt(event.createdAt)
        const { taskId, provider, model, warnings } = event
        yield message({ case: 'accepted', value: { taskId, provider, model, warnings: [...warnings] } })
        break
      }
      case 'progress':
        yield message({ case: 'progress', value: { fraction: event.fraction } })
        break
      case 'preview':
        for await (const { data, last } of inChunks(event.image)) {
          const chunk = create(ImageChunkSchema, { index: event.index, previewIndex: event.previewIndex, last })
          yield toChunk(chunk, data, event.image.givesChunksAway === true)
        }
        break
      case 'image':
        image = create(ImageSchema, { index: event.index, outcome: ImageOutcome.DELIVERED, mediaType: event.image.mediaType })
        if (isImageBody(event.image)) {
          for await (const { data, last } of inChunks(event.image, (mediaType) => Object.assign(image ?? {}, { mediaType }))) {
            yield toChunk(create(ImageChunkSchema, { index: event.index, last }), data, event.image.givesChunksAway === true)
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
        yield message({ case: 'completed', value: { ...rest, created, warnings: [...(warnings ?? [])] } })
      }
    }
  }
}

type StreamEvent = MessageInitShape<typeof StreamGenerateImagesResponseSchema>['event']

interface Chunk {
  data: Pieces
  last: boolean
}

/** Gathers what the source gives in small pieces, because each message costs more than the bytes in it. */
async function* inChunks(image: ImageBody, sniffed?: (mediaType: string) => void): AsyncGenerator<Chunk> {
  const gathering = createGathering()
  let first = true
  const take = (last: boolean): Chunk => {
    const data = gathering.take()
    if (first) sniffed?.(sniffMediaType(headOf(data, 4096)) ?? image.mediaType)
    first = false
    return { data, last }
  }
  for await (const part of image.read('bytes')) {
    for (let offset = 0; offset < part.length; ) {
      // Only when more is there: the last chunk says that it is the last.
      if (gathering.sizeBytes === maxChunkBytes) yield take(false)
      const piece = part.subarray(offset, offset + maxChunkBytes - gathering.sizeBytes)
      gathering.add(piece)
      offset += piece.length
    }
  }
  yield take(true)
}
