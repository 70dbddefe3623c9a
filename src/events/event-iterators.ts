/*
 * Ways to put events together. They are written out as iterators, because each generator between a provider and its caller costs some
 * microseconds for every event: more than all that is decided about it.
 */

/** The same events, each as `change` makes it. Leaving it leaves `events`. */
export function mapEvents<From, To>(events: AsyncIterable<From>, change: (event: From) => To): AsyncIterable<To> {
  const source = events[Symbol.asyncIterator]()
  const changed = (result: IteratorResult<From>): IteratorResult<To> => (result.done ? over : { done: false, value: change(result.value) })
  return iterable<To>({
    next: () => source.next().then(changed),
    return: () => leave(source)
  })
}

/** Events that are all here. */
export function listEvents<Event>(events: readonly Event[]): AsyncIterable<Event> {
  const source = events.values()
  return iterable<Event>({
    next: () => Promise.resolve(source.next()),
    return: () => Promise.resolve(source.return?.() ?? over)
  })
}

/** `first`, and then the events of `rest`, which is called when the second one is asked for; unless they have `begun` already. */
export function startingWith<Event>(first: Event, rest: () => AsyncIterable<Event>, begun?: AsyncIterator<Event>): AsyncIterable<Event> {
  let isBegun = false
  let isLeft = false
  let source = begun
  return iterable<Event>({
    async next() {
      if (isLeft) return over
      if (!isBegun) {
        isBegun = true
        return { done: false, value: first }
      }
      source ??= rest()[Symbol.asyncIterator]()
      return source.next()
    },
    return() {
      isLeft = true
      return leave(source)
    }
  })
}

/** The events that `open` leads to; it is called once, when the first one is asked for. */
export function openEvents<Event>(open: () => Promise<AsyncIterable<Event>>): AsyncIterable<Event> {
  let opening: Promise<AsyncIterator<Event>> | undefined
  let source: AsyncIterator<Event> | undefined
  let isLeft = false
  const openOnce = async () => {
    source = (await open())[Symbol.asyncIterator]()
    return source
  }
  return iterable<Event>({
    next() {
      if (isLeft) return Promise.resolve(over)
      if (source) return source.next()
      opening ??= openOnce()
      return opening.then((opened) => opened.next())
    },
    async return() {
      isLeft = true
      return leave(await opening?.catch(() => undefined))
    }
  })
}

/**
 * The events of `begin`, which is called when the first one is asked for. `ended` is called once when they have ended, failed or been
 * left, and not at all where they were never begun. It is told whether they came to their end; what it returns is waited for.
 */
export function untilOver<Event>(
  begin: () => AsyncIterable<Event>,
  ended: (isThrough: boolean) => Promise<void> | void
): AsyncIterable<Event> {
  let source: AsyncIterator<Event> | undefined
  let isOver = false
  const end = (isThrough: boolean) => {
    if (isOver) return undefined
    isOver = true
    return source && ended(isThrough)
  }
  const settle = (result: IteratorResult<Event>): IteratorResult<Event> | Promise<IteratorResult<Event>> => {
    const ending = result.done ? end(true) : undefined
    return ending ? ending.then(() => result) : result
  }
  const fail = async (error: unknown): Promise<never> => {
    await end(false)
    throw error
  }
  return iterable<Event>({
    next() {
      if (isOver) return Promise.resolve(over)
      try {
        source ??= begin()[Symbol.asyncIterator]()
      } catch (error) {
        return fail(error)
      }
      return source.next().then(settle, fail)
    },
    async return() {
      try {
        await source?.return?.()
      } finally {
        await end(false)
      }
      return over
    }
  })
}

/** Events passed on while they are ready; the first one that is not, and all behind it, go through `prepare`. */
export function untilUnready<Event>(
  events: AsyncIterable<Event>,
  isReady: (event: Event) => boolean,
  prepare: (rest: AsyncIterable<Event>) => AsyncIterable<Event>
): AsyncIterable<Event> {
  const source = events[Symbol.asyncIterator]()
  let prepared: AsyncIterator<Event> | undefined
  const pass = (result: IteratorResult<Event>): IteratorResult<Event> | Promise<IteratorResult<Event>> => {
    if (result.done || isReady(result.value)) return result
    prepared = prepare(startingWith(result.value, () => iterable(source), source))[Symbol.asyncIterator]()
    return prepared.next()
  }
  return iterable<Event>({
    next: () => (prepared ? prepared.next() : source.next().then(pass)),
    return: () => leave(prepared ?? source)
  })
}

const over: IteratorReturnResult<undefined> = { done: true, value: undefined }

function iterable<Event>(iterator: AsyncIterator<Event>): AsyncIterable<Event> {
  return { [Symbol.asyncIterator]: () => iterator }
}

async function leave(source: AsyncIterator<unknown> | undefined): Promise<IteratorReturnResult<undefined>> {
  await source?.return?.()
  return over
}
