import { create } from '@bufbuild/protobuf'
import { type Warning, WarningKind, WarningSchema } from '../../gen/atelier/v1/image_pb.ts'
import type { Call } from '../call.ts'
import { GatewayError } from '../errors.ts'
import { type GenerationEvent, type ImageLink, isImageBody } from '../events.ts'
import type { ImageBody } from '../images/image-body.ts'
import type { BlobStore } from '../storage/blob-store.ts'
import type { Links } from '../storage/links.ts'
import { UntrustedUrlError, type UntrustedUrlFetcher } from '../upstream/untrusted-url.ts'
import { type HostWish, host } from './host.ts'
import { type InlineSource, openInline } from './inline.ts'

/** The form in which the caller wants its images. */
export interface DeliveryWish extends InlineSource, HostWish {
  /** `url`: every image is an ImageLink. `bytes`: every image is an ImageBody. */
  form: 'url' | 'bytes'
  /** Whether an http or https URL that the provider gave is good enough for `url`; otherwise the image behind it is stored here. */
  keepProviderUrls: boolean
}

export interface Delivery {
  /**
   * Passes the events on, each image in the wished form; what has that form already is not touched. Leaving the iteration early leaves
   * `events`. Throws PROVIDER_FAILED and STORAGE_FAILED, both with the outcome `unknown`, besides what `events` throws.
   */
  deliver(events: AsyncIterable<GenerationEvent>, wish: DeliveryWish, call: Call): AsyncIterable<GenerationEvent>
}

export function createDelivery(deps: { fetcher: UntrustedUrlFetcher; blobs: BlobStore; links: Links }): Delivery {
  /** The provider's own link where the image behind it cannot be stored: it is made and paid, and a link that may expire is better than none. */
  async function hostLinked(link: ImageLink, wish: DeliveryWish, call: Call, warnings: Warning[]): Promise<ImageLink> {
    try {
      await using image = await openInline(link.url, wish, call, deps)
      return await host(image, wish, call, deps)
    } catch (error) {
      if (!mayStillServe(error, link)) throw error
      warnings.push(notHosted(wish.provider))
      return link
    }
  }

  return {
    async *deliver(events, wish, call) {
      const warnings: Warning[] = []
      for await (const event of events) {
        if (event.kind === 'completed' && warnings.length > 0) {
          yield { ...event, warnings: [...(event.warnings ?? []), ...warnings] }
        } else if (event.kind !== 'image' || hasForm(event.image, wish)) {
          yield event
        } else if (isImageBody(event.image)) {
          yield { ...event, image: await host(event.image, wish, call, deps) }
        } else if (wish.form === 'url') {
          yield { ...event, image: await hostLinked(event.image, wish, call, warnings) }
        } else {
          await using image = await openInline(event.image.url, wish, call, deps)
          yield { ...event, image }
        }
      }
    }
  }
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
