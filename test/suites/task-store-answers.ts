import { describe, expect, test } from 'vitest'
import { neverMs } from '../../src/storage/schema.ts'
import { caller, claimOf, delivery, failed, intent, newTask, pendingBlob, succeeded, type TaskStores } from '../support/task-stores.ts'

/** What becomes of a result when its answer was sent, or lost. */
export function taskAnswersSuite(name: string, open: () => Promise<TaskStores>): void {
  describe(`${name}: answers`, () => {
    test('keeps a result that was delivered for as long as told, and its images', async () => {
      await using stores = await open()
      const { database } = stores
      const store = await stores.open()
      const end = Date.now() + 3_600_000
      const finish = async (mode: 'attached' | 'detached', requestId = '') => {
        const task = newTask({ mode, requestId })
        const admission = await store.admit(task)
        const claim = mode === 'attached' ? claimOf(admission) : (await store.claimQueued(1))[0]
        if (!claim) throw new Error('there is no task')
        await using journal = store.journal(claim)
        const attempt = await journal.intend(intent())
        const blobs = [pendingBlob(database, task.id, end), pendingBlob(database, task.id, neverMs, 'public')]
        await journal.close(attempt, { ...delivery(1n), blobs }, { withEnding: true })
        await journal.finish(succeeded({ keepSeconds: 3_600 }))
        return task.id
      }
      const [plain, keyed, detached] = [await finish('attached'), await finish('attached', 'order-7'), await finish('detached')]
      for (const id of [plain, keyed, detached]) store.delivered(id, 60)
      await store[Symbol.asyncDispose]()
      const rows = await database.query
        .selectFrom('tasks')
        .innerJoin('blobs', 'blobs.task_id', 'tasks.id')
        .where('blobs.access', '=', 'signed')
        .select(['tasks.id', 'tasks.expires_at_ms as task', 'blobs.expires_at_ms as blob'])
        .execute()
      const isShort = new Map(rows.map(({ id, task, blob }) => [id, [task < end - 3_000_000, blob < end - 3_000_000]]))
      expect([plain, keyed, detached].map((id) => isShort.get(id))).toEqual([
        [true, true],
        [false, false],
        [false, false]
      ])
      const permanent = await database.query.selectFrom('blobs').select('expires_at_ms').where('access', '=', 'public').execute()
      expect(permanent.map((row) => row.expires_at_ms)).toEqual([neverMs, neverMs, neverMs])
    })

    test('gives a lost task out once, to the same API key with the same request', async () => {
      await using stores = await open()
      const [one, other] = [await stores.open(), await stores.open()]
      const task = newTask({ fingerprints: ['new', 'old'] })
      await using journal = one.journal(claimOf(await one.admit(task)))
      await journal.intend(intent())
      expect(await one.rejoin(caller, ['new'])).toBeUndefined()
      one.lost(task.id)
      expect(await one.rejoin({ ...caller, apiKeyId: 'key-2' }, ['new'])).toBeUndefined()
      expect(await one.rejoin(caller, ['else'])).toBeUndefined()
      const given = await Promise.all(Array.from({ length: 20 }, (_, index) => (index % 2 ? one : other).rejoin(caller, ['newer', 'new'])))
      expect(given.filter((id) => id !== undefined)).toEqual([task.id])
      await journal.finish(succeeded())
    })

    test('gives out as many lost tasks as there are', async () => {
      await using stores = await open()
      const store = await stores.open()
      const tasks = Array.from({ length: 5 }, () => newTask())
      for (const task of tasks) {
        await store.journal(claimOf(await store.admit(task))).intend(intent())
        store.lost(task.id)
      }
      const given = await Promise.all(Array.from({ length: 8 }, () => store.rejoin(caller, ['fingerprint'])))
      expect(given.filter((id) => id !== undefined).toSorted()).toEqual(tasks.map(({ id }) => id).toSorted())
    })

    test('gives out a lost task that may have been billed, and not one that cost nothing or was lost long ago', async () => {
      await using stores = await open()
      const store = await stores.open()
      const lose = async (fingerprint: string, consumesRequestId: boolean) => {
        const task = newTask({ fingerprints: [fingerprint] })
        await using journal = store.journal(claimOf(await store.admit(task)))
        await journal.intend(intent())
        store.lost(task.id)
        await journal.finish(failed({ consumesRequestId }))
        return task.id
      }
      const [billed, , old] = [await lose('billed', true), await lose('free', false), await lose('old', true)]
      expect(await store.rejoin(caller, ['nothing'])).toBeUndefined()
      await stores.database.query
        .updateTable('tasks')
        .set({ lost_at_ms: Date.now() - 601_000 })
        .where('id', '=', old)
        .execute()
      expect(await Promise.all(['billed', 'free', 'old'].map((fingerprint) => store.rejoin(caller, [fingerprint])))).toEqual([
        billed,
        undefined,
        undefined
      ])
    })
  })
}
