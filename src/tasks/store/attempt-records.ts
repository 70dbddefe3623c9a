import { sql } from 'kysely'
import type { StoredResult } from '../../../gen/atelier/v1/stored_pb.ts'
import type { Database, Statement } from '../../storage/database.ts'
import type { InsertRow } from '../../storage/insert-rows.ts'
import type { AttemptRow, LedgerEntryRow } from '../../storage/schema.ts'
import type { Sealer } from '../../storage/seal.ts'
import { type WrittenQuery, writeOnce } from '../../storage/write-once.ts'
import type { AttemptEnding, Intent } from '../task-store.ts'
import { type Booked, correctEntry, reservation, reserveEntry, type Settled, settled, settleEntry } from './bookings.ts'
import type { BudgetChanges, Counted } from './budget-changes.ts'
import { credentialText } from './credential-text.ts'
import type { HeldAttempt, HeldClaim } from './held-claims.ts'
import { sealJobId, sealResult } from './task-rows.ts'

/** The statements that record the attempts of a claim, each step of one together with its booking. */
export interface AttemptRecords {
  /** Conflicts where a budget does not cover what the held attempt counts. */
  intend(claim: HeldClaim, attemptId: string, intent: Intent, nowMs: number): Statement[]
  submit(claim: HeldClaim, attemptId: string, jobId: string): Statement[]
  /** Expects an attempt that is open. What is not kept of a result is left out, its money is not. */
  close(claim: HeldClaim, attemptId: string, ending: AttemptEnding, nowMs: number, kept: KeptOfResult): Statement[]
  /** What is to be changed about an attempt that somebody else closed as `row` says; conflicts when it is not so any more. */
  correct(claim: HeldClaim, row: AttemptRow, ending: AttemptEnding, nowMs: number, isRefused: boolean): Statement[]
  /** Closes, where it is there, an attempt that nobody knows to be recorded and of which nothing was sent. */
  withdraw(claim: HeldClaim, attemptId: string, nowMs: number): Statement[]
}

/** `images`: only the rows of its images, because it ends with its task, which has the rest. `nothing`: it is refused. */
export type KeptOfResult = 'everything' | 'images' | 'nothing'

export interface AttemptRecordsDeps {
  database: Database
  sealer: Sealer
  insert: InsertRow
  budgets: BudgetChanges
}

/** What is the same in the rows of all attempts that are begun. */
const newAttempt = {
  state: 'intended',
  job_id: null,
  cost_micros: null,
  result: null,
  closed_at_ms: null
} as const satisfies Partial<AttemptRow>

