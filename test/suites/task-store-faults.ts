import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { GatewayError } from '../../src/errors.ts'
import { type Budgets, noBudgets } from '../../src/ledger/budgets.ts'
import { DatabaseError } from '../../src/storage/database-error.ts'
import { type AttemptEnding, type ClaimedTask, ClaimLostError, type TaskJournal } from '../../src/tasks/task-store.ts'
import { auditBudgets } from '../chaos/audit-budgets.ts'
import { addBudgets } from '../support/budgets.ts'
import { createFaultyDatabase, type Fate } from '../support/faulty-database.ts'
import {
  caller,
  claimOf,
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

/** What a task store promises of a database that fails. */
export function taskStoreFaultSuite(name: string, open: () => Promise<TaskStores>, numRuns: number): void {
  describe(name, () => {
    let stores: TaskStores
    beforeEach(async () => {
      stores = await open()
    })
    afterEach(() => stores[Symbol.asyncDispose]())

    const unheard = { code: 'RESULT_UNKNOWN', isUnknown: true }
    const unavailable = { reason: 'DATABASE_UNAVAILABLE', outcome: 'not_sent', retryAfterMs: 1_000 }

    async function openFaulty(on = stores, budgets: Budgets = noBudgets) {
      const database = createFaultyDatabase(on.database)
      return { database, store: await on.open({ exclusive: on === stores }, { database, budgets }) }
    }

    test.each<Fate>(['unavailable', 'done unheard', 'lost unheard'])(
      'sends nothing for an intent of which the commit is %s',
      async (fate) => {
        const { database, store } = await openFaulty()
        for (const requestId of ['', `key-${fate}`]) {
          const task = newTask({ requestId })
          const journal = store.journal(claimOf(await store.admit(task)))
          database.fates.push(fate)
          await expect(journal.intend(intent())).rejects.toMatchObject(unavailable)
          if (fate !== 'unavailable' && requestId === '')
            await expect(journal.intend(intent({ part: 1 }))).rejects.toMatchObject(unavailable)
          await journal.finish(failed())
          expect(
            (await ledgerOf(stores.database, task.id)).filter(
              ({ state, spent, reserved }) => state !== 'rejected' || spent !== 0 || reserved !== 0
            )
          ).toEqual([])
          const kept = await store.find(task.id, 'default')
          expect(kept?.state).toBe(requestId !== '' || fate === 'done unheard' ? 'failed' : undefined)
        }
        expect(await store.claimAbandoned(10)).toEqual([])
      }
    )

    test('goes on with the other parts of a task after an intent of which nobody heard', async () => {
      const { database, store } = await openFaulty()
      const task = newTask()
      const journal = store.journal(claimOf(await store.admit(task)))
      const first = await journal.intend(intent())
      database.fates.push('done unheard')
      await expect(journal.intend(intent({ part: 1 }))).rejects.toMatchObject(unavailable)
      await journal.close(first, { outcome: 'succeeded', result: resultOf(38_000n), blobs: [] })
      await journal.finish(succeeded())
      const states = (await ledgerOf(stores.database, task.id)).map(({ state, spent }) => `${state} ${spent}`)
      expect(states.toSorted()).toEqual(['rejected 0', 'succeeded 38000'])
    })

    test.each<Fate>(['unavailable', 'done unheard', 'lost unheard'])('can be told an ending again when its commit is %s', async (fate) => {
      const { database, store } = await openFaulty()
      const task = newTask({}, { callbackUrl: 'https://example.com/hook' })
      const journal = store.journal(claimOf(await store.admit(task)))
      const attempt = await journal.intend(intent())
      const blobs = [pendingBlob(database, task.id, Date.now() + 60_000)]
      const close = () => journal.close(attempt, { outcome: 'succeeded', result: resultOf(38_000n), blobs })
      database.fates.push(fate, fate)
      await expect(close()).rejects.toThrow(DatabaseError)
      await close().catch(ignoreExpected)
      await close()
      await close()
      database.fates.push(fate, fate)
      await expect(journal.finish(succeeded())).rejects.toThrow(DatabaseError)
      await journal.finish(succeeded()).catch(ignoreExpected)
      await journal.finish(succeeded())
      expect(await ledgerOf(stores.database, task.id)).toMatchObject([{ state: 'succeeded', reserved: 0, spent: 38_000, images: 1 }])
      const rows = (table: 'blobs' | 'callbacks') =>
        stores.database.query.selectFrom(table).select('id').where('task_id', '=', task.id).execute()
      expect([(await rows('blobs')).length, (await rows('callbacks')).length]).toEqual([1, 1])
    })

    test('commits with the end of a task what could not be recorded of its attempts before', async () => {
      const { database, store } = await openFaulty()
      const task = newTask()
      const journal = store.journal(claimOf(await store.admit(task)))
      const [first, second] = [await journal.intend(intent()), await journal.intend(intent({ part: 1 }))]
      database.fates.push('lost unheard', 'done unheard')
      await expect(journal.close(first, { outcome: 'rejected' })).rejects.toMatchObject(unheard)
      await expect(journal.close(second, { outcome: 'succeeded', result: resultOf(1n), blobs: [] })).rejects.toMatchObject(unheard)
      await journal.finish(succeeded())
      expect((await ledgerOf(stores.database, task.id)).map(({ spent }) => spent).toSorted()).toEqual([0, 1])
      expect(await imbalances(stores.database)).toEqual([])
    })

    test('finds again what it has admitted without hearing so', async () => {
      const { database, store } = await openFaulty()
      const task = newTask({ requestId: 'order-unheard' })
      database.fates.push('done unheard')
      await expect(store.admit(task)).rejects.toMatchObject(unavailable)
      expect(await store.admit(newTask({ requestId: 'order-unheard' }))).toEqual({ kind: 'existing', taskId: task.id })
      expect(await store.claimAbandoned(10)).toMatchObject([{ taskId: task.id, attempts: [] }])
    })

    test.each<Fate>(['done unheard', 'lost unheard'])('puts a task back into the queue once when the commit is %s', async (fate) => {
      const { database, store } = await openFaulty()
      const task = newTask({ mode: 'detached' })
      await store.admit(task)
      const [claimed] = await store.claimQueued(1)
      if (!claimed) throw new Error('there is no task')
      const journal = store.journal(claimed)
      database.fates.push(fate)
      await expect(journal.requeue()).rejects.toMatchObject(unheard)
      await journal.requeue()
      expect(await store.claimQueued(10)).toMatchObject([{ taskId: task.id, fence: 3 }])
    })

    test('writes that an answer was lost as soon as the database is back, and buys nothing again before', async () => {
      const { database, store } = await openFaulty()
      const task = newTask({ fingerprints: ['lost'] })
      const journal = store.journal(claimOf(await store.admit(task)))
      await journal.intend(intent())
      database.fates.push('unavailable', 'unavailable')
      store.lost(task.id)
      await expect(store.rejoin(caller, ['lost'])).rejects.toMatchObject(unavailable)
      await expect(store.rejoin(caller, ['lost'])).rejects.toMatchObject(unavailable)
      expect(await store.rejoin(caller, ['lost'])).toBe(task.id)
      await journal.finish(succeeded())
    })

    test('says of a closed database that it is unavailable', async () => {
      const store = await stores.open()
      await store.database[Symbol.asyncDispose]()
      const signal = new AbortController().signal
      for (const call of [
        () => store.admit(newTask({ mode: 'detached' })),
        () => store.find('task_1', 'default'),
        () => store.list({ organizationId: 'default', limit: 1 }),
        () => store.waitFor('task_1', 'default', { signal }),
        () => store.cancel('task_1', 'default'),
        () => store.rejoin(caller, ['fingerprint']),
        () => store.claimQueued(1),
        () => store.claimAbandoned(1),
        () => store.sweep(0)
      ]) {
        await expect(call()).rejects.toMatchObject(unavailable)
      }
    })

    test('keeps the books whatever becomes of commits and of the process', { timeout: 120_000 }, async () => {
      await fc.assert(
        fc.asyncProperty(parts, fates, fates, fc.integer({ min: 0, max: 14 }), async (planned, first, second, takenAfter) => {
          await using stores = await open()
          const ofEverything = { limit_micros: 90_000, unknown_price_micros: 7_000 }
          const ofTheKey = { subject_kind: 'api_key', subject_id: caller.apiKeyId, unknown_price_micros: 9_000 } as const
          const budgets = await addBudgets(stores.database, ofEverything, ofTheKey)
          const one = await openFaulty(stores, budgets)
          const other = await openFaulty(stores, budgets)
          one.database.fates.push(...first)
          let steps = 0
          let heirs: ClaimedTask[] = []
          let told = new Map<string, PlannedPart>()
          const task = newTask()
          const step = async <T>(work: () => Promise<T>): Promise<T | undefined> => {
            if (steps++ === takenAfter) {
              await one.store.resign().catch(ignoreExpected)
              heirs.push(...(await other.store.claimAbandoned(10)))
            }
            return await work().catch(ignoreExpected)
          }
          {
            await using journal = one.store.journal(claimOf(await one.store.admit(task)))
            told = await runParts(journal, planned, step)
            if (!planned.some(({ ending }) => ending === 'crash'))
              for (let tries = 0; tries < 3; tries += 1) await step(() => journal.finish(succeeded()))
          }
          one.database.fates.length = 0
          await one.store.resign()
          other.database.fates.push(...second)
          heirs.push(...(await other.store.claimAbandoned(10)))
          for (let round = 0; round < 20; round += 1) {
            for (const heir of heirs) await recover(heir, other.store.journal)
            heirs = await other.store.claimAbandoned(10)
            if (heirs.length === 0) break
          }
          const { query } = stores.database
          const unfinished = await query.selectFrom('tasks').select('id').where('state', 'in', ['queued', 'running']).execute()
          expect(unfinished).toEqual([])
          const books = await ledgerOf(stores.database, task.id)
          expect(books.filter(({ state }) => state === 'intended' || state === 'submitted')).toEqual([])
          expect(await imbalances(stores.database)).toEqual([])
          expect(await auditBudgets(stores.database)).toEqual([])
          expect(books.filter(({ id, spent }) => told.has(id) && spent !== spentOn(told.get(id)))).toEqual([])
        }),
        { numRuns }
      )
    })
  })
}

interface PlannedPart {
  reserveMicros: number | undefined
  ending: AttemptEnding | 'crash'
  withEnding: boolean
}

const endings: fc.Arbitrary<PlannedPart['ending']> = fc.oneof(
  fc.bigInt(0n, 100_000n).map((cost): AttemptEnding => ({ outcome: 'succeeded', result: resultOf(cost), blobs: [] })),
  fc.constant<AttemptEnding>({ outcome: 'succeeded', result: resultOf(undefined), blobs: [] }),
  fc.constantFrom<PlannedPart['ending'][]>({ outcome: 'rejected' }, { outcome: 'not_sent' }, { outcome: 'unknown' }, 'crash')
)
const parts = fc.array(
  fc.record({
    reserveMicros: fc.oneof(fc.nat(100_000), fc.constant(undefined)),
    ending: endings,
    withEnding: fc.boolean()
  }),
  { minLength: 1, maxLength: 4 }
)
const fates = fc.array(fc.constantFrom<Fate[]>('done', 'done', 'done', 'done unheard', 'lost unheard', 'unavailable'), { maxLength: 12 })

async function runParts(
  journal: TaskJournal,
  planned: readonly PlannedPart[],
  step: <T>(work: () => Promise<T>) => Promise<T | undefined>
): Promise<Map<string, PlannedPart>> {
  const told = new Map<string, PlannedPart>()
  await Promise.all(
    planned.map(async (plannedPart, part) => {
      const { reserveMicros, ending, withEnding } = plannedPart
      const attempt = await step(() => journal.intend(intent({ part, reserveMicros })))
      if (attempt === undefined) return
      await step(() => journal.submitted(attempt, `job-${part}`))
      if (ending === 'crash') return
      const isTold = await step(async () => {
        // An earlier owner books what it knows before it says that it is none any more.
        await journal.close(attempt, ending, { withEnding }).catch((error: unknown) => {
          if (!(error instanceof ClaimLostError)) throw error
        })
        return ending.outcome !== 'unknown' && !withEnding
      })
      if (isTold) told.set(attempt, plannedPart)
    })
  )
  return told
}

function spentOn(part: PlannedPart | undefined): number {
  const { ending, reserveMicros = 0 } = part ?? { ending: 'crash' }
  if (ending === 'crash' || ending.outcome !== 'succeeded') return 0
  return Number(ending.result.cost?.totalMicros ?? reserveMicros)
}

async function recover(task: ClaimedTask, open: (claim: ClaimedTask) => TaskJournal): Promise<void> {
  try {
    await using journal = open(task)
    for (const { id, state } of task.attempts)
      if (state === 'intended' || state === 'submitted') await journal.close(id, { outcome: 'unknown' })
    await journal.finish(failed({ state: 'interrupted', consumesRequestId: true }))
  } catch (error) {
    ignoreExpected(error)
  }
}

function ignoreExpected(error: unknown): undefined {
  if (error instanceof ClaimLostError || error instanceof DatabaseError) return undefined
  if (error instanceof GatewayError && expectedReasons.includes(error.reason)) return undefined
  throw error
}

const expectedReasons: readonly string[] = ['DATABASE_UNAVAILABLE', 'SHUTTING_DOWN', 'BUDGET_EXCEEDED']
