import { describe, expect, test } from 'vitest'
import { CallbackState, TaskState } from '../../gen/atelier/v1/task_pb.ts'
import { neverMs } from '../../src/storage/schema.ts'
import { type AttemptEnding, ClaimLostError } from '../../src/tasks/task-store.ts'
import {
  claimOf,
  delivery,
  failed,
  imbalances,
  intent,
  ledgerOf,
  newTask,
  pendingBlob,
  resultOf,
  succeeded,
  type TaskStores
} from '../support/task-stores.ts'

/** What is recorded of the work on a task. */
export function taskJournalSuite(name: string, open: () => Promise<TaskStores>): void {
  describe(`${name}: the journal`, () => {
    test.each<[string, number | undefined, AttemptEnding, { state: string; cost: number | null; spent: number; images: number }]>([
      ['a delivery at its actual cost', 40_000, delivery(38_000n), { state: 'succeeded', cost: 38_000, spent: 38_000, images: 1 }],
      [
        'a delivery that does not say what it cost as reserved',
        40_000,
        delivery(undefined),
        { state: 'succeeded', cost: 40_000, spent: 40_000, images: 1 }
      ],
      ['a delivery of unknown price as unknown', undefined, delivery(undefined), { state: 'succeeded', cost: null, spent: 0, images: 1 }],
      ['a delivery of which only the actual cost is known', undefined, delivery(5n), { state: 'succeeded', cost: 5, spent: 5, images: 1 }],
      [
        'a stated cost beyond all measure as reserved',
        40_000,
        delivery(2n ** 62n),
        { state: 'succeeded', cost: 40_000, spent: 40_000, images: 1 }
      ],
      ['a refusal as nothing', 40_000, { outcome: 'rejected' }, { state: 'rejected', cost: 0, spent: 0, images: 0 }],
      ['what was not sent as nothing', 40_000, { outcome: 'not_sent' }, { state: 'rejected', cost: 0, spent: 0, images: 0 }],
      ['a lost answer as what was reserved', 40_000, { outcome: 'unknown' }, { state: 'unknown', cost: 40_000, spent: 40_000, images: 0 }],
      [
        'a lost answer of unknown price as unknown',
        undefined,
        { outcome: 'unknown' },
        { state: 'unknown', cost: null, spent: 0, images: 0 }
      ]
    ])('books %s', async (_, reserveMicros, ending, expected) => {
      await using stores = await open()
      const store = await stores.open()
      for (const withEnding of [false, true]) {
        const task = newTask()
        await using journal = store.journal(claimOf(await store.admit(task)))
        const attempt = await journal.intend(intent({ reserveMicros }))
        expect(await ledgerOf(stores.database, task.id)).toMatchObject([{ reserved: reserveMicros ?? 0, spent: 0, cost_micros: null }])
        await journal.close(attempt, ending, { withEnding })
        await journal.finish(succeeded())
        const { state, cost, spent, images } = expected
        expect(await ledgerOf(stores.database, task.id)).toMatchObject([{ state, cost_micros: cost, reserved: 0, spent, images }])
      }
      expect(await imbalances(stores.database)).toEqual([])
    })

    test('keeps an ending back until the task ends, and commits both at once', async () => {
      await using stores = await open()
      const store = await stores.open()
      const task = newTask()
      await using journal = store.journal(claimOf(await store.admit(task)))
      const attempt = await journal.intend(intent())
      const image = pendingBlob(stores.database, task.id, Date.now() + 60_000)
      await journal.close(attempt, { ...delivery(38_000n), blobs: [image] }, { withEnding: true })
      expect(await ledgerOf(stores.database)).toMatchObject([{ state: 'intended', reserved: 40_000 }])
      await journal.finish(succeeded())
      expect(await ledgerOf(stores.database)).toMatchObject([{ state: 'succeeded', reserved: 0, spent: 38_000 }])
      expect(await stores.database.query.selectFrom('blobs').select('id').execute()).toEqual([{ id: image.blob.id }])
    })

    test('tells what became of a task', async () => {
      await using stores = await open()
      const store = await stores.open()
      const task = newTask({ traceId: 'trace-1' }, { callbackUrl: 'https://example.com/hook' })
      await using journal = store.journal(claimOf(await store.admit(task)))
      await journal.intend(intent({ provider: 'azure', model: 'gpt-image-1' }))
      expect((await store.find(task.id, 'default'))?.task.callback).toMatchObject({ state: CallbackState.PENDING, webhookId: '' })
      await journal.finish(succeeded({ keepSeconds: 60 }))
      const kept = await store.find(task.id, 'default')
      expect(kept?.result).toEqual(resultOf(38_000n))
      expect(kept?.task).toMatchObject({
        state: TaskState.SUCCEEDED,
        traceId: 'trace-1',
        provider: 'azure',
        model: 'gpt-image-1',
        progress: 1,
        createdAt: BigInt(Math.floor(task.createdAtMs / 1000)),
        callback: { state: CallbackState.PENDING, webhookId: expect.stringMatching(/^msg_[0-9A-Za-z]{22}$/), deliveries: [] }
      })
      expect((kept?.expiresAtMs ?? 0) - (kept?.finishedAtMs ?? 0)).toBe(60_000)
      expect(kept?.task.result).toBeUndefined()
    })

    test('settles as lost what nobody has told the end of when the task ends', async () => {
      await using stores = await open()
      const store = await stores.open()
      await using journal = store.journal(claimOf(await store.admit(newTask())))
      await journal.intend(intent())
      await journal.finish(failed())
      expect(await ledgerOf(stores.database)).toMatchObject([{ state: 'unknown', reserved: 0, spent: 40_000 }])
    })

    test('gives images without an end that of their task, except those behind permanent links', async () => {
      await using stores = await open()
      const store = await stores.open()
      const { database } = stores
      const task = newTask({ mode: 'detached' })
      const input = pendingBlob(database, task.id, neverMs)
      await store.admit({ ...task, blobs: [input] })
      const [claimed] = await store.claimQueued(1)
      if (!claimed) throw new Error('there is no task')
      await using journal = store.journal(claimed)
      const attempt = await journal.intend(intent())
      const soon = Date.now() + 5_000
      const images = [
        pendingBlob(database, task.id, neverMs),
        pendingBlob(database, task.id, neverMs, 'public'),
        pendingBlob(database, task.id, soon),
        pendingBlob(database, 'task_other', neverMs)
      ]
      await journal.close(attempt, { outcome: 'succeeded', result: resultOf(1n), blobs: images })
      await journal.finish(succeeded({ keepSeconds: 60 }))
      const rows = await database.query.selectFrom('blobs').select(['id', 'expires_at_ms']).execute()
      const endOf = new Map(rows.map((row) => [row.id, row.expires_at_ms]))
      const end = (await store.find(task.id, 'default'))?.expiresAtMs
      expect([input, ...images].map(({ blob }) => endOf.get(blob.id))).toEqual([end, end, neverMs, soon, neverMs])
    })

    test('grows the revision with every change', async () => {
      await using stores = await open()
      const store = await stores.open()
      const task = newTask()
      await using journal = store.journal(claimOf(await store.admit(task)))
      const revisions: bigint[] = []
      const look = async () => void revisions.push((await store.find(task.id, 'default'))?.task.revision ?? 0n)
      const attempt = await journal.intend(intent())
      await look()
      await journal.submitted(attempt, 'job-1')
      await look()
      await journal.close(attempt, { outcome: 'rejected' })
      await look()
      await journal.finish(failed())
      await look()
      expect(revisions).toEqual([1n, 2n, 3n, 4n])
    })

    test('refuses everything of a task that is final', async () => {
      await using stores = await open()
      const store = await stores.open()
      await using journal = store.journal(claimOf(await store.admit(newTask())))
      const attempt = await journal.intend(intent())
      await journal.finish(failed())
      const lost = expect.any(ClaimLostError)
      await expect(journal.intend(intent({ part: 1 }))).rejects.toEqual(lost)
      await expect(journal.submitted(attempt, 'job')).rejects.toEqual(lost)
      await expect(journal.finish(succeeded())).rejects.toEqual(lost)
      await expect(journal.requeue()).rejects.toEqual(lost)
      expect(await imbalances(stores.database)).toEqual([])
    })

    test('puts a task back into the queue, from where it is taken on again with what was begun', async () => {
      await using stores = await open()
      const store = await stores.open()
      await store.admit(newTask({ mode: 'detached' }))
      const [first] = await store.claimQueued(1)
      if (!first) throw new Error('there is no task')
      await using journal = store.journal(first)
      const attempt = await journal.intend(intent())
      await journal.close(attempt, { outcome: 'not_sent' }, { withEnding: true })
      await journal.requeue()
      await expect(journal.finish(succeeded())).rejects.toThrow(ClaimLostError)
      const [again] = await store.claimQueued(1)
      expect(again).toMatchObject({ taskId: first.taskId, fence: first.fence + 1, attempts: [{ id: attempt, state: 'rejected' }] })
      expect(await imbalances(stores.database)).toEqual([])
    })

    test('hands a task that was let go of before its end out again', async () => {
      await using stores = await open()
      const store = await stores.open({ exclusive: true })
      const task = newTask()
      let attempt: string
      {
        await using journal = store.journal(claimOf(await store.admit(task)))
        attempt = await journal.intend(intent())
        expect(await store.claimAbandoned(10)).toEqual([])
      }
      expect(await store.claimAbandoned(10)).toMatchObject([{ taskId: task.id, fence: 2, attempts: [{ id: attempt, state: 'intended' }] }])
      expect(await store.claimAbandoned(10)).toEqual([])
    })

    test('records what it was told to keep back when it is let go of', async () => {
      await using stores = await open()
      const store = await stores.open({ exclusive: true })
      {
        await using journal = store.journal(claimOf(await store.admit(newTask())))
        await journal.close(await journal.intend(intent()), delivery(38_000n), { withEnding: true })
      }
      const [claimed] = await store.claimAbandoned(10)
      expect(claimed?.attempts).toMatchObject([{ state: 'succeeded', result: resultOf(38_000n) }])
    })
  })
}
