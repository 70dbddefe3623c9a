import { create } from '@bufbuild/protobuf'
import { type SelectQueryBuilder, sql } from 'kysely'
import { StoredResultSchema } from '../../../gen/atelier/v1/stored_pb.ts'
import { gatewayError } from '../../errors.ts'
import type { Logger } from '../../log.ts'
import type { Database } from '../../storage/database.ts'
import type { AttemptRow, Schema, TaskRow } from '../../storage/schema.ts'
import type { Sealer } from '../../storage/seal.ts'
import type { ClaimedTask, KnownAttempt, TaskJournal } from '../task-store.ts'
import { readCredentialText } from './credential-text.ts'
import { beforeSending, mayBeApplied } from './database-unavailable.ts'
import type { HeldClaim, HeldClaims } from './held-claims.ts'
import type { ProcessLease } from './process-lease.ts'
import { toStoredError } from './stored-error.ts'
import { openJobId, openRequest, openResult } from './task-rows.ts'
import { labelsOfUnreadable, usageLabels } from './usage-labels.ts'

/** Takes tasks on that nobody works on. */
export interface TaskClaims {
  claimQueued(limit: number): Promise<ClaimedTask[]>
  claimAbandoned(limit: number): Promise<ClaimedTask[]>
}

export interface TaskClaimsDeps {
  database: Database
  sealer: Sealer
  lease: ProcessLease
  held: HeldClaims
  log: Logger
  journal(claim: HeldClaim): TaskJournal
}

