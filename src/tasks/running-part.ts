import { isImageBody } from '../events.ts'
import type { ProviderEvent } from '../providers/provider.ts'
import type { Spool, SpooledImage } from '../storage/spool.ts'

/** One part of a request on its way. It starts at once, and what it gives before it is due is kept, images in the spool. */
export interface RunningPart extends AsyncDisposable {
  /** Its events, then its error if it failed. Called once, when the part is due: from then on images come straight from the provider. */
  events(): AsyncIterable<ProviderEvent>
  /** Resolves, and never rejects, when the provider has nothing more to give. */
  readonly over: Promise<void>
}

/** Follows a part's events. Disposing it leaves them; whoever made them should have been told to stop before. */
export function startPart(source: AsyncIterable<ProviderEvent>, spool: Spool): RunningPart {
  const iterator = source[Symbol.asyncIterator]()
  const kept: { event: ProviderEvent; spooled?: SpooledImage }[] = []
  const over = Promise.withResolvers<void>()
  let isOver = false
  let failure: unknown
  let isDue = false
  let growth = Promise.withResolvers<void>()
  let isAhead = true
  const ahead = runAhead()

  async function runAhead(): Promise<void> {
    while (!isDue && !isOver) {
      const event = await pull()
      if (!event) break
      // These are of interest only while they happen.
      if (!isDue && (event.kind === 'progress' || event.kind === 'preview')) continue
      const spooled = !isDue && event.kind === 'image' && isImageBody(event.image) ? spool.take(event.image) : undefined
      kept.push(spooled && event.kind === 'image' ? { event: { ...event, image: spooled.body }, spooled } : { event })
      announce()
      // The next event may only be asked for when the image is read.
      await spooled?.taken
    }
    isAhead = false
    announce()
  }

  async function pull(): Promise<ProviderEvent | undefined> {
    try {
      const next = await iterator.next()
      if (!next.done) return next.value
    } catch (error) {
      failure = error
    }
    finish()
    return undefined
  }

  function finish(): void {
    isOver = true
    over.resolve()
  }

  function announce(): void {
    growth.resolve()
    growth = Promise.withResolvers()
  }

  async function* events(): AsyncGenerator<ProviderEvent, void, undefined> {
    isDue = true
    for (;;) {
      const next = kept.shift()
      if (next) {
        const { event, spooled } = next
        try {
          // Nobody has seen any of it yet, so it can still be reported as missing.
          if (spooled?.failure !== undefined) throw spooled.failure
          yield event
        } finally {
          void spooled?.[Symbol.asyncDispose]()
        }
      } else if (isAhead) await growth.promise
      else {
        const event = isOver ? undefined : await pull()
        if (!event) break
        yield event
      }
    }
    if (failure !== undefined) throw failure
  }

  return {
    events,
    over: over.promise,
    async [Symbol.asyncDispose]() {
      const unread = kept.splice(0)
      finish()
      await Promise.all([
        Promise.resolve(iterator.return?.()).catch(() => undefined),
        ...unread.map(({ spooled }) => spooled?.[Symbol.asyncDispose]())
      ])
      await ahead
    }
  }
}
