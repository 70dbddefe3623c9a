import { setTimeout as wait } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { createFingerprints } from '../../src/storage/fingerprints.ts'
import {
  caller,
  claimOf,
  failed,
  imbalances,
  intent,
  newTask,
  pendingBlob,
  resultOf,
  succeeded,
  type TaskStores,
  testKey
} from '../support/task-stores.ts'

/** How tasks come in. */
export function taskAdmissionSuite(name: string, open: () => Promise<TaskStores>): void {
  describe(`${name}: admission`, () => {
    test('writes nothing of an attached task before its first intent, and then everything at once', async () => {
      await using stores = await open()
      const store = await stores.open()
      const image = pendingBlob(stores.database, 'task', Date.now() + 60_000)
      const task = newTask({ blobs: [image] })
      const claim = claimOf(await store.admit(task))
      expect(await store.find(task.id, 'default')).toBeUndefined()
      await using journal = store.journal(claim)
      await journal.intend(intent())
      const kept = await store.find(task.id, 'default')
      expect(kept).toMatchObject({ state: 'running', mode: 'attached', createdAtMs: task.createdAtMs, task: { attempts: [{ part: 0 }] } })
      expect(kept?.request).toEqual(task.request)
      expect(await stores.database.query.selectFrom('blobs').select('id').execute()).toEqual([{ id: image.blob.id }])
      expect(await imbalances(stores.database)).toEqual([])
    })

    test('writes nothing of an attached task that ends without an intent', async () => {
      await using stores = await open()
      const store = await stores.open()
      const task = newTask()
      await using journal = store.journal(claimOf(await store.admit(task)))
      await journal.finish(failed())
      expect(await store.find(task.id, 'default')).toBeUndefined()
    })

    test('records parts that begin at the same time under one task', async () => {
      await using stores = await open()
      const store = await stores.open()
      const task = newTask()
      await using journal = store.journal(claimOf(await store.admit(task)))
      const ids = await Promise.all([0, 1, 2, 3].map((part) => journal.intend(intent({ part }))))
      expect(new Set(ids).size).toBe(4)
      expect((await store.find(task.id, 'default'))?.task.attempts.map(({ part }) => part)).toEqual([0, 1, 2, 3])
    })

    test('writes a task with a request id at once, and finds it again under the same id', async () => {
      await using stores = await open()
      const store = await stores.open()
      const first = newTask({ requestId: 'order-7' })
      claimOf(await store.admit(first))
      expect(await store.find(first.id, 'default')).toMatchObject({ state: 'running' })
      expect(await store.admit(newTask({ requestId: 'order-7' }))).toEqual({ kind: 'existing', taskId: first.id })
    })

    test.each([
      ['another organization', { caller: { ...caller, organizationId: 'acme' } }],
      ['another operation', { operation: 'edit' as const }]
    ])('takes the same request id for a new request of %s', async (_, fields) => {
      await using stores = await open()
      const store = await stores.open()
      await stores.database.query.insertInto('organizations').values({ id: 'acme', name: 'acme', created_at_ms: 0 }).execute()
      await store.admit(newTask({ requestId: 'order-7' }))
      expect(await store.admit(newTask({ requestId: 'order-7', ...fields }))).toMatchObject({ kind: 'created' })
    })

    test('refuses a request id that was used for another request', async () => {
      await using stores = await open()
      const store = await stores.open()
      await store.admit(newTask({ requestId: 'order-7', fingerprints: ['one'] }))
      const reused = store.admit(newTask({ requestId: 'order-7', fingerprints: ['other'] }))
      await expect(reused).rejects.toMatchObject({ reason: 'REQUEST_ID_REUSED', param: 'request_id', outcome: 'not_sent' })
    })

    test('forgets a request id when its time is over, and lets one of those who ask begin anew', async () => {
      await using stores = await open()
      const store = await stores.open({ keepRequestIdsSeconds: 0.2 })
      const first = newTask({ requestId: 'order-7', fingerprints: ['one'] })
      await store.admit(first)
      await wait(250)
      const admissions = await Promise.all(
        Array.from({ length: 10 }, () => store.admit(newTask({ requestId: 'order-7', fingerprints: ['other'] })))
      )
      expect(admissions.filter(({ kind }) => kind === 'created')).toHaveLength(1)
    })

    test('forgets a request id together with a task that has expired', async () => {
      await using stores = await open()
      const store = await stores.open()
      await using journal = store.journal(claimOf(await store.admit(newTask({ requestId: 'order-7' }))))
      await journal.finish(succeeded({ keepSeconds: 0 }))
      expect(await store.admit(newTask({ requestId: 'order-7' }))).toMatchObject({ kind: 'created' })
    })

    test('recognises request ids that were kept under an earlier key, also while processes differ in which key is current', async () => {
      await using stores = await open()
      const before = await stores.open({}, { fingerprints: createFingerprints({ keys: [testKey(1), testKey(2)] }) })
      const after = await stores.open({}, { fingerprints: createFingerprints({ keys: [testKey(2), testKey(1)] }) })
      const old = newTask({ requestId: 'order-7', fingerprints: ['old', 'new'] })
      await before.admit(old)
      const again = newTask({ requestId: 'order-7', fingerprints: ['new', 'old'] })
      expect(await after.admit(again)).toEqual({ kind: 'existing', taskId: old.id })
      const admissions = await Promise.all(
        Array.from({ length: 100 }, (_, index) => {
          const task = newTask({ requestId: `order-8-${index >> 1}`, fingerprints: ['new', 'old'] })
          return (index % 2 === 0 ? before : after).admit(task)
        })
      )
      expect(admissions.filter(({ kind }) => kind === 'created')).toHaveLength(50)
    })

    test('keeps a request id after an outcome that may be billed, and frees it after one that is not', async () => {
      await using stores = await open()
      const store = await stores.open()
      const admit = (requestId: string) => store.admit(newTask({ requestId }))
      await using billed = store.journal(claimOf(await admit('billed')))
      await billed.finish(failed({ consumesRequestId: true }))
      await using free = store.journal(claimOf(await admit('free')))
      await free.finish(failed({ consumesRequestId: false }))
      expect([(await admit('billed')).kind, (await admit('free')).kind]).toEqual(['existing', 'created'])
    })

    test('refuses detached tasks that the queue has no place for, but not those that are in it', async () => {
      await using stores = await open()
      const store = await stores.open({ maxQueuedTasks: 3 })
      const detached = (requestId = '') => store.admit(newTask({ mode: 'detached', requestId }))
      const admissions = await Promise.allSettled([detached('first'), detached(), detached(), detached(), detached()])
      expect(admissions.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'fulfilled', 'fulfilled', 'rejected', 'rejected'])
      await expect(detached()).rejects.toMatchObject({ reason: 'QUEUE_FULL', retryAfterMs: 1_000, outcome: 'not_sent' })
      expect(await detached('first')).toMatchObject({ kind: 'existing' })
      await store.claimQueued(1)
      expect(await detached()).toMatchObject({ kind: 'created' })
      await expect(detached()).rejects.toMatchObject({ reason: 'QUEUE_FULL' })
    })

    test('seals what it keeps', async () => {
      await using stores = await open()
      const store = await stores.open()
      const secret = 'a prompt that nobody else may read'
      const callbackUrl = 'https://example.com/hook?token=hush'
      const request = { operation: { case: 'generation' as const, value: { prompt: secret } }, callbackUrl }
      await store.admit(newTask({ mode: 'detached' }, request))
      const [task] = await store.claimQueued(1)
      if (!task) throw new Error('there is no task')
      await using journal = store.journal(task)
      const attempt = await journal.intend(intent())
      await journal.submitted(attempt, 'job-hush')
      await journal.close(attempt, { outcome: 'succeeded', result: { ...resultOf(1n), model: secret }, blobs: [] })
      await journal.finish(succeeded({ result: { ...resultOf(1n), model: secret } }))
      const { query } = stores.database
      const rows = await Promise.all(
        (['tasks', 'attempts', 'callbacks'] as const).map((table) => query.selectFrom(table).selectAll().execute())
      )
      const bytes = rows
        .flat()
        .flatMap((row) =>
          Object.values(row).map((value) => (value instanceof Uint8Array ? Buffer.from(value).toString('latin1') : String(value)))
        )
      expect(bytes.filter((text) => /hush|nobody else/.test(text))).toEqual([])
      expect((await store.find(task.taskId, 'default'))?.result?.model).toBe(secret)
    })

    test('lets two processes execute each of 200 request ids once, for 20 that ask at the same time', { timeout: 60_000 }, async () => {
      await using stores = await open()
      const [one, other] = [await stores.open(), await stores.open()]
      const admissions = await Promise.all(
        Array.from({ length: 4_000 }, async (_, index) => {
          const admission = await (index % 2 === 0 ? one : other).admit(newTask({ requestId: `order-${index % 200}` }))
          return { key: index % 200, admission }
        })
      )
      const byKey = Map.groupBy(admissions, ({ key }) => key)
      for (const same of byKey.values()) {
        const ids = new Set(same.map(({ admission }) => (admission.kind === 'created' ? admission.claim.taskId : admission.taskId)))
        expect([ids.size, same.filter(({ admission }) => admission.kind === 'created').length]).toEqual([1, 1])
      }
    })
  })
}
