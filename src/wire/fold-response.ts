import { create } from '@bufbuild/protobuf'
import { type Image, ImageOutcome, ImageSchema, type Warning, WarningKind, WarningSchema } from '../../gen/atelier/v1/image_pb.ts'
import { type GenerateImagesResponse, GenerateImagesResponseSchema } from '../../gen/atelier/v1/image_service_pb.ts'
import type { Call } from '../call.ts'
import { gatewayError } from '../errors.ts'
import { type GenerationEvent, type ImageLink, isImageBody } from '../events.ts'
import { type ImageBody, imageFromBytes } from '../images/image-body.ts'
import { sniffMediaType } from '../images/media-type.ts'
import { createGathering, headOf, type Pieces } from './pieces.ts'

export interface FoldDeps {
  /** Stores an image that is too large for the message. */
  hostImage(image: ImageBody, provider: string, call: Call): Promise<ImageLink>
  /** Sees who serves the request, before anything is read. */
  accepted(event: Extract<GenerationEvent, { kind: 'accepted' }>): void
  /**
   * Keeps the bytes of an image, which its entry in the message then does not hold; they may be given away, as chunks of an ImageBody are.
   * Unset: the entry holds them.
   */
  setAside?(image: Image, file: Pieces, isGivenAway: boolean): void
}

/**
 * Collects the events of one request in a response message. Images are taken in as bytes while they fit into `maxImageBytes` together;
 * each one that does not fit becomes a link, with a warning. No more than that is ever held in memory.
 */
export async function foldResponse(
  events: AsyncIterable<GenerationEvent>,
  maxImageBytes: number,
  call: Call,
  deps: FoldDeps
): Promise<GenerateImagesResponse> {
  const response = create(GenerateImagesResponseSchema)
  const images = new Map<number, Image>()
  const linked: number[] = []
  let remainingBytes = maxImageBytes
  const imageAt = (index: number): Image => {
    const image = images.get(index) ?? create(ImageSchema, { index })
    images.set(index, image)
    return image
  }

  for await (const event of events) {
    switch (event.kind) {
      case 'accepted':
        deps.accepted(event)
        response.created = BigInt(event.createdAt)
        response.taskId = event.taskId
        response.provider = event.provider
        response.model = event.model
        response.warnings.push(...event.warnings)
        break
      case 'image': {
        const image = imageAt(event.index)
        image.outcome = ImageOutcome.DELIVERED
        const content = isImageBody(event.image) ? await takeIn(event.image, remainingBytes, call, response.provider, deps) : event.image
        image.mediaType = content.mediaType
        if ('url' in content) {
          image.content = { case: 'url', value: content.url }
          if (isImageBody(event.image)) linked.push(event.index)
        } else {
          remainingBytes -= content.sizeBytes
          if (deps.setAside) deps.setAside(image, content.file, isImageBody(event.image) && event.image.givesChunksAway === true)
          else image.content = { case: 'data', value: Buffer.concat(content.file) }
        }
        break
      }
      case 'image_details':
        Object.assign(imageAt(event.index), {
          ...(event.revisedPrompt === undefined ? {} : { revisedPrompt: event.revisedPrompt }),
          ...(event.providerFields === undefined ? {} : { providerFields: event.providerFields })
        })
        break
      case 'no_image':
        Object.assign(imageAt(event.index), { outcome: event.outcome, message: event.message })
        break
      case 'completed': {
        const { kind: _, warnings, ...rest } = event
        Object.assign(response, rest)
        response.warnings.push(...(warnings ?? []))
      }
    }
  }
  response.images = [...images.values()].sort((one, other) => one.index - other.index)
  if (linked.length > 0) response.warnings.push(tooLarge(linked, maxImageBytes))
  return response
}

interface TakenIn {
  mediaType: string
  file: Pieces
  sizeBytes: number
}

async function takeIn(image: ImageBody, limitBytes: number, call: Call, provider: string, deps: FoldDeps): Promise<TakenIn | ImageLink> {
  const source = image.read('bytes')[Symbol.asyncIterator]()
  try {
    const gathering = createGathering()
    for (let next = await source.next(); !next.done; next = await source.next()) {
      gathering.add(next.value)
      if (gathering.sizeBytes > limitBytes) {
        return await deps.hostImage(imageFromBytes(resume([...gathering.take()], source), image.mediaType), provider, call)
      }
    }
    const { sizeBytes } = gathering
    const file = gathering.take()
    return { mediaType: sniffMediaType(headOf(file, 4096)) ?? image.mediaType, file, sizeBytes }
  } catch (thrown) {
    if (!(thrown instanceof SyntaxError)) throw thrown
    throw gatewayError('PROVIDER_FAILED', { provider, problem: 'its image is not valid base64' }, { outcome: 'unknown', cause: thrown })
  } finally {
    await source.return?.()
  }
}

/** What was already read, then the rest. */
async function* resume(chunks: Uint8Array[], source: AsyncIterator<Uint8Array>): AsyncGenerator<Uint8Array> {
  // Each chunk is let go as it is passed on.
  for (let chunk = chunks.shift(); chunk; chunk = chunks.shift()) yield chunk
  for (let next = await source.next(); !next.done; next = await source.next()) yield next.value
}

function tooLarge(indexes: readonly number[], maxImageBytes: number): Warning {
  return create(WarningSchema, {
    kind: WarningKind.CONVERTED,
    param: 'response_format',
    message: `images ${indexes.join(', ')} are links: an answer carries at most ${maxImageBytes} bytes of images`
  })
}
