import { sql } from 'kysely'
import type { Database } from '../../storage/database.ts'
import { ConflictError } from '../../storage/database-error.ts'
import { randomBase62 } from '../../storage/random-id.ts'
import type { CallbackDeliveryRow, CallbackRow } from '../../storage/schema.ts'

/** The callbacks that are to be delivered, shared by all processes. Rejects where the database does. */
export interface CallbackQueue {
  /**
   * Takes due callbacks on, oldest first: nobody else gets them before `leaseUntilMs`. `pick` chooses among at most `limit` of them that are
   * not for the receivers left out; others may be faster, so that fewer than it chose come back.
   */
  claim(wanted: ClaimedWanted): Promise<{ seen: number; claimed: CallbackRow[] }>
  /** When the next one is due, those for the receivers left out not counted; undefined where there is none. */
  nextDueMs(without: readonly string[]): Promise<number | undefined>
  /** Records a try, and what it means for the callback unless that was asked for again in the meantime. */
  record(callback: CallbackRow, tried: CallbackTry): Promise<void>
  /** Makes the callback of the task due at once, with all its tries before it. False where the task has none. */
  redeliver(taskId: string, organizationId: string, nowMs: number): Promise<boolean>
}

export interface ClaimedWanted {
  nowMs: number
  leaseUntilMs: number
  limit: number
  without: readonly string[]
  pick(due: readonly DueCallback[]): readonly DueCallback[]
}

export type DueCallback = Pick<CallbackRow, 'id' | 'receiver'>

/** What one try came to. */
export interface CallbackTry {
  atMs: number
  durationMs: number
  /** 0 where there was no answer. */
  status: number
  /** Empty where nothing went wrong. */
  problem: string
  next: { state: 'pending'; atMs: number } | { state: Exclude<CallbackRow['state'], 'pending'> }
}

export function createCallbackQueue(deps: { database: Database }): CallbackQueue {
  const { database } = deps
  const { query } = database

  return {
    async claim({ nowMs, leaseUntilMs, limit, without, pick }) {
      const due = await dueBefore(nowMs, without).orderBy('next_at_ms').select(['id', 'receiver']).limit(limit).execute()
      const ids = pick(due).map(({ id }) => id)
      if (ids.length === 0) return { seen: due.length, claimed: [] }
      const free = database.skipLocked(dueBefore(nowMs, []).where('id', 'in', ids).select('id'))
      const claimed = await query
        .updateTable('callbacks')
        .set((set) => ({ next_at_ms: leaseUntilMs, attempts: set('attempts', '+', 1) }))
        .where('id', 'in', free)
        .returningAll()
        .execute()
      return { seen: due.length, claimed }
    },
    async nextDueMs(without) {
      const earliest = pending(without).select('next_at_ms').orderBy('next_at_ms').limit(1)
      return (await earliest.executeTakeFirst())?.next_at_ms
    },
    async record(callback, { atMs, durationMs, status, problem, next }) {
      const delivery: CallbackDeliveryRow = {
        id: randomBase62(22),
        callback_id: callback.id,
        at_ms: atMs,
        status,
        problem,
        duration_ms: durationMs
      }
      const advance = query
        .updateTable('callbacks')
        .set({ state: next.state, ...(next.state === 'pending' ? { next_at_ms: next.atMs } : {}) })
        .where('id', '=', callback.id)
        .where('state', '=', 'pending')
        .where('attempts', '=', callback.attempts)
      await database
        .commit([
          { query: query.selectFrom('callbacks').select('id').where('id', '=', callback.id), expectRows: 1 },
          { query: query.insertInto('callback_deliveries').values(delivery), expectRows: 1 },
          { query: advance }
        ])
        .catch(ignoreConflict)
    },
    async redeliver(taskId, organizationId, nowMs) {
      const renew = query
        .updateTable('callbacks')
        .set({ state: 'pending', attempts: 0, next_at_ms: nowMs })
        .where('task_id', '=', taskId)
        .where('organization_id', '=', organizationId)
      const renewed = await database.commit([{ query: renew, expectRows: 1 }], ['callbacks']).then(() => true, ignoreConflict)
      return renewed ?? false
    }
  }

  function dueBefore(nowMs: number, without: readonly string[]) {
    return pending(without).where('next_at_ms', '<=', nowMs)
  }

  function pending(without: readonly string[]) {
    const all = query.selectFrom('callbacks').where('state', '=', sql.lit('pending'))
    return without.length === 0 ? all : all.where('receiver', 'not in', without)
  }
}

/** The callback is not there, or not any more: it was forgotten with its task. */
function ignoreConflict(error: unknown): undefined {
  if (!(error instanceof ConflictError)) throw error
}
