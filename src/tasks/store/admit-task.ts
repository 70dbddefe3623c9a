import { ownerOf } from '../../call.ts'
import { gatewayError } from '../../errors.ts'
import type { Database, Statement } from '../../storage/database.ts'
import { ConflictError } from '../../storage/database-error.ts'
import type { Fingerprints } from '../../storage/fingerprints.ts'
import type { InsertRow } from '../../storage/insert-rows.ts'
import type { RequestKeyRow } from '../../storage/schema.ts'
import type { Sealer } from '../../storage/seal.ts'
import type { Admission, NewTask } from '../task-store.ts'
import { beforeSending, mayBeApplied } from './database-unavailable.ts'
import type { HeldClaim, HeldClaims } from './held-claims.ts'
import { newTaskRows } from './new-task-rows.ts'
import type { ProcessLease } from './process-lease.ts'
import type { QueueLimit } from './queue-limit.ts'
import { firstFence } from './task-rows.ts'
import { usageLabels } from './usage-labels.ts'

export interface AdmitTaskDeps {
  database: Database
  sealer: Sealer
  insert: InsertRow
  fingerprints: Pick<Fingerprints, 'all'>
  lease: ProcessLease
  held: HeldClaims
  queueLimit: QueueLimit
}

/** Records requests as `TaskStore.admit` says. `keepKeysSeconds`: how long a request id is remembered. */
export function createAdmitTask(
  { keepKeysSeconds }: { keepKeysSeconds: number },
  deps: AdmitTaskDeps
): (task: NewTask) => Promise<Admission> {
  const { database, insert, fingerprints, lease, held, queueLimit } = deps
  const { query } = database

  return (task) => beforeSending(admit(task))

  async function admit(task: NewTask): Promise<Admission> {
    await lease.hold()
    const claim = toHeldClaim(task)
    if (task.mode === 'attached') held.add(claim)
    else if (!(await queueLimit.enter())) return withoutPlace(task)
    const created: Admission = { kind: 'created', claim: { taskId: claim.taskId, fence: claim.fence } }
    if (task.mode === 'attached' && task.requestId === '') return created
    try {
      const existing = await record(task)
      if (existing === undefined) {
        claim.unwritten = undefined
        return created
      }
      held.release(claim)
      return { kind: 'existing', taskId: existing }
    } catch (error) {
      held.release(claim)
      if (task.mode === 'attached' && mayBeApplied(error)) held.mayHaveOrphans = true
      throw error
    }
  }

  /** A queue that is full keeps nobody from what is in it already. */
  async function withoutPlace(task: NewTask): Promise<Admission> {
    const found = task.requestId === '' ? undefined : await findKey(task, keyHashes(task))
    if (!found || found.isOutdated) throw queueLimit.full()
    return { kind: 'existing', taskId: sameRequest(task, found) }
  }

  /** Writes a task with its request id. Returns the task that has that id already; which of several is first, the database decides. */
  async function record(task: NewTask): Promise<string | undefined> {
    const hashes = task.requestId === '' ? [] : keyHashes(task)
    let outdated: Statement[] = []
    for (;;) {
      const nowMs = Date.now()
      const keys = hashes.map((hash) => insertKey(task, hash, nowMs))
      const isQueued = task.mode === 'detached'
      const rows = newTaskRows(task, isQueued ? undefined : lease.processId, nowMs, deps)
      try {
        await database.commit([...outdated, ...keys, ...rows], isQueued ? ['queue'] : [])
        return undefined
      } catch (error) {
        if (!(error instanceof ConflictError) || hashes.length === 0) throw error
      }
      const found = await findKey(task, hashes)
      if (found && !found.isOutdated) return sameRequest(task, found)
      outdated = found ? [deleteKey(found)] : []
    }
  }

  /** Under every known key, so that processes whose current one differs, while it is being changed, meet each other's. */
  function keyHashes({ caller, operation, requestId }: NewTask): string[] {
    // In one order everywhere, or two processes wait for each other.
    return fingerprints.all('request id', `${ownerOf(caller)}|${operation}|${requestId}`).toSorted()
  }

  function insertKey(task: NewTask, hash: string, nowMs: number): Statement {
    const row: RequestKeyRow = {
      organization_id: task.caller.organizationId,
      operation: task.operation,
      key_hash: hash,
      fingerprint: task.fingerprints[0] ?? '',
      task_id: task.id,
      expires_at_ms: nowMs + keepKeysSeconds * 1_000
    }
    return insert('request_keys', row)
  }

  interface FoundKey extends Pick<RequestKeyRow, 'fingerprint' | 'task_id'> {
    organization_id: string
    isOutdated: boolean
  }

  async function findKey({ caller, operation }: NewTask, hashes: readonly string[]): Promise<FoundKey | undefined> {
    const nowMs = Date.now()
    const row = await query
      .selectFrom('request_keys')
      .leftJoin('tasks', 'tasks.id', 'request_keys.task_id')
      .select(['request_keys.organization_id', 'request_keys.fingerprint', 'request_keys.task_id', 'request_keys.expires_at_ms'])
      .select('tasks.expires_at_ms as task_expires_at_ms')
      .where('request_keys.organization_id', '=', caller.organizationId)
      .where('request_keys.operation', '=', operation)
      .where('request_keys.key_hash', 'in', hashes)
      .executeTakeFirst()
    return row && { ...row, isOutdated: row.expires_at_ms <= nowMs || (row.task_expires_at_ms ?? 0) <= nowMs }
  }

  function deleteKey({ organization_id, task_id }: FoundKey): Statement {
    return { query: query.deleteFrom('request_keys').where('organization_id', '=', organization_id).where('task_id', '=', task_id) }
  }
}

function sameRequest(task: NewTask, found: { fingerprint: string; task_id: string }): string {
  if (task.fingerprints.includes(found.fingerprint)) return found.task_id
  throw gatewayError('REQUEST_ID_REUSED', { param: 'request_id' }, { outcome: 'not_sent' })
}

function toHeldClaim(task: NewTask): HeldClaim {
  return {
    taskId: task.id,
    fence: firstFence,
    organizationId: task.caller.organizationId,
    apiKeyId: task.caller.apiKeyId,
    mode: task.mode,
    labels: usageLabels(task.request, task.operation),
    callbackUrl: task.request.callbackUrl,
    unwritten: task,
    attempts: new Map(),
    mayHaveEndlessImages: task.blobs.length > 0,
    isEnding: false,
    isCancelTold: false
  }
}
