import type { Call } from '../call.ts'
import { type GenerationEvent, type ImageLink, isImageBody } from '../events.ts'
import type { ImageBody } from '../images/image-body.ts'
import type { BlobStore } from '../storage/blob-store.ts'
import type { Links } from '../storage/links.ts'
import type { UntrustedUrlFetcher } from '../upstream/untrusted-url.ts'
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
  return {
    async *deliver(events, wish, call) {
      for await (const event of events) {
        if (event.kind !== 'image' || hasForm(event.image, wish)) {
          yield event
        } else if (isImageBody(event.image)) {
          yield { ...event, image: await host(event.image, wish, call, deps) }
        } else {
          await using image = await openInline(event.image.url, wish, call, deps)
          yield { ...event, image: wish.form === 'url' ? await host(image, wish, call, deps) : image }
        }
      }
    }
  }
}

function hasForm(image: ImageBody | ImageLink, wish: DeliveryWish): boolean {
  if (isImageBody(image)) return wish.form === 'bytes'
  return wish.form === 'url' && wish.keepProviderUrls && /^https?:/i.test(image.url)
}
