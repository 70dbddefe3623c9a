import { sql } from 'kysely'
import type { PendingBlob } from '../../storage/blob-store.ts'
import type { Database, Statement } from '../../storage/database.ts'
import type { Fingerprints } from '../../storage/fingerprints.ts'
import type { InsertRow } from '../../storage/insert-rows.ts'
import { neverMs, type TaskStateText } from '../../storage/schema.ts'
import type { Sealer } from '../../storage/seal.ts'
import { type WrittenQuery, writeOnce } from '../../storage/write-once.ts'
import { callbackRow } from '../callbacks/callback-row.ts'
import type { AttemptEnding, TaskEnding } from '../task-store.ts'
import type { AttemptRecords, KeptOfResult } from './attempt-records.ts'
import type { HeldClaim } from './held-claims.ts'
import { expiryMs, sealResult } from './task-rows.ts'

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
  attempts: AttemptRecords
}

export function createEndRecords(deps: EndRecordsDeps): EndRecords {
  const { query } = deps.database
  const ifOurs = sql`where id = ${''} and fence = ${0} and state = 'running'`
  const ended = sql`state = ${''}, owner = null, result = ${null}, finished_at_ms = ${0}, expires_at_ms = ${0}, revision = revision + 1`
  const end = writeOnce(sql`update tasks set ${ended} ${ifOurs}`, query)
  // A repetition of what cost nothing is better begun anew than given its failure.
  const endForNothing = writeOnce(sql`update tasks set ${ended}, rejoined = 1 ${ifOurs}`, query)
  const endImages = writeOnce(
    sql`update blobs set expires_at_ms = ${0} where task_id = ${''} and access = 'signed' and expires_at_ms = ${sql.lit(neverMs)}`,
    query
  )
  const putBack = writeOnce(sql`update tasks set state = 'queued', owner = null, revision = revision + 1 ${ifOurs}`, query)
  return { finish, requeue, around }

  function finish(claim: HeldClaim, ending: TaskEnding, attempts: ReadonlyMap<string, AttemptEnding>, nowMs: number): Statement[] {
    const { taskId, fence, organizationId } = claim
    const { state, consumesRequestId, blobs = [] } = ending
    const expiresAtMs = expiryMs(nowMs, ending.keepSeconds)
    const result = sealResult(ending.result, organizationId, taskId, deps.sealer)
    const update = consumesRequestId ? end : endForNothing
    const statements = [ifWritten(claim, update([state, result, nowMs, expiresAtMs, taskId, fence]))]
    addAttemptEnds(statements, claim, attempts, nowMs, 'images')
    for (const { row } of blobs) statements.push(row)
    addAround(statements, claim, claim.mayHaveEndlessImages || hasEndless(blobs), consumesRequestId, expiresAtMs, nowMs)
    return statements
  }

  function requeue(claim: HeldClaim, attempts: ReadonlyMap<string, AttemptEnding>, nowMs: number): Statement[] {
    const statements = [ifWritten(claim, putBack([claim.taskId, claim.fence]))]
    addAttemptEnds(statements, claim, attempts, nowMs, 'everything')
    return statements
  }

  function around(task: EndedTask, { consumesRequestId }: Pick<TaskEnding, 'consumesRequestId'>, expiresAtMs: number, nowMs: number) {
    const statements: Statement[] = []
    addAround(statements, task, task.mayHaveEndlessImages, consumesRequestId, expiresAtMs, nowMs)
    return statements
  }

  function addAround(
    statements: Statement[],
    { taskId, organizationId, callbackUrl }: Omit<EndedTask, 'mayHaveEndlessImages'>,
    mayHaveEndlessImages: boolean,
    consumesRequestId: boolean,
    expiresAtMs: number,
    nowMs: number
  ): void {
    if (callbackUrl !== '') {
      const row = callbackRow(taskId, organizationId, callbackUrl, nowMs, deps)
      statements.push(deps.insert('callbacks', row))
    }
    if (!consumesRequestId) statements.push({ query: query.deleteFrom('request_keys').where('task_id', '=', taskId) })
    if (mayHaveEndlessImages) statements.push({ query: endImages([expiresAtMs, taskId]) })
  }

  /** Of a task that may never have been written there is nothing to expect. */
  function ifWritten({ unwritten }: HeldClaim, update: WrittenQuery): Statement {
    return unwritten ? { query: update } : { query: update, expectRows: 1 }
  }

  function addAttemptEnds(
    statements: Statement[],
    claim: HeldClaim,
    endings: ReadonlyMap<string, AttemptEnding>,
    nowMs: number,
    kept: KeptOfResult
  ): void {
    for (const [attemptId, ending] of endings) statements.push(...deps.attempts.close(claim, attemptId, ending, nowMs, kept))
    for (const [attemptId, { state }] of claim.attempts) {
      if (state === 'doubtful') statements.push(...deps.attempts.withdraw(claim, attemptId, nowMs))
    }
  }
}

export function hasEndless(images: readonly PendingBlob[]): boolean {
  return images.some(({ blob }) => blob.expiresAt === Number.POSITIVE_INFINITY)
}

export function isFinal(state: TaskStateText): boolean {
  return state !== 'queued' && state !== 'running'
}
