import { expect, test } from 'vitest'
import { createFeed } from '../../src/tasks/feed.ts'

const progress = (fraction: number) => ({ kind: 'progress', fraction }) as const

/** What a reader meets, the error in the end included. */
async function readAll(feed: ReturnType<typeof createFeed>): Promise<unknown[]> {
  const read: unknown[] = []
  try {
    for await (const event of feed) read.push(event)
    return read
  } catch (error) {
    return [...read, error]
  }
}

test('gives its events in order, whether they came before the reader or after', async () => {
  const feed = createFeed()
  feed.push(progress(0.1))
  const reading = readAll(feed)
  await Promise.resolve()
  feed.push(progress(0.2))
  feed.push(progress(0.3))
  feed.end()
  expect(await reading).toEqual([progress(0.1), progress(0.2), progress(0.3)])
})

test('shows a failure behind the events that came before it, and nothing that comes after', async () => {
  const feed = createFeed()
  const error = new Error('the provider failed')
  feed.push(progress(0.1))
  feed.fail(error)
  feed.push(progress(0.2))
  feed.fail(new Error('too late'))
  feed.end()
  expect(await readAll(feed)).toEqual([progress(0.1), error])
})

test('does not fail any more when it has ended', async () => {
  const feed = createFeed()
  feed.end()
  feed.fail(new Error('too late'))
  expect(await readAll(feed)).toEqual([])
})

test('fails a reader that waits', async () => {
  const feed = createFeed()
  const reading = readAll(feed)
  await Promise.resolve()
  feed.fail('reason')
  expect(await reading).toEqual(['reason'])
})

test('tells of every event that nobody will read', async () => {
  const feed = createFeed()
  const dropped: string[] = []
  feed.push(progress(0.1), () => dropped.push('waiting'))
  const reader = feed[Symbol.asyncIterator]()
  await reader.next()
  feed.push(progress(0.2), () => dropped.push('unread'))
  await reader.return?.()
  feed.push(progress(0.3), () => dropped.push('later'))
  expect(dropped).toEqual(['unread', 'later'])
  expect(feed.isRead).toBe(false)
})

test('is read until its reader has gone or its end is known', async () => {
  const feed = createFeed()
  expect(feed.isRead).toBe(true)
  feed.push(progress(0.1))
  feed.end()
  expect(feed.isRead).toBe(false)
  expect(await readAll(feed)).toEqual([progress(0.1)])
})
