import type { Topic } from './database.ts'

export type AnnouncementListener = (topic: Topic | undefined) => void

/** Who wants to hear of announcements. */
export interface AnnouncementListeners {
  add(listener: AnnouncementListener): () => void
  tell(topics: Iterable<Topic | undefined>): void
}

export function createAnnouncementListeners(): AnnouncementListeners {
  const entries = new Set<{ listener: AnnouncementListener }>()
  return {
    add(listener) {
      const entry = { listener }
      entries.add(entry)
      return () => entries.delete(entry)
    },
    tell(topics) {
      for (const topic of topics) {
        // A turn of its own: what a listener throws is not the failure of the commit that was announced.
        for (const entry of entries) queueMicrotask(() => entries.has(entry) && entry.listener(topic))
      }
    }
  }
}