export function createAttemptRecords({ database, sealer, insert, budgets }: AttemptRecordsDeps): AttemptRecords {
  const { query } = database
  const ifOpen = sql`where id = ${''} and state in ('intended', 'submitted')`
  const submitOpen = writeOnce(sql`update attempts set state = 'submitted', job_id = ${null} ${ifOpen}`, query)
  const closed = sql`state = ${''}, cost_micros = ${0}, budget_micros = ${0}, closed_at_ms = ${0}`
  const closeOpen = writeOnce(sql`update attempts set ${closed} ${ifOpen}`, query)
  const closeOpenWithResult = writeOnce(sql`update attempts set ${closed}, result = ${null} ${ifOpen}`, query)

  return {
    intend(claim, attemptId, { part, ordinal, provider, model, reserveMicros = null, credential }, nowMs) {
      const { budget_periods, budget_micros } = heldAttempt(claim, attemptId)
      const row = {
        id: attemptId,
        task_id: claim.taskId,
        organization_id: claim.organizationId,
        part,
        ordinal,
        provider,
        model,
        credential: credentialText(credential),
        reserved_micros: reserveMicros,
        budget_periods,
        budget_micros,
        created_at_ms: nowMs
      }
      const reserve = reserveEntry(bookedFor(claim, attemptId), reserveMicros, part === 0 && ordinal === 0, nowMs)
      return [insert('attempts', row, newAttempt), insert('ledger_entries', reserve, reservation), ...budgets.reserve(row)]
    },

    submit(claim, attemptId, jobId) {
      return [{ query: submitOpen([sealJobId(jobId, claim.organizationId, attemptId, sealer), attemptId]), expectRows: 1 }]
    },

    close(claim, attemptId, ending, nowMs, kept) {
      const attempt = heldAttempt(claim, attemptId)
      const { reserved_micros: reservedMicros } = attempt
      const closed = settled(ending, reservedMicros)
      const counted = countedMicros(closed, attempt)
      const result = kept === 'everything' && ending.outcome === 'succeeded' ? ending.result : undefined
      const statements: Statement[] = [
        { query: close(claim, attemptId, closed, counted, result, nowMs), expectRows: 1 },
        book(settleEntry(bookedFor(claim, attemptId), reservedMicros, closed, nowMs))
      ]
      if (kept !== 'nothing') statements.push(...imageRows(ending))
      statements.push(...budgets.settle(attempt, counted))
      return statements
    },

    correct(claim, row, ending, nowMs, isRefused) {
      const closed = settled(ending, row.reserved_micros)
      const result = isRefused || row.result !== null ? {} : resultOf(claim, row.id, ending)
      const asFound = query
        .updateTable('attempts')
        .where('id', '=', row.id)
        .where('state', '=', row.state)
        .where('result', row.result === null ? 'is' : 'is not', null)
      if (!knowsMore(closed, row)) {
        if (!('result' in result)) return []
        // Two processes have seen the end of the same job: the first one booked it, and the one whose task it is brings the images.
        return [{ query: asFound.set(result), expectRows: 1 }, ...imageRows(ending)]
      }
      // What was released as never sent may turn out to have been made at a price that nobody knows.
      const counted = countedMicros(closed, {
        ...row,
        budget_micros: Math.max(row.budget_micros, heldAttempt(claim, row.id).budget_micros)
      })
      return [
        { query: asFound.set({ ...closedValues(closed, counted, nowMs), ...result }), expectRows: 1 },
        book(correctEntry(bookedFor(claim, row.id), row.cost_micros, closed, nowMs)),
        ...('result' in result ? imageRows(ending) : []),
        ...budgets.settle(row, counted)
      ]
    },

    withdraw(claim, attemptId, nowMs) {
      const attempt = heldAttempt(claim, attemptId)
      const { reserved_micros: reservedMicros } = attempt
      const closed = settled({ outcome: 'not_sent' }, reservedMicros)
      return [
        ...budgets.releaseIfOpen(attemptId, attempt),
        bookIfOpen(settleEntry(bookedFor(claim, attemptId), reservedMicros, closed, nowMs)),
        { query: close(claim, attemptId, closed, 0, undefined, nowMs) }
      ]
    }
  }

  function close(
    { organizationId }: HeldClaim,
    attemptId: string,
    { state, costMicros }: Settled,
    countedMicros: number,
    result: StoredResult | undefined,
    nowMs: number
  ): WrittenQuery {
    if (!result) return closeOpen([state, costMicros, countedMicros, nowMs, attemptId])
    return closeOpenWithResult([state, costMicros, countedMicros, nowMs, sealResult(result, organizationId, attemptId, sealer), attemptId])
  }

  function resultOf(claim: HeldClaim, attemptId: string, ending: AttemptEnding): { result?: Uint8Array } {
    return ending.outcome === 'succeeded' ? { result: sealResult(ending.result, claim.organizationId, attemptId, sealer) } : {}
  }

  function book(row: LedgerEntryRow): Statement {
    return insert('ledger_entries', row)
  }

  function bookIfOpen(row: LedgerEntryRow): Statement {
    const columns = Object.keys(row) as (keyof LedgerEntryRow)[]
    const values = sql.join(columns.map((column) => sql`${row[column]}`))
    const isOpen = sql`select 1 from attempts where id = ${row.attempt_id} and state in ('intended', 'submitted')`
    const names = sql.join(columns.map((column) => sql.ref(column)))
    const insertion = sql`insert into ledger_entries (${names}) select ${values} where exists (${isOpen})`
    return { query: { compile: () => insertion.compile(query) } }
  }
}

function closedValues({ state, costMicros }: Settled, budgetMicros: number, nowMs: number) {
  return { state, cost_micros: costMicros, budget_micros: budgetMicros, closed_at_ms: nowMs }
}

/** What an attempt counts in budgets when it is closed: its cost, and where that stays unknown what it counted before. */
function countedMicros({ costMicros }: Settled, { budget_periods, budget_micros }: Counted): number {
  return budget_periods === '' ? 0 : (costMicros ?? budget_micros)
}

function imageRows(ending: AttemptEnding): Statement[] {
  return ending.outcome === 'succeeded' ? ending.blobs.map(({ row }) => row) : []
}

function bookedFor(claim: HeldClaim, attemptId: string): Booked {
  const { organizationId, apiKeyId, taskId, labels } = claim
  const { provider, model, credential } = heldAttempt(claim, attemptId)
  const { operation, end_user, metadata } = labels
  return {
    organization_id: organizationId,
    api_key_id: apiKeyId,
    task_id: taskId,
    attempt_id: attemptId,
    provider,
    model,
    credential,
    operation,
    end_user,
    metadata
  }
}

function heldAttempt(claim: HeldClaim, attemptId: string): HeldAttempt {
  const attempt = claim.attempts.get(attemptId)
  if (!attempt) throw new Error(`the task ${claim.taskId} has no attempt ${attemptId}`)
  return attempt
}

/** Whether an ending says more about an attempt than what is recorded: that it was made at all, or that it was not. */
function knowsMore({ state }: Settled, row: AttemptRow): boolean {
  if (state === 'succeeded') return row.state !== 'succeeded'
  return state === 'rejected' && row.state === 'unknown'
}
