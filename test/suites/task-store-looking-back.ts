import { describe, expect, test } from 'vitest'
import { caller, claimOf, delivery, intent, newTask, succeeded, type TaskStores } from '../support/task-stores.ts'

/** How tasks are found, listed and forgotten. */
export function taskReadingSuite(name: string, open: () => Promise<TaskStores>): void {
  describe(`${name}: looking back`, () => {
    test('lists the tasks of an organization, newest first, page by page', async () => {
      await using stores = await open()
      const store = await stores.open()
      await stores.database.query.insertInto('organizations').values({ id: 'acme', name: 'acme', created_at_ms: 0 }).execute()
      const tasks = Array.from({ length: 7 }, (_, index) => newTask({ mode: 'detached', createdAtMs: 1_700_000_000_000 + (index >> 1) }))
      for (const task of tasks) await store.admit(task)
      await store.admit(newTask({ mode: 'detached', caller: { ...caller, organizationId: 'acme' } }))
      const seen: string[] = []
      let before: { createdAtMs: number; id: string } | undefined
      do {
        const page = await store.list({ organizationId: 'default', limit: 3, ...(before && { before }) })
        seen.push(...page.map(({ task }) => task.id))
        const last = page.at(-1)
        before = last && { createdAtMs: last.createdAtMs, id: last.task.id }
      } while (before)
      const newestFirst = tasks.toSorted((one, other) => other.createdAtMs - one.createdAtMs || (one.id < other.id ? 1 : -1))
      expect(seen).toEqual(newestFirst.map(({ id }) => id))
      const rest = await store.list({ organizationId: 'default', limit: 100, offset: 5 })
      expect(rest.map(({ task }) => task.id)).toEqual(newestFirst.slice(5).map(({ id }) => id))
    })

    test('filters a list by id, trace id, state, operation and time', async () => {
      await using stores = await open()
      const store = await stores.open()
      const start = 1_700_000_000_000
      const one = newTask({ mode: 'detached', traceId: 'a', createdAtMs: start })
      const two = newTask({ mode: 'detached', traceId: 'b', operation: 'edit', createdAtMs: start + 1 })
      const three = newTask({ mode: 'detached', createdAtMs: start + 2 })
      for (const task of [one, two, three]) await store.admit(task)
      await store.cancel(three.id, 'default')
      const list = async (filter: object) =>
        (await store.list({ organizationId: 'default', limit: 10, ...filter })).map(({ createdAtMs }) => createdAtMs - start)
      expect(await list({ ids: [one.id, three.id, 'task_unknown'] })).toEqual([2, 0])
      expect(await list({ traceIds: ['a', 'b'] })).toEqual([1, 0])
      expect(await list({ traceIds: [''] })).toEqual([])
      expect(await list({ states: ['queued'] })).toEqual([1, 0])
      expect(await list({ operations: ['edit', 'variation'] })).toEqual([1])
      expect(await list({ createdFromMs: start + 1, createdToMs: start + 1 })).toEqual([1])
      expect(await list({ ids: [] })).toEqual([])
    })

    test('knows neither tasks of others nor expired ones', async () => {
      await using stores = await open()
      const store = await stores.open()
      const task = newTask()
      await using journal = store.journal(claimOf(await store.admit(task)))
      await journal.intend(intent())
      expect(await store.find(task.id, 'acme')).toBeUndefined()
      await journal.finish(succeeded({ keepSeconds: 0 }))
      expect(await store.find(task.id, 'default')).toBeUndefined()
      expect(await store.list({ organizationId: 'default', limit: 10 })).toEqual([])
    })

    test('sweeps what has expired with all that hangs on it, and neither bookings nor what is under way', async () => {
      await using stores = await open()
      const { database } = stores
      const store = await stores.open()
      const end = async (fields: Parameters<typeof newTask>[0], callbackUrl: string, keepSeconds: number) => {
        const task = newTask(fields, { callbackUrl })
        await using journal = store.journal(claimOf(await store.admit(task)))
        await journal.close(await journal.intend(intent()), delivery(1n))
        await journal.finish(succeeded({ keepSeconds }))
        return task.id
      }
      const gone = await end({ requestId: 'order-7' }, 'https://example.com/gone', 60)
      const kept = await end({}, '', 1_000)
      const pending = await end({}, 'https://example.com/pending', 60)
      await Promise.all(Array.from({ length: 600 }, () => end({}, '', 60)))
      const queued = newTask({ mode: 'detached' })
      await store.admit(queued)
      const { id: callbackId } = await database.query
        .selectFrom('callbacks')
        .select('id')
        .where('task_id', '=', gone)
        .executeTakeFirstOrThrow()
      await database.query.updateTable('callbacks').set({ state: 'delivered' }).where('task_id', '=', gone).execute()
      const delivery_ = { id: 'delivery', callback_id: callbackId, at_ms: 0, status: 200, problem: '', duration_ms: 1 }
      await database.query.insertInto('callback_deliveries').values(delivery_).execute()

      expect(await store.sweep(Date.now())).toBe(0)
      expect(await store.sweep(Date.now() + 100_000)).toBe(601)
      const idsIn = async (table: 'tasks' | 'attempts' | 'callbacks' | 'request_keys') => {
        const column = table === 'tasks' ? 'id' : 'task_id'
        return (await database.query.selectFrom(table).select(`${column} as id`).execute()).map(({ id }) => id).toSorted()
      }
      expect(await idsIn('tasks')).toEqual([kept, pending, queued.id].toSorted())
      expect(await idsIn('attempts')).toEqual([kept, pending].toSorted())
      expect(await idsIn('callbacks')).toEqual([pending])
      expect(await idsIn('request_keys')).toEqual([])
      expect(await database.query.selectFrom('callback_deliveries').select('id').execute()).toEqual([])
      const { entries } = await database.query
        .selectFrom('ledger_entries')
        .select(({ fn }) => fn.countAll<number>().as('entries'))
        .executeTakeFirstOrThrow()
      expect(entries).toBe(603 * 2)
    })

    test('sweeps request ids whose time is over and processes that are long gone', async () => {
      await using stores = await open()
      const { query } = stores.database
      const store = await stores.open({ keepRequestIdsSeconds: 1 })
      await store.admit(newTask({ requestId: 'order-7' }))
      await query
        .insertInto('processes')
        .values({ id: 'process_gone', lease_until_ms: Date.now() - 86_500_000 })
        .execute()
      await store.sweep(Date.now() + 2_000)
      expect(await query.selectFrom('request_keys').selectAll().execute()).toEqual([])
      expect(await query.selectFrom('processes').select('id').execute()).toEqual([{ id: store.processId }])
    })
  })
}
