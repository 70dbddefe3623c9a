import { isImageBody } from '../../src/events.ts'
import { readWhole } from '../../src/images/image-body.ts'
import type { ProviderEvent } from '../../src/providers/provider.ts'

type ImageEvent = Extract<ProviderEvent, { kind: 'image' }>

/** An event whose image is here: its bytes, or the link to it. */
export type ReadEvent =
  | Exclude<ProviderEvent, ImageEvent>
  | (Omit<ImageEvent, 'image'> & { image: { mediaType: string; bytes?: Uint8Array; url?: string } })

/** Reads a provider's events to their end, each image before the next event, as whoever calls a provider must. */
export async function readEvents(events: AsyncIterable<ProviderEvent>): Promise<ReadEvent[]> {
  const read: ReadEvent[] = []
  for await (const event of events) {
    if (event.kind !== 'image' || !isImageBody(event.image)) read.push(event)
    else read.push({ ...event, image: { mediaType: event.image.mediaType, bytes: await readWhole(event.image, 'bytes', 50_000_000) } })
  }
  return read
}

/** "image 0", "no_image 1", "completed": what came, in its order. */
export function outlineOf(events: readonly ReadEvent[]): string[] {
  return events.map((event) => ('index' in event ? `${event.kind} ${event.index}` : event.kind))
}
