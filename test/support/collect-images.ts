import { isImageBody } from '../../src/events.ts'
import { readWhole } from '../../src/images/image-body.ts'
import type { ProviderEvent } from '../../src/providers/provider.ts'

/** All events, with the bytes of their images in place of image bodies. */
export async function collectImages(events: AsyncIterable<ProviderEvent>) {
  const collected = []
  for await (const event of events) {
    if (event.kind !== 'image' || !isImageBody(event.image)) collected.push(event)
    else {
      const bytes = await readWhole(event.image, 'bytes', 100_000_000)
      collected.push({ ...event, image: { mediaType: event.image.mediaType, bytes } })
    }
  }
  return collected
}
