import { create } from '@bufbuild/protobuf'
import { type Warning, WarningKind, WarningSchema } from '../../gen/atelier/v1/image_pb.ts'
import type { Call } from '../call.ts'
import { GatewayError, gatewayError } from '../errors.ts'
import { untilUnready } from '../events/event-iterators.ts'
import { type ImageLink, isImageBody } from '../events.ts'
import type { ImageBody } from '../images/image-body.ts'
import type { ProviderEvent } from '../providers/provider.ts'
import type { WishedOutput } from '../routing/plan.ts'
import type { BlobStore } from '../storage/blob-store.ts'
import type { Links } from '../storage/links.ts'
import { UntrustedUrlError, type UntrustedUrlFetcher } from '../upstream/untrusted-url.ts'
import { type HostWish, host } from './host.ts'
import { type InlineSource, openInline } from './inline.ts'
import type { Transcoder, Transcoding } from './transcode.ts'

/** The form in which the caller wants its images. */
export interface DeliveryWish extends InlineSource, HostWish {
  /** `url`: every image is an ImageLink. `bytes`: every image is an ImageBody. */
  form: 'url' | 'bytes'
  /** Whether an http or https URL that the provider gave is good enough for `url`; otherwise the image behind it is stored here. */
  keepProviderUrls: boolean
  /** What the files must be, where the provider was not asked for it. */
  output?: WishedOutput
}

/** Stores an image and returns a link to it; the image itself, with a warning to the caller, where it could not be stored. */
export type HostImage = (image: ImageBody) => Promise<ImageLink | ImageBody>

export interface Delivery {
  /**
   * Passes the events on, each image in the wished form; what has that form already is not touched. Leaving the iteration early leaves
   * `events`. What is to be linked is stored by `hostImage`; unless told, for as long as its link lasts. Throws PROVIDER_FAILED and
   * STORAGE_FAILED, both with the outcome `unknown`, besides what `events` throws.
   */
  deliver(events: AsyncIterable<ProviderEvent>, wish: DeliveryWish, call: Call, hostImage?: HostImage): AsyncIterable<ProviderEvent>
}

export interface DeliveryDeps {
  fetcher: UntrustedUrlFetcher
  blobs: BlobStore
  links: Links
  transcoder: Transcoder
}

export function createDelivery(deps: DeliveryDeps): Delivery {
  return {
    deliver(events, wish, call, hostImage = (image) => host(image, wish, call, deps)) {
      const transcoding = deps.transcoder.begin(wish.output, wish.provider, call)
      if (transcoding) return bring(events, transcoding, wish, call, hostImage)
      const isReady = (event: ProviderEvent) => event.kind !== 'image' || hasForm(event.image, wish)
      return untilUnready(events, isReady, (rest) => bring(rest, undefined, wish, call, hostImage))
    }
  }

  async function* bring(
    events: AsyncIterable<ProviderEvent>,
    transcoding: Transcoding | undefined,
    wish: DeliveryWish,
    call: Call,
    hostImage: HostImage
  ): AsyncGenerator<ProviderEvent, void, undefined> {
    const warnings: Warning[] = []
    for await (const event of events) {
      if (event.kind === 'completed') {
        const complete = transcoding?.complete(event) ?? event
        yield warnings.length === 0 ? complete : { ...complete, warnings: [...(complete.warnings ?? []), ...warnings] }
      } else if (event.kind !== 'image' || (!transcoding && hasForm(event.image, wish))) {
        yield event
      } else if (!isImageBody(event.image) && wish.form === 'url') {
        yield { ...event, image: await hostLinked(event.image, transcoding, hostImage, wish, call, warnings) }
      } else {
        await using source = isImageBody(event.image) ? alreadyOpen(event.image) : await openInline(event.image.url, wish, call, deps)
        await using image = transcoding ? await transcoding.bring(source) : alreadyOpen(source)
        if (wish.form === 'bytes') yield { ...event, image }
        else {
          const hosted = await hostImage(image)
          if (isImageBody(hosted)) warnings.push(notLinked)
          yield { ...event, image: hosted }
        }
      }
    }
  }

  /**
   * A link of our own, or the provider's where it will do, and where the image behind it cannot be stored: it is made and paid, and a link
   * that may expire is better than none.
   */
  async function hostLinked(
    link: ImageLink,
    transcoding: Transcoding | undefined,
    hostImage: HostImage,
    wish: DeliveryWish,
    call: Call,
    warnings: Warning[]
  ): Promise<ImageLink> {
    try {
      await using source = await openInline(link.url, wish, call, deps)
      await using image = transcoding ? await transcoding.bring(source) : undefined
      if (image?.isUntouched && hasForm(link, wish)) return link
      const hosted = await hostImage(image ?? source)
      if (!isImageBody(hosted)) return hosted
      throw gatewayError('STORAGE_FAILED', { problem: 'it could not be written' }, { outcome: 'unknown' })
    } catch (error) {
      if (!mayStillServe(error, link)) throw error
      transcoding?.missed()
      warnings.push(notHosted(wish.provider))
      return link
    }
  }
}

const notLinked = create(WarningSchema, {
  kind: WarningKind.CONVERTED,
  param: 'response_format',
  message: 'the image could not be stored here, so it comes as bytes instead of a link'
})

/** An image that its maker closes. */
function alreadyOpen(image: ImageBody): ImageBody & AsyncDisposable {
  return { ...image, [Symbol.asyncDispose]: async () => undefined }
}

function hasForm(image: ImageBody | ImageLink, wish: DeliveryWish): boolean {
  if (isImageBody(image)) return wish.form === 'bytes'
  return wish.form === 'url' && wish.keepProviderUrls && isHttp(image)
}

function isHttp({ url }: ImageLink): boolean {
  return /^https?:/i.test(url)
}

/** Whether the provider's link may work for the caller although it did not work here. A target that the rules refuse is never handed on. */
function mayStillServe(error: unknown, link: ImageLink): boolean {
  if (!isHttp(link) || !(error instanceof GatewayError)) return false
  return error.reason === 'STORAGE_FAILED' || (error.cause instanceof UntrustedUrlError && error.cause.kind !== 'refused')
}

function notHosted(provider: string): Warning {
  return create(WarningSchema, {
    kind: WarningKind.CONVERTED,
    param: 'response_format',
    message: `the image could not be stored here, so its link is the one that ${provider} gave and may expire soon`
  })
}
