import { create } from '@bufbuild/protobuf'
import { StoredResultSchema } from '../../../gen/atelier/v1/stored_pb.ts'
import { gatewayError } from '../../errors.ts'
import type { Database } from '../../storage/database.ts'
import { ConflictError } from '../../storage/database-error.ts'
import type { Sealer } from '../../storage/seal.ts'
import { type EndRecords, isFinal } from './end-records.ts'
import { toStoredError } from './stored-error.ts'
import { expiryMs, openRequest, sealResult } from './task-rows.ts'

export interface CancelTaskDeps {
  database: Database
  sealer: Sealer
  ends: EndRecords
}

/** Cancels tasks as `TaskStore.cancel` says. `keepSeconds`: for how long one that was cancelled in the queue is kept. */
export function createCancelTask(
  { keepSeconds }: { keepSeconds: number },
  { database, sealer, ends }: CancelTaskDeps
): (id: string, organizationId: string) => Promise<void> {
  const { query } = database

  return async (id, organizationId) => {
    for (;;) {
      const found = query.selectFrom('tasks').select(['id', 'organization_id', 'state', 'fence', 'request', 'cancel_requested_at_ms'])
      const row = await found.where('id', '=', id).where('organization_id', '=', organizationId).executeTakeFirst()
      if (!row || isFinal(row.state) || (row.state === 'running' && row.cancel_requested_at_ms !== null)) return
      const nowMs = Date.now()
      const asFound = query.updateTable('tasks').where('id', '=', id).where('state', '=', row.state).where('fence', '=', row.fence)
      const changed = asFound.set((set) => ({ revision: set('revision', '+', 1) }))
      try {
        if (row.state === 'running') {
          await database.commit([{ query: changed.set({ cancel_requested_at_ms: nowMs }), expectRows: 1 }], [`task ${id}`])
          return
        }
        const error = toStoredError(gatewayError('CANCELLED', {}, { outcome: 'not_sent' }))
        const result = sealResult(create(StoredResultSchema, { error }), organizationId, id, sealer)
        const expiresAtMs = expiryMs(nowMs, keepSeconds)
        const { callbackUrl } = openRequest(row, sealer)
        const cancelled = changed.set({ state: 'cancelled', result, rejoined: 1, finished_at_ms: nowMs, expires_at_ms: expiresAtMs })
        const task = { taskId: id, organizationId, callbackUrl, mayHaveEndlessImages: true }
        await database.commit(
          [{ query: cancelled, expectRows: 1 }, ...ends.around(task, { consumesRequestId: false }, expiresAtMs, nowMs)],
          callbackUrl === '' ? [`task ${id}`] : [`task ${id}`, 'callbacks']
        )
        return
      } catch (error) {
        // It was claimed, requeued or finished in between.
        if (!(error instanceof ConflictError)) throw error
      }
    }
  }
}
