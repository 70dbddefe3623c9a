import { expect, test } from 'vitest'
import type { CallbackRow } from '../../src/storage/schema.ts'
import { createCallbackQueue } from '../../src/tasks/callbacks/callback-queue.ts'
import { type Callbacks, openCallbacks } from '../support/callbacks.ts'

const failed = { atMs: 1, durationMs: 2, status: 500, problem: 'no', next: { state: 'failed' } } as const

test('gives a due callback to one of two that ask for it at the same time', async () => {
  await using callbacks = await openCallbacks([])
  await using other = await callbacks.openAgain()
  await callbacks.add({ taskId: 'task-1', url: 'https://hooks.example/' })
  const claims = await Promise.all([callbacks.database, other].map((database) => claim(callbacks, database)))
  expect(claims.flat().map((row) => [row.task_id, row.attempts])).toEqual([['task-1', 1]])
})

test('gives it to nobody until its lease is over', async () => {
  await using callbacks = await openCallbacks([])
  await callbacks.add({ taskId: 'task-1', url: 'https://hooks.example/' })
  await claim(callbacks)
  callbacks.clock.advance(59_999)
  expect(await claim(callbacks)).toEqual([])
  callbacks.clock.advance(1)
  expect(await claim(callbacks)).toMatchObject([{ task_id: 'task-1', attempts: 2 }])
})

test('gives the oldest first', async () => {
  await using callbacks = await openCallbacks([])
  const nowMs = callbacks.clock.now()
  const url = 'https://hooks.example/'
  await callbacks.add(
    { taskId: 'new', url, dueMs: nowMs - 1 },
    { taskId: 'old', url, dueMs: nowMs - 2 },
    { taskId: 'later', url, dueMs: nowMs + 1 }
  )
  const taken = [await claim(callbacks, callbacks.database, 1), await claim(callbacks, callbacks.database, 1), await claim(callbacks)]
  expect(taken.flat().map((row) => row.task_id)).toEqual(['old', 'new'])
})

test('a try that ends after a redelivery was asked for is recorded and does not undo it', async () => {
  await using callbacks = await openCallbacks([])
  const queue = createCallbackQueue(callbacks)
  await callbacks.add({ taskId: 'task-1', url: 'https://hooks.example/' })
  const [claimed] = await claim(callbacks)
  await queue.redeliver('task-1', 'default', callbacks.clock.now())
  await queue.record(claimed as CallbackRow, failed)
  expect(await callbacks.row('task-1')).toMatchObject({ state: 'pending', attempts: 0, next_at_ms: callbacks.clock.now() })
  expect(await callbacks.deliveries('task-1')).toEqual([{ at_ms: 1, duration_ms: 2, status: 500, problem: 'no' }])
})

test('records nothing of a callback that was forgotten with its task', async () => {
  await using callbacks = await openCallbacks([])
  await callbacks.add({ taskId: 'task-1', url: 'https://hooks.example/' })
  const [claimed] = await claim(callbacks)
  await callbacks.database.query.deleteFrom('callbacks').execute()
  await createCallbackQueue(callbacks).record(claimed as CallbackRow, failed)
  expect(await callbacks.database.query.selectFrom('callback_deliveries').selectAll().execute()).toEqual([])
})

test('tells one receiver from another by organization and origin, and not by path', async () => {
  await using callbacks = await openCallbacks([])
  const urls = ['https://hooks.example/a', 'https://HOOKS.example:443/b?c', 'https://other.example/a', 'http://hooks.example/a']
  await callbacks.add(...urls.map((url, index) => ({ taskId: `task-${index}`, url })))
  const receivers = await Promise.all(urls.map(async (_, index) => (await callbacks.row(`task-${index}`))?.receiver))
  expect(receivers.map((receiver) => receivers.indexOf(receiver))).toEqual([0, 0, 2, 3])
})

async function claim(callbacks: Callbacks, database = callbacks.database, limit = 10): Promise<CallbackRow[]> {
  const nowMs = callbacks.clock.now()
  const { claimed } = await createCallbackQueue({ database }).claim({
    nowMs,
    leaseUntilMs: nowMs + 60_000,
    limit,
    without: [],
    pick: (due) => due
  })
  return claimed
}
