import { expect, test } from 'vitest'
import { forEachEvent, listEvents, mapEvents, openEvents, startingWith, untilOver, untilUnready } from '../../src/events/event-iterators.ts'

test('changes every event', async () => {
  expect(await collect(mapEvents(listEvents([1, 2, 3]), (event) => `${event}`))).toEqual(['1', '2', '3'])
})

test('takes events that are here one after another without a turn of the loop', async () => {
  const taken: number[] = []
  const done = forEachEvent(listEvents([1, 2]), (event) => {
    taken.push(event)
    return undefined
  })
  expect(taken).toEqual([1, 2])
  await done
})

test('takes an event only when the one before it is taken in', async () => {
  const steps: string[] = []
  await forEachEvent(listEvents([1, 2]), async (event) => {
    steps.push(`begins ${event}`)
    await Promise.resolve()
    steps.push(`ends ${event}`)
  })
  expect(steps).toEqual(['begins 1', 'ends 1', 'begins 2', 'ends 2'])
})

test('leaves events that cannot be taken, and throws what prevents it', async () => {
  const left: string[] = []
  const refuse = () => {
    throw new Error('no')
  }
  await expect(
    forEachEvent(
      leavable([1, 2], () => left.push('left')),
      refuse
    )
  ).rejects.toThrow('no')
  expect(left).toEqual(['left'])
})

test('throws what events throw instead of taking them', async () => {
  const failing = openEvents<number>(async () => {
    throw new Error('broken')
  })
  await expect(forEachEvent(failing, () => undefined)).rejects.toThrow('broken')
})

test('passes events that are here through every layer at once', async () => {
  const layered = untilOver(
    () =>
      startingWith(0, () =>
        untilUnready(
          mapEvents(listEvents([1]), (event) => event * 2),
          () => true,
          (rest) => rest
        )
      ),
    () => undefined
  )
  const events = iteratorOf(layered)
  const order: unknown[] = []
  for (let count = 0; count < 3; count++) void events.next().then(({ value }) => order.push(value))
  await Promise.resolve().then(() => order.push('what was to come next'))
  expect(order).toEqual([0, 2, undefined, 'what was to come next'])
})

test('throws at the one who asks what a layer throws at once', async () => {
  const events = iteratorOf(
    mapEvents(listEvents([1]), () => {
      throw new Error('no')
    })
  )
  await expect(events.next()).rejects.toThrow('no')
})

test('begins with the first event and asks for the others only then', async () => {
  let isAsked = false
  const events = iteratorOf(
    startingWith(1, () => {
      isAsked = true
      return listEvents([2, 3])
    })
  )
  expect(await events.next()).toEqual({ done: false, value: 1 })
  expect(isAsked).toBe(false)
  expect(await events.next()).toEqual({ done: false, value: 2 })
})

test('does not begin what was left before', async () => {
  const refuse = () => {
    throw new Error('it was begun')
  }
  for (const events of [startingWith(1, refuse), openEvents<number>(refuse), untilOver<number>(refuse, refuse)]) {
    const iterator = iteratorOf(events)
    await iterator.return?.()
    expect(await iterator.next()).toEqual({ done: true, value: undefined })
  }
})

test('opens once, also where that fails', async () => {
  let opened = 0
  const events = iteratorOf(
    openEvents<number>(async () => {
      opened += 1
      throw new Error('no')
    })
  )
  await expect(events.next()).rejects.toThrow('no')
  await expect(events.next()).rejects.toThrow('no')
  expect(opened).toBe(1)
})

test('leaves what is being opened', async () => {
  const { promise, resolve } = Promise.withResolvers<AsyncIterable<number>>()
  const left: string[] = []
  const events = iteratorOf(openEvents(() => promise))
  const first = events.next()
  const leaving = events.return?.()
  resolve(leavable([1, 2], () => left.push('left')))
  expect(await first).toEqual({ done: false, value: 1 })
  await leaving
  expect(left).toEqual(['left'])
})

test.each([
  ['ended', async (events: AsyncIterable<number>) => void (await collect(events))],
  ['left', async (events: AsyncIterable<number>) => void (await iteratorOf(events).return?.())]
])('tells once that events have %s', async (_, finish) => {
  const ends: string[] = []
  const events = untilOver(
    () => listEvents([1, 2]),
    async () => void ends.push('over')
  )
  const iterator = iteratorOf(events)
  expect(await iterator.next()).toEqual({ done: false, value: 1 })
  await finish({ [Symbol.asyncIterator]: () => iterator })
  await iterator.return?.()
  expect(ends).toEqual(['over'])
})

test('tells that events have failed, and fails with them', async () => {
  const ends: string[] = []
  const failing = mapEvents(listEvents([1]), () => {
    throw new Error('no')
  })
  const events = iteratorOf(
    untilOver(
      () => failing,
      async () => void ends.push('over')
    )
  )
  await expect(events.next()).rejects.toThrow('no')
  expect(ends).toEqual(['over'])
  expect(await events.next()).toEqual({ done: true, value: undefined })
})

test('does not tell of the end of events that could not be begun', async () => {
  const ends: string[] = []
  const begin = (): AsyncIterable<number> => {
    throw new Error('no')
  }
  const events = untilOver(begin, async () => void ends.push('over'))
  await expect(iteratorOf(events).next()).rejects.toThrow('no')
  expect(ends).toEqual([])
})

test('prepares the first event that is not ready, and all behind it', async () => {
  const left: string[] = []
  const source = leavable([1, 2, 30, 4, 5], () => left.push('left'))
  const events = untilUnready(
    source,
    (event) => event < 10,
    (rest) => mapEvents(rest, (event) => -event)
  )
  expect(await collect(events)).toEqual([1, 2, -30, -4, -5])
  expect(left).toEqual([])
})

test('leaves the source of events that are being prepared', async () => {
  const left: string[] = []
  const source = leavable([30, 4], () => left.push('left'))
  const events = iteratorOf(
    untilUnready(
      source,
      (event) => event < 10,
      (rest) => mapEvents(rest, (event) => event)
    )
  )
  expect(await events.next()).toEqual({ done: false, value: 30 })
  await events.return?.()
  expect(left).toEqual(['left'])
})

function iteratorOf<Event>(events: AsyncIterable<Event>): AsyncIterator<Event> {
  return events[Symbol.asyncIterator]()
}

async function collect<Event>(events: AsyncIterable<Event>): Promise<Event[]> {
  const all: Event[] = []
  for await (const event of events) all.push(event)
  return all
}

function leavable<Event>(events: readonly Event[], left: () => void): AsyncIterable<Event> {
  const source = events.values()
  return {
    [Symbol.asyncIterator]: () => ({
      next: async () => source.next(),
      return: async () => {
        left()
        return { done: true, value: undefined }
      }
    })
  }
}