/** `keepSeconds`: for how long the record of a task is kept that cannot be read any more. */
export function createTaskClaims({ keepSeconds }: { keepSeconds: number }, deps: TaskClaimsDeps): TaskClaims {
  const { database, sealer, lease, held } = deps
  const { query } = database
  let turn: Promise<unknown> = Promise.resolve()
  /** Whether no other owner is left, nor can there be a new one. */
  let isAlone = false

  return {
    claimQueued: (limit) =>
      inTurn(() => take(query.selectFrom('tasks').select('id').where('state', '=', sql.lit('queued')).limit(limit), 'queued')),
    claimAbandoned: (limit) =>
      inTurn(async () => {
        const claimed = held.mayHaveOrphans ? await takeOrphans(limit) : []
        if (isAlone) return claimed
        for (const [owner, untilMs] of await lease.findDead(await otherOwners())) {
          if (claimed.length < limit) claimed.push(...(await takeFrom(owner, untilMs, limit - claimed.length)))
        }
        isAlone = lease.isExclusive && claimed.length < limit
        return claimed
      })
  }

  /** One after the other, so that a claim which was just made cannot be taken for one that nobody holds. */
  function inTurn(work: () => Promise<ClaimedTask[]>): Promise<ClaimedTask[]> {
    const done = turn.then(() => beforeSending(lease.hold().then(work)))
    turn = done.catch(() => undefined)
    return done
  }

  async function otherOwners(): Promise<string[]> {
    const running = query.selectFrom('tasks').select('owner').distinct().where('state', '=', sql.lit('running'))
    const rows = await running.where('owner', '<>', lease.processId).execute()
    return rows.flatMap(({ owner }) => owner ?? [])
  }

  function takeFrom(owner: string, untilMs: number | undefined, limit: number): Promise<ClaimedTask[]> {
    const renewed = query.selectFrom('processes').select('id').where('id', '=', owner)
    const pick = query.selectFrom('tasks').select('id').where('state', '=', sql.lit('running')).where('owner', '=', owner).limit(limit)
    const isRenewed = untilMs === undefined ? renewed : renewed.where('lease_until_ms', '<>', untilMs)
    return take(
      pick.where(({ not, exists }) => not(exists(isRenewed))),
      'running'
    )
  }

  /** Tasks that run in the name of this process and that nothing in it works on. */
  async function takeOrphans(limit: number): Promise<ClaimedTask[]> {
    held.mayHaveOrphans = false
    try {
      const running = query.selectFrom('tasks').select('id').where('state', '=', sql.lit('running')).where('owner', '=', lease.processId)
      const orphans = (await running.execute()).map(({ id }) => id).filter((id) => !held.get(id))
      if (orphans.length > limit) held.mayHaveOrphans = true
      return orphans.length === 0 ? [] : await take(running.where('id', 'in', orphans.slice(0, limit)), 'running')
    } catch (error) {
      held.mayHaveOrphans = true
      throw error
    }
  }

  async function take(pick: SelectQueryBuilder<Schema, 'tasks', Pick<TaskRow, 'id'>>, state: 'queued' | 'running'): Promise<ClaimedTask[]> {
    const nowMs = Date.now()
    // The caller of an attached task was lost with the process that it was connected to.
    const lostNow = sql<number | null>`case when mode = 'attached' and lost_at_ms is null then ${nowMs} else lost_at_ms end`
    const taken = query
      .with('picked', () => database.skipLocked(pick.orderBy('created_at_ms').orderBy('id')))
      .updateTable('tasks')
      .set((set) => ({
        state: 'running',
        owner: lease.processId,
        fence: set('fence', '+', 1),
        revision: set('revision', '+', 1),
        started_at_ms: set.fn.coalesce('started_at_ms', set.val(nowMs)),
        ...(state === 'running' && { lost_at_ms: lostNow })
      }))
      .where('id', 'in', (each) => each.selectFrom('picked').select('picked.id'))
      .where('state', '=', state)
      .returningAll()
    const rows = await taken.execute().catch((error: unknown) => {
      if (mayBeApplied(error)) held.mayHaveOrphans = true
      throw error
    })
    return rows.length === 0 ? [] : hold(rows)
  }

  async function hold(rows: TaskRow[]): Promise<ClaimedTask[]> {
    const inOrder = rows.toSorted((one, other) => one.created_at_ms - other.created_at_ms || (one.id < other.id ? -1 : 1))
    const claims = inOrder.map((row) => ({ row, claim: toHeldClaim(row) }))
    for (const { claim } of claims) held.add(claim)
    try {
      const attempts = await attemptsOf(rows)
      const claimed = claims.map(({ row, claim }) => open(row, claim, attempts.get(row.id) ?? []))
      const read = await Promise.all(claimed.map((task) => (task instanceof Promise ? task : [task])))
      return read.flat()
    } catch (error) {
      for (const { claim } of claims) held.release(claim)
      held.mayHaveOrphans = true
      throw error
    }
  }

  async function attemptsOf(rows: readonly TaskRow[]): Promise<Map<string, AttemptRow[]>> {
    const ids = rows.map(({ id }) => id)
    const attempts = await query.selectFrom('attempts').selectAll().where('task_id', 'in', ids).orderBy('part').orderBy('ordinal').execute()
    return Map.groupBy(attempts, ({ task_id }) => task_id)
  }

  function open(row: TaskRow, claim: HeldClaim, attempts: AttemptRow[]): ClaimedTask | Promise<[]> {
    for (const { id, provider, model, credential, reserved_micros, budget_periods, budget_micros, closed_at_ms } of attempts) {
      const state = closed_at_ms === null ? 'open' : 'closed'
      claim.attempts.set(id, { provider, model, credential, reserved_micros, budget_periods, budget_micros, state })
    }
    try {
      const request = openRequest(row, sealer)
      claim.callbackUrl = request.callbackUrl
      claim.labels = usageLabels(request, row.operation)
      const { request: _request, result: _result, ...plain } = row
      return { taskId: row.id, fence: row.fence, row: plain, request, attempts: attempts.map(toKnownAttempt) }
    } catch (err) {
      deps.log.error({ err, task: row.id }, 'a task cannot be read and is given up')
      return giveUp(claim)
    }
  }

  /** Whoever took on a task that cannot be read would fail, over and over. */
  async function giveUp(claim: HeldClaim): Promise<[]> {
    await using journal = deps.journal(claim)
    const mayBeBilled = claim.attempts.size > 0
    const error = toStoredError(gatewayError('INTERNAL', {}, { outcome: mayBeBilled ? 'unknown' : 'not_sent' }))
    await journal.finish({
      state: mayBeBilled ? 'interrupted' : 'failed',
      result: create(StoredResultSchema, { error }),
      consumesRequestId: mayBeBilled,
      keepSeconds
    })
    return []
  }

  function toKnownAttempt(row: AttemptRow): KnownAttempt {
    const jobId = openJobId(row, sealer)
    const result = openResult(row, sealer)
    const { id, part, ordinal, provider, state } = row
    const credential = readCredentialText(row.credential)
    return { id, part, ordinal, provider, state, credential, ...(jobId !== undefined && { jobId }), ...(result && { result }) }
  }
}

function toHeldClaim(row: TaskRow): HeldClaim {
  return {
    taskId: row.id,
    fence: row.fence,
    organizationId: row.organization_id,
    apiKeyId: row.api_key_id,
    mode: row.mode,
    labels: labelsOfUnreadable(row.operation),
    callbackUrl: '',
    unwritten: undefined,
    attempts: new Map(),
    mayHaveEndlessImages: true,
    isEnding: false,
    isCancelTold: row.cancel_requested_at_ms !== null
  }
}
