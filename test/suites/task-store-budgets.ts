import { afterEach, describe, expect, test, vi } from 'vitest'
import { deleteBudget } from '../../src/ledger/budget-rows.ts'
import { type AttemptEnding, ClaimLostError, newTaskId } from '../../src/tasks/task-store.ts'
import { auditBudgets } from '../chaos/audit-budgets.ts'
import { addBudgets, usedOf } from '../support/budgets.ts'
import { createFaultyDatabase, type Fate } from '../support/faulty-database.ts'
import { claimOf, delivery, failed, intent, ledgerOf, newTask, type OpenStore, succeeded, type TaskStores } from '../support/task-stores.ts'

/** What the journal keeps of budgets. */
export function taskBudgetSuite(name: string, open: () => Promise<TaskStores>): void {
  describe(`${name}: budgets`, () => {
    afterEach(() => void vi.useRealTimers())

    test.each<[string, AttemptEnding, number]>([
      ['the actual cost of a delivery', delivery(38_000n), 38_000],
      ['an actual cost above what was set aside', delivery(55_000n), 55_000],
      ['what was set aside for a delivery that does not say its cost', delivery(undefined), 40_000],
      ['nothing for a refusal', { outcome: 'rejected' }, 0],
      ['nothing for what was not sent', { outcome: 'not_sent' }, 0],
      ['what was set aside for an answer that was lost', { outcome: 'unknown' }, 40_000]
    ])('count %s', async (_, ending, counted) => {
      for (const exclusive of [false, true]) {
        for (const withEnding of [false, true]) {
          await using stores = await open()
          const budgets = await addBudgets(stores.database, {}, { subject_kind: 'api_key', subject_id: 'key-1', period: 'day' })
          const store = await stores.open({ exclusive }, { budgets })
          await using journal = store.journal(claimOf(await store.admit(newTask())))
          const attempt = await journal.intend(intent())
          expect(await usedOf(stores.database)).toEqual({ budget_0: 40_000, budget_1: 40_000 })
          await journal.close(attempt, ending, { withEnding })
          await journal.finish(succeeded())
          expect(await usedOf(stores.database)).toEqual({ budget_0: counted, budget_1: counted })
          expect(await auditBudgets(stores.database)).toEqual([])
        }
      }
    })

    test('refuse what they do not cover, and say whose budget it is, how much, and when it begins anew', async () => {
      await using stores = await open()
      vi.useFakeTimers({ toFake: ['Date'], now: Date.UTC(2026, 10, 30, 23) })
      const budgets = await addBudgets(
        stores.database,
        { subject_kind: 'organization', subject_id: 'default', period: 'month', limit_micros: 50_000 },
        { subject_kind: 'everything', limit_micros: 500_000 }
      )
      const store = await stores.open({ exclusive: true }, { budgets })
      await intendOnce(store)
      const task = newTask()
      const journal = store.journal(claimOf(await store.admit(task)))
      await expect(journal.intend(intent({ reserveMicros: 10_001 }))).rejects.toMatchObject({
        reason: 'BUDGET_EXCEEDED',
        outcome: 'not_sent',
        retryable: false,
        message:
          'the monthly budget of the organization default ($0.05) does not cover this request, which may cost $0.010001; ' +
          'it begins anew at 2026-12-01T00:00:00Z'
      })
      await journal.finish(failed())
      expect(await store.find(task.id, 'default')).toBeUndefined()
      expect(await usedOf(stores.database)).toEqual({ budget_0: 40_000, budget_1: 40_000 })
      await intendOnce(store, { reserveMicros: 10_000 })
      expect(await usedOf(stores.database)).toEqual({ budget_0: 50_000, budget_1: 50_000 })
    })

    test('begin anew, and what was begun in a period counts there', async () => {
      await using stores = await open()
      vi.useFakeTimers({ toFake: ['Date'], now: Date.UTC(2026, 10, 30, 23, 59) })
      const budgets = await addBudgets(stores.database, { period: 'month', limit_micros: 40_000 })
      const store = await stores.open({ exclusive: true }, { budgets })
      await using journal = store.journal(claimOf(await store.admit(newTask())))
      const attempt = await journal.intend(intent())
      await expect(intendOnce(store)).rejects.toMatchObject({ reason: 'BUDGET_EXCEEDED' })
      vi.setSystemTime(Date.UTC(2026, 11, 1))
      await intendOnce(store)
      await journal.close(attempt, delivery(30_000n))
      const periods = stores.database.query.selectFrom('budget_periods').select(['starts_at_ms', 'used_micros']).orderBy('starts_at_ms')
      expect(await periods.execute()).toEqual([
        { starts_at_ms: Date.UTC(2026, 10, 1), used_micros: 30_000 },
        { starts_at_ms: Date.UTC(2026, 11, 1), used_micros: 40_000 }
      ])
    })

    test.each([false, true])(
      'admit exactly what they cover of what several processes ask for at a time (exclusive: %s)',
      async (exclusive) => {
        await using stores = await open()
        const budgets = await addBudgets(
          stores.database,
          { limit_micros: 5_000_000 },
          { subject_kind: 'organization', subject_id: 'default', limit_micros: 9_000_000 }
        )
        const processes = [await stores.open({ exclusive }, { budgets }), await stores.open({ exclusive }, { budgets })]
        const asked = processes.flatMap((store) => Array.from({ length: 200 }, () => intendOnce(store, { reserveMicros: 100_000 })))
        const answers = (await Promise.allSettled(asked)).map((answer) =>
          answer.status === 'fulfilled' ? 'admitted' : answer.reason.reason
        )
        expect([answers.filter((answer) => answer === 'admitted').length, new Set(answers)]).toEqual([
          50,
          new Set(['admitted', 'BUDGET_EXCEEDED'])
        ])
        expect(await usedOf(stores.database)).toEqual({ budget_0: 5_000_000, budget_1: 5_000_000 })
        expect(await auditBudgets(stores.database)).toEqual([])
      }
    )

    test('admit small requests beside large ones that they do not cover', async () => {
      await using stores = await open()
      const budgets = await addBudgets(stores.database, { limit_micros: 100_000 })
      const store = await stores.open({}, { budgets })
      const sizes = Array.from({ length: 60 }, (_, index) => (index % 3 === 0 ? 90_000 : 10_000))
      const answers = await Promise.allSettled(sizes.map((reserveMicros) => intendOnce(store, { reserveMicros })))
      expect(answers.some(({ status }) => status === 'fulfilled')).toBe(true)
      expect(await usedOf(stores.database)).toEqual({ budget_0: 100_000 })
    })

    test('refuse nobody for what another one does wrong', async () => {
      await using stores = await open()
      const budgets = await addBudgets(stores.database, {})
      const store = await stores.open({}, { budgets })
      const wrong = { part: 2 ** 60 }
      const answers = await Promise.allSettled([{}, wrong, {}, {}].map((fields) => intendOnce(store, fields)))
      expect(answers.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled', 'fulfilled'])
      expect(await usedOf(stores.database)).toEqual({ budget_0: 120_000 })
    })

    test('cost their neighbours nothing when a claim is lost', async () => {
      await using stores = await open()
      const budgets = await addBudgets(stores.database, {})
      const store = await stores.open({}, { budgets })
      const journals = await Promise.all(Array.from({ length: 3 }, async () => store.journal(claimOf(await store.admit(newTask())))))
      for (const journal of journals) await journal.intend(intent())
      const { query } = stores.database
      await query
        .updateTable('tasks')
        .set({ fence: 7 })
        .where('id', '=', journals[1]?.claim.taskId ?? '')
        .execute()
      const answers = await Promise.allSettled(journals.map((journal) => journal.intend(intent({ part: 1 }))))
      expect(answers.map((answer) => (answer.status === 'fulfilled' ? 'begun' : answer.reason.constructor))).toEqual([
        'begun',
        ClaimLostError,
        'begun'
      ])
      expect(await usedOf(stores.database)).toEqual({ budget_0: 200_000 })
    })

    test('cover what costs nothing also when they are used up', async () => {
      await using stores = await open()
      const budgets = await addBudgets(stores.database, { limit_micros: 40_000 })
      const store = await stores.open({}, { budgets })
      await intendOnce(store)
      await intendOnce(store, { reserveMicros: 0 })
      await expect(intendOnce(store, { reserveMicros: 1 })).rejects.toMatchObject({ reason: 'BUDGET_EXCEEDED' })
    })

    test('count for what has no price what they say, and refuse it where one says nothing', async () => {
      await using stores = await open()
      const organization = { subject_kind: 'organization', subject_id: 'default' } as const
      const budgets = await addBudgets(stores.database, { unknown_price_micros: 20_000 }, { ...organization, unknown_price_micros: 30_000 })
      const store = await stores.open({}, { budgets })
      for (const [ending, used] of [
        [{ outcome: 'rejected' }, 0],
        [{ outcome: 'unknown' }, 30_000],
        [delivery(undefined), 60_000],
        [delivery(7_000n), 67_000]
      ] as const) {
        const { journal, attempt } = await begin(store, { reserveMicros: undefined })
        await journal.close(attempt, ending)
        expect(await usedOf(stores.database)).toEqual({ budget_0: used, budget_1: used })
      }
      expect(await auditBudgets(stores.database)).toEqual([])
      Object.assign(budgets.rows[1] ?? {}, { unknown_price_micros: null })
      await expect(intendOnce(store, { reserveMicros: undefined })).rejects.toMatchObject({
        reason: 'PRICE_UNKNOWN',
        outcome: 'not_sent',
        message:
          'no price is known for this request to dall-e-3, and the total budget of the organization default ($1.00) counts nothing for such requests'
      })
    })

    test('that were deleted, or are new, hold from the next request on', async () => {
      await using stores = await open()
      const { database } = stores
      const budgets = await addBudgets(database, { limit_micros: 40_000 })
      const store = await stores.open({}, { budgets })
      const { journal, attempt } = await begin(store)
      await database.commit(deleteBudget('budget_0', database))
      await intendOnce(store)
      await journal.close(attempt, delivery(1n))
      await addBudgets(database, { id: 'budget_new', limit_micros: 10_000 })
      await budgets.refresh()
      await expect(intendOnce(store)).rejects.toMatchObject({ reason: 'BUDGET_EXCEEDED' })
      expect(await usedOf(database)).toEqual({ budget_new: 0 })
    })

    test.each<[string, AttemptEnding, number]>([
      ['a delivery', delivery(38_000n), 38_000],
      ['a refusal', { outcome: 'rejected' }, 0],
      ['nothing', { outcome: 'unknown' }, 40_000]
    ])('count what a late worker learns after another one has taken over: %s', async (_, ending, counted) => {
      await using stores = await open()
      const budgets = await addBudgets(stores.database, {})
      const store = await stores.open({}, { budgets })
      const { journal, attempt } = await begin(store)
      await store.resign()
      const heirStore = await stores.open({}, { budgets })
      const [heir] = await heirStore.claimAbandoned(1)
      if (!heir) throw new Error('nothing was abandoned')
      await using heirs = heirStore.journal(heir)
      await heirs.close(attempt, { outcome: 'unknown' })
      expect(await usedOf(stores.database)).toEqual({ budget_0: 40_000 })
      await expect(journal.close(attempt, ending)).rejects.toThrow(ClaimLostError)
      expect(await usedOf(stores.database)).toEqual({ budget_0: counted })
      expect(await auditBudgets(stores.database)).toEqual([])
      await heirs.finish(failed({ state: 'interrupted' }))
    })

    test.each<Fate>(['unavailable', 'done unheard', 'lost unheard'])(
      'count nothing for an intent of which the commit is %s',
      async (fate) => {
        await using stores = await open()
        const budgets = await addBudgets(stores.database, {})
        const database = createFaultyDatabase(stores.database)
        const store = await stores.open({}, { budgets, database })
        const journal = store.journal(claimOf(await store.admit(newTask())))
        database.fates.push(fate)
        await expect(journal.intend(intent())).rejects.toMatchObject({ reason: 'DATABASE_UNAVAILABLE' })
        await journal.finish(failed())
        expect(await usedOf(stores.database)).toEqual({ budget_0: 0 })
        expect((await ledgerOf(stores.database)).filter(({ state }) => state !== 'rejected')).toEqual([])
      }
    )
  })
}

async function begin(store: OpenStore, fields: Parameters<typeof intent>[0] = {}) {
  const journal = store.journal(claimOf(await store.admit(newTask({ id: newTaskId() }))))
  return { journal, attempt: await journal.intend(intent(fields)) }
}

async function intendOnce(store: OpenStore, fields: Parameters<typeof intent>[0] = {}): Promise<void> {
  await begin(store, fields)
}
