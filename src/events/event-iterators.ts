/*
 * Ways to put events together. Events that are here go through all of them at once: each promise between a provider and its caller costs
 * more than all that is decided about an event.
 */

/** The same events, each as `change` makes it. Leaving it leaves `events`. */
export function mapEvents<From, To>(events: AsyncIterable<From>, change: (event: From) => To): AsyncIterable<To> {
  const source = begin(events)
  const changed = (result: IteratorResult<From>): IteratorResult<To> => (result.done ? over : { done: false, value: change(result.value) })
  return new EventIterator<To>(
    () => andThen(source.advance(), changed),
    () => source.return()
  )
}

/**
 * Calls `take` with each event in turn, and waits for events that are not here yet and for the promises that it returns. Throws what `events`
 * throws; where `take` does, it leaves `events` and throws that.
 */
export async function forEachEvent<Event>(events: AsyncIterable<Event>, take: (event: Event) => Promise<void> | undefined): Promise<void> {
  const source = begin(events)
  for (;;) {
    const next = source.advance()
    const result = next instanceof Promise ? await next : next
    if (result.done) return
    try {
      const taken = take(result.value)
      if (taken) await taken
    } catch (error) {
      await source.return().catch(() => undefined)
      throw error
    }
  }
}

/** Events that are all here. */
export function listEvents<Event>(events: readonly Event[]): AsyncIterable<Event> {
  const source = events.values()
  return new EventIterator<Event>(
    () => source.next(),
    async () => {
      source.return?.()
      return over
    }
  )
}

/** `first`, and then the events of `rest`, which is called when the second one is asked for; unless they have `begun` already. */
export function startingWith<Event>(first: Event, rest: () => AsyncIterable<Event>, begun?: AsyncIterator<Event>): AsyncIterable<Event> {
  let isBegun = false
  let isLeft = false
  let source = begun && asEventIterator(begun)
  return new EventIterator<Event>(
    () => {
      if (isLeft) return over
      if (!isBegun) {
        isBegun = true
        return { done: false, value: first }
      }
      source ??= begin(rest())
      return source.advance()
    },
    () => {
      isLeft = true
      return source ? source.return() : left
    }
  )
}

/** The events that `open` leads to; it is called once, when the first one is asked for. */
export function openEvents<Event>(open: () => Promise<AsyncIterable<Event>>): AsyncIterable<Event> {
  let opening: Promise<AsyncIterable<Event>> | undefined
  let source: EventIterator<Event> | undefined
  let isLeft = false
  const opened = (events: AsyncIterable<Event>) => {
    source ??= begin(events)
    return source
  }
  return new EventIterator<Event>(
    () => {
      if (isLeft) return over
      if (source) return source.advance()
      opening ??= open()
      return opening.then((events) => opened(events).advance())
    },
    async () => {
      isLeft = true
      const events = await opening?.catch(() => undefined)
      return events ? opened(events).return() : over
    }
  )
}

/**
 * The events of `open`, which is called when the first one is asked for. `ended` is called once when they have ended, failed or been
 * left, and not at all where they were never begun. It is told whether they came to their end; what it returns is waited for.
 */
export function untilOver<Event>(
  open: () => AsyncIterable<Event>,
  ended: (isThrough: boolean) => Promise<void> | void
): AsyncIterable<Event> {
  let source: EventIterator<Event> | undefined
  let isOver = false
  const end = (isThrough: boolean) => {
    if (isOver) return undefined
    isOver = true
    return source && ended(isThrough)
  }
  const settle = (result: IteratorResult<Event>): Next<Event> => {
    const ending = result.done ? end(true) : undefined
    return ending ? ending.then(() => result) : result
  }
  const fail = async (error: unknown): Promise<never> => {
    await end(false)
    throw error
  }
  return new EventIterator<Event>(
    () => {
      if (isOver) return over
      try {
        source ??= begin(open())
        const next = source.advance()
        return next instanceof Promise ? next.then(settle, fail) : settle(next)
      } catch (error) {
        return fail(error)
      }
    },
    async () => {
      try {
        await source?.return()
      } finally {
        await end(false)
      }
      return over
    }
  )
}

/** Events passed on while they are ready; the first one that is not, and all behind it, go through `prepare`. */
export function untilUnready<Event>(
  events: AsyncIterable<Event>,
  isReady: (event: Event) => boolean,
  prepare: (rest: AsyncIterable<Event>) => AsyncIterable<Event>
): AsyncIterable<Event> {
  const source = begin(events)
  let prepared: EventIterator<Event> | undefined
  const pass = (result: IteratorResult<Event>): Next<Event> => {
    if (result.done || isReady(result.value)) return result
    prepared = begin(prepare(startingWith(result.value, () => source, source)))
    return prepared.advance()
  }
  return new EventIterator<Event>(
    () => (prepared ? prepared.advance() : andThen(source.advance(), pass)),
    () => (prepared ?? source).return()
  )
}

/** The next event, or the end; a promise only where it is not here yet. */
type Next<Event> = IteratorResult<Event> | Promise<IteratorResult<Event>>

/** Owns where its events come from. To those who do not know it, an iterator like any other. */
class EventIterator<Event> implements AsyncIterableIterator<Event> {
  /** Like `next`, but gives at once, and throws at once, what is known already. */
  readonly advance: () => Next<Event>
  readonly #leave: () => Promise<IteratorReturnResult<undefined>>

  constructor(advance: () => Next<Event>, leave: () => Promise<IteratorReturnResult<undefined>>) {
    this.advance = advance
    this.#leave = leave
  }

  next(): Promise<IteratorResult<Event>> {
    try {
      return Promise.resolve(this.advance())
    } catch (error) {
      return Promise.reject(error)
    }
  }

  return(): Promise<IteratorReturnResult<undefined>> {
    return this.#leave()
  }

  [Symbol.asyncIterator](): this {
    return this
  }
}

function begin<Event>(events: AsyncIterable<Event>): EventIterator<Event> {
  return asEventIterator(events[Symbol.asyncIterator]())
}

function asEventIterator<Event>(source: AsyncIterator<Event>): EventIterator<Event> {
  if (source instanceof EventIterator) return source
  return new EventIterator<Event>(
    () => source.next(),
    async () => {
      await source.return?.()
      return over
    }
  )
}

function andThen<From, To>(next: Next<From>, step: (result: IteratorResult<From>) => Next<To>): Next<To> {
  return next instanceof Promise ? next.then(step) : step(next)
}

const over: IteratorReturnResult<undefined> = { done: true, value: undefined }
const left = Promise.resolve(over)
