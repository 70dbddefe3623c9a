import { setTimeout as wait } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { TaskState } from '../../gen/atelier/v1/task_pb.ts'
import { claimOf, intent, newTask, resultOf, succeeded, type TaskStores } from '../support/task-stores.ts'

const signal = new AbortController().signal

/** How tasks are waited for. */
export function taskWatchingSuite(name: string, open: () => Promise<TaskStores>): void {
  describe(`${name}: watching`, () => {
    test('waits for the end of a task, in this process and in another', async () => {
      await using stores = await open()
      const [one, other] = [await stores.open(), await stores.open()]
      const task = newTask()
      await using journal = one.journal(claimOf(await one.admit(task)))
      await journal.intend(intent())
      const waiting = [one, other, one].map((store) => store.waitFor(task.id, 'default', { signal }))
      await wait(50)
      await journal.finish(succeeded())
      const kept = await Promise.all(waiting)
      expect(kept.map((each) => [each?.state, each?.result])).toEqual(Array.from({ length: 3 }, () => ['succeeded', resultOf(38_000n)]))
    })

    test('misses no change that happens while it begins to wait', async () => {
      await using stores = await open()
      const store = await stores.open()
      for (let round = 0; round < 30; round += 1) {
        const task = newTask({ requestId: `order-${round}` })
        await using journal = store.journal(claimOf(await store.admit(task)))
        const [kept] = await Promise.all([store.waitFor(task.id, 'default', { signal }), journal.finish(succeeded())])
        expect(kept?.state).toBe('succeeded')
      }
    })

    test('wakes up when a task is beyond a revision', async () => {
      await using stores = await open()
      const store = await stores.open()
      const task = newTask()
      await using journal = store.journal(claimOf(await store.admit(task)))
      const attempt = await journal.intend(intent())
      const next = store.waitFor(task.id, 'default', { afterRevision: 1, signal })
      await wait(20)
      await journal.submitted(attempt, 'job')
      expect((await next)?.task).toMatchObject({ state: TaskState.RUNNING, revision: 2n })
    })

    test('returns the present state when the signal aborts', async () => {
      await using stores = await open()
      const store = await stores.open()
      const task = newTask({ requestId: 'order-7' })
      await store.admit(task)
      const before = store.waitFor(task.id, 'default', { signal: AbortSignal.abort() })
      const later = store.waitFor(task.id, 'default', { signal: AbortSignal.timeout(50) })
      expect([(await before)?.state, (await later)?.state]).toEqual(['running', 'running'])
    })

    test('returns a task that is final already, although nothing is announced any more', async () => {
      await using stores = await open()
      const store = await stores.open({ exclusive: true })
      const task = newTask({ requestId: 'order-7' })
      await using journal = store.journal(claimOf(await store.admit(task)))
      await journal.finish(succeeded())
      await new Promise(setImmediate)
      expect((await store.waitFor(task.id, 'default', { signal: AbortSignal.timeout(5_000) }))?.state).toBe('succeeded')
      const started = performance.now()
      expect(await store.waitFor('task_unknown', 'default', { signal: AbortSignal.timeout(5_000) })).toBeUndefined()
      expect(performance.now() - started).toBeLessThan(4_000)
    })

    test('does not wait for what does not exist, or belongs to others', async () => {
      await using stores = await open()
      const store = await stores.open()
      const task = newTask({ requestId: 'order-7' })
      await store.admit(task)
      expect(await store.waitFor('task_unknown', 'default', { signal })).toBeUndefined()
      expect(await store.waitFor(task.id, 'acme', { signal })).toBeUndefined()
    })

    test('wakes thousands that wait for many tasks', async () => {
      await using stores = await open()
      const [one, other] = [await stores.open(), await stores.open()]
      const journals = await Promise.all(
        Array.from({ length: 600 }, async (_, index) => one.journal(claimOf(await one.admit(newTask({ requestId: `order-${index}` })))))
      )
      const waiting = journals.flatMap(({ claim }) => [one, one, other].map((store) => store.waitFor(claim.taskId, 'default', { signal })))
      await Promise.all(journals.map((journal) => journal.finish(succeeded())))
      expect((await Promise.all(waiting)).every((kept) => kept?.state === 'succeeded')).toBe(true)
    })
  })
}
