import { sql } from 'kysely'
import { type GatewayError, gatewayError } from '../../errors.ts'
import type { Database } from '../../storage/database.ts'

/** Keeps the queue of tasks from growing without end. Between processes it is exact to what they accept within a second. */
export interface QueueLimit {
  /** Whether there is a place for one task more, which is then taken. */
  enter(): Promise<boolean>
  /** The error for those who find none. */
  full(): GatewayError
}

export function createQueueLimit({ maxQueuedTasks }: { maxQueuedTasks: number }, { database }: { database: Database }): QueueLimit {
  const { query } = database
  let counted = Number.POSITIVE_INFINITY
  let countedAt = Number.NEGATIVE_INFINITY
  /** Let in since the count was begun. */
  let entered = 0
  let counting: Promise<void> | undefined

  return {
    async enter() {
      if (counted + entered >= maxQueuedTasks || performance.now() - countedAt > maxCountAgeMs) await recount()
      if (counted + entered >= maxQueuedTasks) return false
      entered += 1
      return true
    },
    full: () => gatewayError('QUEUE_FULL', { limit: maxQueuedTasks }, { outcome: 'not_sent', retryAfterMs: 1_000 })
  }

  function recount(): Promise<void> {
    counting ??= count().finally(() => {
      counting = undefined
    })
    return counting
  }

  async function count(): Promise<void> {
    const before = entered
    const now = performance.now()
    const queued = query.selectFrom('tasks').select('id').where('state', '=', sql.lit('queued')).limit(maxQueuedTasks)
    const row = await query
      .selectFrom(queued.as('queued'))
      .select(({ fn }) => fn.countAll<number>().as('tasks'))
      .executeTakeFirstOrThrow()
    counted = row.tasks
    countedAt = now
    // What came in meanwhile may or may not be among them.
    entered -= before
  }
}

const maxCountAgeMs = 1_000
