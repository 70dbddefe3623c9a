import { setTimeout as wait } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { neverMs } from '../../src/storage/schema.ts'
import { claimOf, failed, intent, newTask, pendingBlob, succeeded, type TaskStores } from '../support/task-stores.ts'

/** How tasks are cancelled. */
export function taskCancellingSuite(name: string, open: () => Promise<TaskStores>): void {
  describe(`${name}: cancelling`, () => {
    test('cancels a queued task at once, with its callback and its request id', async () => {
      await using stores = await open()
      const store = await stores.open({ keepTasksSeconds: 60 })
      const image = pendingBlob(stores.database, 'task_1', neverMs)
      const task = newTask(
        { id: 'task_1', mode: 'detached', requestId: 'order-7', blobs: [image] },
        { callbackUrl: 'https://example.com/hook' }
      )
      await store.admit(task)
      const cancelled = await store.cancel(task.id, 'default')
      expect(cancelled).toMatchObject({
        state: 'cancelled',
        task: { error: { code: 'cancelled', mayBeBilled: false }, callback: { webhookId: expect.stringMatching(/^msg_/) } }
      })
      expect(await store.claimQueued(10)).toEqual([])
      expect(await store.admit(newTask({ mode: 'detached', requestId: 'order-7' }))).toMatchObject({ kind: 'created' })
      const [row] = await stores.database.query.selectFrom('blobs').select('expires_at_ms').execute()
      expect(row?.expires_at_ms).toBe(cancelled?.expiresAtMs)
    })

    test('asks the process that runs a task, once, also when it is another one', async () => {
      await using stores = await open()
      const [one, other] = [await stores.open(), await stores.open()]
      const task = newTask()
      await using journal = one.journal(claimOf(await one.admit(task)))
      await journal.intend(intent())
      const asked: string[] = []
      one.onCancel((id) => asked.push(`one ${id}`))
      other.onCancel((id) => asked.push(`other ${id}`))
      expect(await other.cancel(task.id, 'default')).toMatchObject({ state: 'running' })
      await expect.poll(() => asked).toEqual([`one ${task.id}`])
      await one.cancel(task.id, 'default')
      await wait(50)
      expect(asked).toEqual([`one ${task.id}`])
      await journal.finish(failed({ state: 'cancelled' }))
    })

    test('says of a task whose cancellation was asked for that it was when it is taken over', async () => {
      await using stores = await open()
      const dead = await stores.open({ exclusive: true })
      const task = newTask({ requestId: 'order-7' })
      await dead.admit(task)
      await dead.cancel(task.id, 'default')
      const heir = await stores.open({ exclusive: true })
      expect(await heir.claimAbandoned(1)).toMatchObject([{ row: { cancel_requested_at_ms: expect.any(Number) } }])
    })

    test('leaves a final task as it is, and knows none of another organization', async () => {
      await using stores = await open()
      const store = await stores.open()
      const task = newTask()
      await using journal = store.journal(claimOf(await store.admit(task)))
      await journal.intend(intent())
      expect(await store.cancel(task.id, 'acme')).toBeUndefined()
      await journal.finish(succeeded())
      expect(await store.cancel(task.id, 'default')).toMatchObject({ state: 'succeeded' })
      expect(await store.cancel('task_unknown', 'default')).toBeUndefined()
    })

    test('either cancels or claims a queued task', async () => {
      await using stores = await open()
      const [one, other] = [await stores.open(), await stores.open()]
      const tasks = Array.from({ length: 40 }, () => newTask({ mode: 'detached' }))
      await Promise.all(tasks.map((task) => one.admit(task)))
      const [claimed, cancelled] = await Promise.all([
        Promise.all(Array.from({ length: 8 }, () => other.claimQueued(5))),
        Promise.all(tasks.map((task) => one.cancel(task.id, 'default')))
      ])
      const running = new Set(claimed.flat().map(({ taskId }) => taskId))
      for (const kept of cancelled) expect(kept?.state).toBe(running.has(kept?.task.id ?? '') ? 'running' : 'cancelled')
    })
  })
}
