import { sql } from 'kysely'
import type { Database } from '../../storage/database.ts'
import { finalStates } from './task-rows.ts'

/** Deletes what has expired of tasks, as `TaskStore.sweep` says, and processes that are long gone. */
export async function sweepTasks(nowMs: number, database: Database): Promise<number> {
  const { query } = database
  let deleted = 0
  for (let ids = await expiredTasks(nowMs, database); ids.length > 0; ids = await expiredTasks(nowMs, database)) {
    const callbacks = query.selectFrom('callbacks').select('id').where('task_id', 'in', ids)
    await database.commit([
      { query: query.deleteFrom('tasks').where('id', 'in', ids).where('expires_at_ms', '<=', nowMs) },
      { query: query.deleteFrom('callback_deliveries').where('callback_id', 'in', callbacks) },
      { query: query.deleteFrom('callbacks').where('task_id', 'in', ids) },
      { query: query.deleteFrom('attempts').where('task_id', 'in', ids) },
      { query: query.deleteFrom('request_keys').where('task_id', 'in', ids) }
    ])
    deleted += ids.length
  }
  const running = query.selectFrom('tasks').select('owner').where('state', '=', sql.lit('running')).where('owner', 'is not', null)
  await database.commit([
    { query: query.deleteFrom('request_keys').where('expires_at_ms', '<=', nowMs) },
    {
      query: query
        .deleteFrom('processes')
        .where('lease_until_ms', '<', nowMs - processAgeMs)
        .where('id', 'not in', running)
    }
  ])
  return deleted
}

const pageSize = 500
/** Longer than any clock is wrong. */
const processAgeMs = 86_400_000

async function expiredTasks(nowMs: number, { query }: Database): Promise<string[]> {
  const rows = await query
    .selectFrom('tasks')
    .select('id')
    .where('expires_at_ms', '<=', nowMs)
    // Says the same as the next one; the index holds only these.
    .where('finished_at_ms', 'is not', null)
    .where('state', 'in', finalStates)
    .where(sql<boolean>`not exists (select 1 from callbacks where task_id = tasks.id and state = 'pending')`)
    .orderBy('expires_at_ms')
    .limit(pageSize)
    .execute()
  return rows.map(({ id }) => id)
}
