import { sql } from 'kysely'
import type { Database } from '../../storage/database.ts'

/** What waits, in all processes together. */
export interface Backlog {
  queuedTasks: number
  /** How long the oldest of them has waited; 0 where there is none. */
  oldestQueuedMs: number
  pendingCallbacks: number
}

/** Throws where the database does. */
export async function readBacklog({ query }: Pick<Database, 'query'>, nowMs: number): Promise<Backlog> {
  const tasks = query.selectFrom('tasks').where('state', '=', sql.lit('queued'))
  const counted = tasks.select(({ fn }) => [fn.countAll<number>().as('count'), fn.min<number | null>('created_at_ms').as('oldest')])
  const callbacks = query
    .selectFrom('callbacks')
    .where('state', '=', sql.lit('pending'))
    .select(({ fn }) => fn.countAll<number>().as('count'))
  const [queued, pending] = await Promise.all([counted.executeTakeFirst(), callbacks.executeTakeFirst()])
  return {
    queuedTasks: queued?.count ?? 0,
    oldestQueuedMs: typeof queued?.oldest === 'number' ? Math.max(0, nowMs - queued.oldest) : 0,
    pendingCallbacks: pending?.count ?? 0
  }
}
