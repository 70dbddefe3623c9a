import type { PendingBlob } from '../../storage/blob-store.ts'
import type { Database, Statement } from '../../storage/database.ts'
import type { Fingerprints } from '../../storage/fingerprints.ts'
import type { InsertRow } from '../../storage/insert-rows.ts'
import { neverMs, type TaskRow, type TaskStateText } from '../../storage/schema.ts'
import type { Sealer } from '../../storage/seal.ts'
import { callbackRow } from '../callbacks/callback-row.ts'
import type { AttemptEnding, TaskEnding } from '../task-store.ts'
import type { AttemptRecords, KeptOfResult } from './attempt-records.ts'
import type { HeldClaim } from './held-claims.ts'
import { expiryMs, sealResult } from './task-rows.ts'
import type { UpdateRows } from './update-rows.ts'

/** The statements that end the work on a task. The first one is applied only under the claim's fence. */
export interface EndRecords {
  /** Closes the attempts as told, and with the task itself records whom to call back and for how long everything is kept. */
  finish(claim: HeldClaim, ending: TaskEnding, attempts: ReadonlyMap<string, AttemptEnding>, nowMs: number): Statement[]
  requeue(claim: HeldClaim, attempts: ReadonlyMap<string, AttemptEnding>, nowMs: number): Statement[]
  /** What belongs to the end of any task besides its own row. */
  around(task: EndedTask, ending: Pick<TaskEnding, 'consumesRequestId'>, expiresAtMs: number, nowMs: number): Statement[]
}

/** What must be known of a task that ends. */
export type EndedTask = Pick<HeldClaim, 'taskId' | 'organizationId' | 'callbackUrl' | 'mayHaveEndlessImages'>

export interface EndRecordsDeps {
  database: Database
  sealer: Sealer
  fingerprints: Pick<Fingerprints, 'of'>
  insert: InsertRow
  update: UpdateRows
  attempts: AttemptRecords
}

export function createEndRecords(deps: EndRecordsDeps): EndRecords {
  const { query } = deps.database
  return { finish, requeue, around }

  function finish(claim: HeldClaim, ending: TaskEnding, attempts: ReadonlyMap<string, AttemptEnding>, nowMs: number): Statement[] {
    const expiresAtMs = expiryMs(nowMs, ending.keepSeconds)
    const mayHaveEndlessImages = claim.mayHaveEndlessImages || hasEndless(ending.blobs ?? [])
    return [
      update(claim, {
        state: ending.state,
        owner: null,
        result: sealResult(ending.result, claim.organizationId, claim.taskId, deps.sealer),
        finished_at_ms: nowMs,
        expires_at_ms: expiresAtMs,
        // A repetition of what cost nothing is better begun anew than given its failure.
        ...(ending.consumesRequestId ? {} : { rejoined: 1 })
      }),
      ...attemptEnds(claim, attempts, nowMs, 'images'),
      ...(ending.blobs ?? []).map(({ row }) => row),
      ...around({ ...claim, mayHaveEndlessImages }, ending, expiresAtMs, nowMs)
    ]
  }

  function requeue(claim: HeldClaim, attempts: ReadonlyMap<string, AttemptEnding>, nowMs: number): Statement[] {
    return [update(claim, { state: 'queued', owner: null }), ...attemptEnds(claim, attempts, nowMs, 'everything')]
  }

  function around(
    { taskId, organizationId, callbackUrl, mayHaveEndlessImages }: EndedTask,
    { consumesRequestId }: Pick<TaskEnding, 'consumesRequestId'>,
    expiresAtMs: number,
    nowMs: number
  ): Statement[] {
    const statements: Statement[] = []
    if (callbackUrl !== '') {
      const row = callbackRow(taskId, organizationId, callbackUrl, nowMs, deps)
      statements.push(deps.insert('callbacks', row))
    }
    if (!consumesRequestId) statements.push({ query: query.deleteFrom('request_keys').where('task_id', '=', taskId) })
    if (mayHaveEndlessImages) {
      const endless = query.updateTable('blobs').where('task_id', '=', taskId).where('access', '=', 'signed')
      statements.push({ query: endless.where('expires_at_ms', '=', neverMs).set({ expires_at_ms: expiresAtMs }) })
    }
    return statements
  }

  /** Of a task that may never have been written there is nothing to expect. */
  function update({ taskId, fence, unwritten }: HeldClaim, values: Partial<TaskRow>): Statement {
    const changed = deps.update('tasks', values, { id: taskId, fence, state: 'running' }, { counts: 'revision' })
    return unwritten ? { query: changed } : { query: changed, expectRows: 1 }
  }

  function attemptEnds(claim: HeldClaim, endings: ReadonlyMap<string, AttemptEnding>, nowMs: number, kept: KeptOfResult): Statement[] {
    const doubtful = [...claim.attempts].filter(([, { state }]) => state === 'doubtful')
    return [
      ...[...endings].flatMap(([attemptId, ending]) => deps.attempts.close(claim, attemptId, ending, nowMs, kept)),
      ...doubtful.flatMap(([attemptId]) => deps.attempts.withdraw(claim, attemptId, nowMs))
    ]
  }
}

export function hasEndless(images: readonly PendingBlob[]): boolean {
  return images.some(({ blob }) => blob.expiresAt === Number.POSITIVE_INFINITY)
}

export function isFinal(state: TaskStateText): boolean {
  return state !== 'queued' && state !== 'running'
}
