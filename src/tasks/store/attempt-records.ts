import { sql } from 'kysely'
import type { Database, Statement } from '../../storage/database.ts'
import type { AttemptRow, LedgerEntryRow } from '../../storage/schema.ts'
import type { Sealer } from '../../storage/seal.ts'
import type { AttemptEnding, Intent } from '../task-store.ts'
import { type Booked, correctEntry, reserveEntry, type Settled, settled, settleEntry } from './bookings.ts'
import type { HeldAttempt, HeldClaim } from './held-claims.ts'
import type { InsertRow } from './insert-rows.ts'
import { sealJobId, sealResult } from './task-rows.ts'
import type { UpdateRows } from './update-rows.ts'

/** The statements that record the attempts of a claim, each step of one together with its booking. */
export interface AttemptRecords {
  intend(claim: HeldClaim, attemptId: string, intent: Intent, nowMs: number): Statement[]
  submit(claim: HeldClaim, attemptId: string, jobId: string): Statement[]
  /** Expects an attempt that is open. A result that is refused is left out, its money is not. */
  close(claim: HeldClaim, attemptId: string, ending: AttemptEnding, nowMs: number, isRefused: boolean): Statement[]
  /** What is to be changed about an attempt that somebody else closed as `row` says; conflicts when it is not so any more. */
  correct(claim: HeldClaim, row: AttemptRow, ending: AttemptEnding, nowMs: number, isRefused: boolean): Statement[]
  /** Closes, where it is there, an attempt that nobody knows to be recorded and of which nothing was sent. */
  withdraw(claim: HeldClaim, attemptId: string, nowMs: number): Statement[]
}

export interface AttemptRecordsDeps {
  database: Database
  sealer: Sealer
  insert: InsertRow
  update: UpdateRows
}

export function createAttemptRecords({ database, sealer, insert, update }: AttemptRecordsDeps): AttemptRecords {
  const { query } = database

  return {
    intend(claim, attemptId, { part, ordinal, provider, model, reserveMicros = null }, nowMs) {
      const row: AttemptRow = {
        id: attemptId,
        task_id: claim.taskId,
        organization_id: claim.organizationId,
        part,
        ordinal,
        provider,
        model,
        state: 'intended',
        job_id: null,
        reserved_micros: reserveMicros,
        cost_micros: null,
        result: null,
        created_at_ms: nowMs,
        closed_at_ms: null
      }
      const reserve = reserveEntry(bookedFor(claim, attemptId), reserveMicros, nowMs)
      return [insert('attempts', row), book(reserve)]
    },

    submit(claim, attemptId, jobId) {
      const values = { state: 'submitted', job_id: sealJobId(jobId, claim.organizationId, attemptId, sealer) } as const
      return [{ query: updateOpen(attemptId, values), expectRows: 1 }]
    },

    close(claim, attemptId, ending, nowMs, isRefused) {
      const { reserved_micros: reservedMicros } = heldAttempt(claim, attemptId)
      const closed = settled(ending, reservedMicros)
      const values = { ...closedValues(closed, nowMs), ...(isRefused ? {} : resultOf(claim, attemptId, ending)) }
      return [
        { query: updateOpen(attemptId, values), expectRows: 1 },
        book(settleEntry(bookedFor(claim, attemptId), reservedMicros, closed, nowMs)),
        ...(isRefused ? [] : imageRows(ending))
      ]
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
      return [
        { query: asFound.set({ ...closedValues(closed, nowMs), ...result }), expectRows: 1 },
        book(correctEntry(bookedFor(claim, row.id), row.cost_micros, closed, nowMs)),
        ...('result' in result ? imageRows(ending) : [])
      ]
    },

    withdraw(claim, attemptId, nowMs) {
      const { reserved_micros: reservedMicros } = heldAttempt(claim, attemptId)
      const closed = settled({ outcome: 'not_sent' }, reservedMicros)
      return [
        bookIfOpen(settleEntry(bookedFor(claim, attemptId), reservedMicros, closed, nowMs)),
        { query: updateOpen(attemptId, closedValues(closed, nowMs)) }
      ]
    }
  }

  function updateOpen(attemptId: string, values: Partial<AttemptRow>) {
    return update('attempts', values, { id: attemptId, state: ['intended', 'submitted'] })
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

function closedValues({ state, costMicros }: Settled, nowMs: number) {
  return { state, cost_micros: costMicros, closed_at_ms: nowMs }
}

function imageRows(ending: AttemptEnding): Statement[] {
  return ending.outcome === 'succeeded' ? ending.blobs.map(({ row }) => row) : []
}

function bookedFor(claim: HeldClaim, attemptId: string): Booked {
  const { organizationId, apiKeyId, taskId } = claim
  const { provider, model } = heldAttempt(claim, attemptId)
  return { organization_id: organizationId, api_key_id: apiKeyId, task_id: taskId, attempt_id: attemptId, provider, model }
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
