import { sql } from 'kysely'
import type { StoredRequest, StoredResult } from '../../../gen/atelier/v1/stored_pb.ts'
import type { Database } from '../../storage/database.ts'
import type { AttemptRow, CallbackDeliveryRow, CallbackRow, TaskRow } from '../../storage/schema.ts'
import type { Sealer } from '../../storage/seal.ts'
import type { KeptTask, ListTasksFilter } from '../task-store.ts'
import { toTaskMessage } from './task-message.ts'
import { openRequest, openResult } from './task-rows.ts'
import type { TaskStand } from './task-watch.ts'

/** Reads tasks that have not expired. */
export interface TaskReader {
  read(id: string): Promise<KeptTask | undefined>
  list(filter: ListTasksFilter): Promise<KeptTask[]>
  standOf(ids: readonly string[]): Promise<TaskStand[]>
}

export function createTaskReader({ database, sealer }: { database: Database; sealer: Sealer }): TaskReader {
  const { query } = database

  return {
    async read(id) {
      const [row, attempts, callbacks, deliveries] = await Promise.all([
        query.selectFrom('tasks').selectAll().where('id', '=', id).where('expires_at_ms', '>', Date.now()).executeTakeFirst(),
        attemptsOf([id]),
        callbacksOf([id]),
        deliveriesOf([id])
      ])
      return row && toKeptTask(row, attempts, callbacks[0], deliveries)
    },

    async list(filter) {
      const rows = await select(filter)
      if (rows.length === 0) return []
      const ids = rows.map(({ id }) => id)
      const [attempts, callbacks, deliveries] = await Promise.all([attemptsOf(ids), callbacksOf(ids), deliveriesOf(ids)])
      const attemptsByTask = Map.groupBy(attempts, ({ task_id }) => task_id)
      const callbackByTask = new Map(callbacks.map((callback) => [callback.task_id, callback]))
      const deliveriesByCallback = Map.groupBy(deliveries, ({ callback_id }) => callback_id)
      return rows.map((row) => {
        const callback = callbackByTask.get(row.id)
        return toKeptTask(row, attemptsByTask.get(row.id) ?? [], callback, deliveriesByCallback.get(callback?.id ?? '') ?? [])
      })
    },

    standOf: (ids) =>
      query
        .selectFrom('tasks')
        .select(['id', 'organization_id', 'state', 'revision'])
        .where('id', 'in', ids)
        .where('expires_at_ms', '>', Date.now())
        .execute()
  }

  async function select(filter: ListTasksFilter): Promise<TaskRow[]> {
    const { before, ids, traceIds, states, operations, createdFromMs, createdToMs } = filter
    if ([ids, traceIds, states, operations].some((list) => list?.length === 0)) return []
    let tasks = query
      .selectFrom('tasks')
      .selectAll()
      .where('organization_id', '=', filter.organizationId)
      .where('expires_at_ms', '>', Date.now())
    if (before) tasks = tasks.where(sql<boolean>`(created_at_ms, id) < (${before.createdAtMs}, ${before.id})`)
    if (ids) tasks = tasks.where('id', 'in', ids)
    if (traceIds) tasks = tasks.where('trace_id', 'in', traceIds).where('trace_id', '<>', sql.lit(''))
    if (states) tasks = tasks.where('state', 'in', states)
    if (operations) tasks = tasks.where('operation', 'in', operations)
    if (createdFromMs !== undefined) tasks = tasks.where('created_at_ms', '>=', createdFromMs)
    if (createdToMs !== undefined) tasks = tasks.where('created_at_ms', '<=', createdToMs)
    const newestFirst = tasks.orderBy('created_at_ms', 'desc').orderBy('id', 'desc')
    return newestFirst
      .limit(filter.limit)
      .offset(filter.offset ?? 0)
      .execute()
  }

  function attemptsOf(taskIds: readonly string[]): Promise<AttemptRow[]> {
    return query.selectFrom('attempts').selectAll().where('task_id', 'in', taskIds).orderBy('part').orderBy('ordinal').execute()
  }

  function callbacksOf(taskIds: readonly string[]): Promise<CallbackRow[]> {
    return query.selectFrom('callbacks').selectAll().where('task_id', 'in', taskIds).execute()
  }

  function deliveriesOf(taskIds: readonly string[]): Promise<CallbackDeliveryRow[]> {
    const callbacks = query.selectFrom('callbacks').select('id').where('task_id', 'in', taskIds)
    const deliveries = query.selectFrom('callback_deliveries').selectAll().where('callback_id', 'in', callbacks)
    return deliveries.orderBy('at_ms').orderBy('id').execute()
  }

  function toKeptTask(
    row: TaskRow,
    attempts: readonly AttemptRow[],
    callback: CallbackRow | undefined,
    deliveries: readonly CallbackDeliveryRow[]
  ): KeptTask {
    let request: StoredRequest | undefined
    let result: StoredResult | undefined
    const opened = {
      get request() {
        request ??= openRequest(row, sealer)
        return request
      },
      get result() {
        result ??= openResult(row, sealer)
        return result
      }
    }
    return {
      task: toTaskMessage(row, opened, attempts, callback && { row: callback, deliveries }),
      state: row.state,
      mode: row.mode,
      apiKeyId: row.api_key_id,
      organizationId: row.organization_id,
      operation: row.operation,
      createdAtMs: row.created_at_ms,
      finishedAtMs: row.finished_at_ms ?? undefined,
      expiresAtMs: row.expires_at_ms,
      get request() {
        return opened.request
      },
      get result() {
        return opened.result
      }
    }
  }
}
