import type { GenerationEvent } from '../events.ts'

/** Events on their way from whoever makes them to the one caller that waits for them; neither holds up the other. */
export interface Feed extends AsyncIterable<GenerationEvent> {
  /** Whether somebody still reads. */
  readonly isRead: boolean
  /** `dropped` is called where nobody will read the event. */
  push(event: GenerationEvent, dropped?: () => void): void
  end(): void
  /** What the reader meets behind the events that it has not read yet. Later calls do nothing. */
  fail(error: unknown): void
}

/** Written out, because a generator would add a step to every event. */
export function createFeed(): Feed {
  const waiting: { event: GenerationEvent; dropped?: (() => void) | undefined }[] = []
  let isRead = true
  let isOver = false
  let failure: { error: unknown } | undefined
  let wake: (() => void) | undefined

  function stir(): void {
    wake?.()
    wake = undefined
  }

  const iterator: AsyncIterator<GenerationEvent> = {
    async next() {
      for (;;) {
        const next = waiting.shift()
        if (next) return { done: false, value: next.event }
        if (failure) throw failure.error
        if (isOver) return { done: true, value: undefined }
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
    },
    async return() {
      isRead = false
      for (const { dropped } of waiting.splice(0)) dropped?.()
      return { done: true, value: undefined }
    }
  }

  return {
    get isRead() {
      return isRead && !isOver
    },
    push(event, dropped) {
      if (!isRead || isOver) return dropped?.()
      waiting.push({ event, dropped })
      stir()
    },
    end() {
      isOver = true
      stir()
    },
    fail(error) {
      if (isOver) return
      isOver = true
      failure = { error }
      stir()
    },
    [Symbol.asyncIterator]: () => iterator
  }
}
