import { setTimeout as wait } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { neverMs } from '../../src/storage/schema.ts'
import { type AttemptEnding, ClaimLostError, newTaskId, type TaskStore } from '../../src/tasks/task-store.ts'
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

/** How tasks change hands. */
export function taskTakeoverSuite(name: string, open: () => Promise<TaskStores>): void {
  describe(`${name}: taking over`, () => {
    test('refuses the writes of an earlier owner', async () => {
      await using stores = await open()
      const { journal, attempt, heir } = await takenOver(stores)
      const lost = expect.any(ClaimLostError)
      await expect(journal.intend(intent({ part: 1 }))).rejects.toEqual(lost)
      await expect(journal.submitted(attempt, 'job')).rejects.toEqual(lost)
      await expect(journal.requeue()).rejects.toEqual(lost)
      await expect(journal.finish(succeeded())).rejects.toEqual(lost)
      expect(await ledgerOf(stores.database)).toMatchObject([{ state: 'intended', reserved: 40_000, spent: 0 }])
      await heir.journal.close(attempt, { outcome: 'unknown' })
      await heir.journal.finish(failed({ state: 'interrupted', consumesRequestId: true }))
      expect(await imbalances(stores.database)).toEqual([])
    })

    test('refuses the result of an earlier owner, and does not forget its money', async () => {
      await using stores = await open()
      const { journal, attempt, task, heir } = await takenOver(stores)
      await heir.journal.close(attempt, { outcome: 'unknown' })
      expect(await ledgerOf(stores.database)).toMatchObject([{ state: 'unknown', spent: 40_000 }])
      for (let time = 0; time < 2; time += 1) {
        await expect(journal.close(attempt, delivery(38_000n))).rejects.toThrow(ClaimLostError)
        expect(await ledgerOf(stores.database)).toMatchObject([
          { state: 'succeeded', cost_micros: 38_000, reserved: 0, spent: 38_000, images: 1 }
        ])
      }
      await heir.journal.finish(failed({ state: 'interrupted', consumesRequestId: true }))
      expect(await heir.store.find(task.id, 'default')).toMatchObject({ state: 'interrupted' })
      expect(await stores.database.query.selectFrom('attempts').select('result').execute()).toEqual([{ result: null }])
    })

    test('books what an earlier owner kept back for an end that comes too late', async () => {
      await using stores = await open()
      const { journal, attempt, heir } = await takenOver(stores)
      await heir.journal.finish(failed({ state: 'interrupted', consumesRequestId: true }))
      await journal.close(attempt, delivery(38_000n), { withEnding: true })
      await expect(journal.finish(succeeded())).rejects.toThrow(ClaimLostError)
      expect(await ledgerOf(stores.database)).toMatchObject([{ state: 'succeeded', reserved: 0, spent: 38_000 }])
    })

    test.each<[string, AttemptEnding, AttemptEnding, { state: string; spent: number }]>([
      ['delivered, lost', delivery(38_000n), { outcome: 'unknown' }, { state: 'succeeded', spent: 38_000 }],
      ['refused, lost', { outcome: 'rejected' }, { outcome: 'unknown' }, { state: 'rejected', spent: 0 }],
      ['lost, refused', { outcome: 'unknown' }, { outcome: 'rejected' }, { state: 'rejected', spent: 0 }],
      ['lost, delivered', { outcome: 'unknown' }, delivery(5n), { state: 'succeeded', spent: 5 }],
      ['delivered, delivered', delivery(38_000n), delivery(5n), { state: 'succeeded', spent: 38_000 }],
      ['delivered, refused', delivery(38_000n), { outcome: 'rejected' }, { state: 'succeeded', spent: 38_000 }],
      ['refused, delivered', { outcome: 'rejected' }, delivery(38_000n), { state: 'succeeded', spent: 38_000 }]
    ])('agrees on what an attempt came to when the earlier owner and then the later one say: %s', async (_, first, second, expected) => {
      await using stores = await open()
      const { journal, attempt, heir } = await takenOver(stores)
      await expect(journal.close(attempt, first)).rejects.toThrow(ClaimLostError)
      await heir.journal.close(attempt, second)
      expect(await ledgerOf(stores.database)).toMatchObject([{ reserved: 0, ...expected }])
      await heir.journal.finish(succeeded())
      expect(await imbalances(stores.database)).toEqual([])
    })

    test('keeps the images that the later owner brings of a job whose end the earlier one has booked', async () => {
      await using stores = await open()
      const { journal, attempt, task, heir } = await takenOver(stores)
      await expect(journal.close(attempt, delivery(38_000n))).rejects.toThrow(ClaimLostError)
      const image = pendingBlob(stores.database, task.id, Date.now() + 60_000)
      await heir.journal.close(attempt, { ...delivery(38_000n), blobs: [image] })
      await heir.journal.finish(succeeded())
      expect(await stores.database.query.selectFrom('blobs').select('id').execute()).toEqual([{ id: image.blob.id }])
      expect(await ledgerOf(stores.database)).toMatchObject([{ spent: 38_000, images: 1 }])
    })

    test('leaves the tasks of a process alone that renews its lease', async () => {
      await using stores = await open()
      const [living, other] = [await stores.open({ leaseMs: 300 }), await stores.open({ leaseMs: 300 })]
      await using journal = living.journal(claimOf(await living.admit(newTask())))
      await journal.intend(intent())
      for (let look = 0; look < 12; look += 1) {
        expect(await other.claimAbandoned(10)).toEqual([])
        await wait(100)
      }
      await journal.finish(succeeded())
    })

    test('takes the tasks of a process over whose lease does not change any more, whatever its clock says', async () => {
      await using stores = await open()
      const dead = await stores.open({ leaseMs: 300 })
      await using journal = dead.journal(claimOf(await dead.admit(newTask())))
      await journal.intend(intent())
      await dead[Symbol.asyncDispose]()
      await stores.database.query.updateTable('processes').set({ lease_until_ms: neverMs }).where('id', '=', dead.processId).execute()
      const heir = await stores.open({ leaseMs: 300 })
      expect(await heir.claimAbandoned(10)).toEqual([])
      await expect.poll(async () => (await heir.claimAbandoned(10)).length).toBe(1)
    })

    test('takes the tasks of a process over that has resigned, at once', async () => {
      await using stores = await open()
      const [leaving, heir] = [await stores.open(), await stores.open()]
      const task = newTask()
      await using journal = leaving.journal(claimOf(await leaving.admit(task)))
      await journal.intend(intent())
      expect(await heir.claimAbandoned(10)).toEqual([])
      await leaving.resign()
      expect(await heir.claimAbandoned(10)).toMatchObject([{ taskId: task.id, row: { mode: 'attached', lost_at_ms: expect.any(Number) } }])
      await expect(leaving.admit(newTask())).rejects.toMatchObject({ reason: 'SHUTTING_DOWN', outcome: 'not_sent' })
    })

    test('takes over at once whatever runs in the name of another process where there can be none', async () => {
      await using stores = await open()
      const dead = await stores.open({ exclusive: true })
      const tasks = Array.from({ length: 5 }, () => newTask({ requestId: newTaskId() }))
      for (const task of tasks) await dead.admit(task)
      const heir = await stores.open({ exclusive: true })
      const taken = [...(await heir.claimAbandoned(3)), ...(await heir.claimAbandoned(3)), ...(await heir.claimAbandoned(3))]
      expect(taken.map(({ taskId }) => taskId).toSorted()).toEqual(tasks.map(({ id }) => id).toSorted())
    })

    test('opens what an earlier process has kept of attempts', async () => {
      await using stores = await open()
      const dead = await stores.open({ exclusive: true })
      const task = newTask({ onInterrupt: 'retry' })
      const journal = dead.journal(claimOf(await dead.admit(task)))
      const credential = { kind: 'organization', id: 'cred_1' } as const
      const [first, second] = [await journal.intend(intent({ credential })), await journal.intend(intent({ part: 1 }))]
      await journal.submitted(second, 'job-7')
      await journal.close(first, delivery(38_000n))
      const heir = await stores.open({ exclusive: true })
      const [taken] = await heir.claimAbandoned(1)
      expect(taken).toMatchObject({ taskId: task.id, fence: 2, row: { on_interrupt: 'retry', owner: heir.processId } })
      expect(taken?.request).toEqual(task.request)
      expect(taken?.attempts).toEqual([
        { id: first, part: 0, ordinal: 0, provider: 'openai', state: 'succeeded', credential, result: resultOf(38_000n) },
        {
          id: second,
          part: 1,
          ordinal: 0,
          provider: 'openai',
          state: 'submitted',
          credential: { kind: 'platform', id: '' },
          jobId: 'job-7'
        }
      ])
    })

    test('gives up a task that cannot be read any more', async () => {
      await using stores = await open()
      const store = await stores.open()
      const [task, sound] = [newTask({ mode: 'detached' }), newTask({ mode: 'detached' })]
      await store.admit(task)
      await store.admit(sound)
      await stores.database.query
        .updateTable('tasks')
        .set({ request: new Uint8Array(60) })
        .where('id', '=', task.id)
        .execute()
      expect((await store.claimQueued(10)).map(({ taskId }) => taskId)).toEqual([sound.id])
      const kept = await store.find(task.id, 'default')
      expect(kept).toMatchObject({ state: 'failed', task: { error: { code: 'internal_error', mayBeBilled: false } } })
    })

    test('gives queued tasks out oldest first, each to one process', async () => {
      await using stores = await open()
      const [one, other] = [await stores.open(), await stores.open()]
      const tasks = Array.from({ length: 60 }, (_, index) => newTask({ mode: 'detached', createdAtMs: 1_700_000_000_000 + index }))
      await Promise.all(tasks.toReversed().map((task) => one.admit(task)))
      const [oldest] = await one.claimQueued(1)
      expect(oldest).toMatchObject({ taskId: tasks[0]?.id, fence: 2, row: { state: 'running', owner: one.processId }, attempts: [] })
      const claim = (store: TaskStore) => Promise.all(Array.from({ length: 10 }, () => store.claimQueued(4)))
      const claimed = (await Promise.all([claim(one), claim(other)])).flat(2).map(({ taskId }) => taskId)
      while (claimed.length < 59) claimed.push(...(await other.claimQueued(10)).map(({ taskId }) => taskId))
      expect(claimed.toSorted()).toEqual(
        tasks
          .slice(1)
          .map(({ id }) => id)
          .toSorted()
      )
      expect(await one.claimQueued(10)).toEqual([])
    })
  })
}

/** A task with one open attempt that was taken from the process which began it. */
async function takenOver(stores: TaskStores) {
  const [store, heir] = [await stores.open(), await stores.open()]
  const task = newTask()
  const journal = store.journal(claimOf(await store.admit(task)))
  const attempt = await journal.intend(intent())
  await store.resign()
  const [claimed] = await heir.claimAbandoned(1)
  if (!claimed) throw new Error('nothing was abandoned')
  return { task, journal, attempt, heir: { store: heir, journal: heir.journal(claimed) } }
}
