import { fromBinary, toBinary } from '@bufbuild/protobuf'
import { type StoredRequest, StoredRequestSchema, type StoredResult, StoredResultSchema } from '../../../gen/atelier/v1/stored_pb.ts'
import { type AttemptRow, neverMs, type TaskRow } from '../../storage/schema.ts'
import type { Sealer } from '../../storage/seal.ts'
import type { NewTask } from '../task-store.ts'

export const firstFence = 1

/** What is the same in the rows of all tasks that come in. */
export const newTask = {
  revision: 1,
  result: null,
  fence: firstFence,
  cancel_requested_at_ms: null,
  lost_at_ms: null,
  rejoined: 0,
  finished_at_ms: null,
  expires_at_ms: neverMs
} as const satisfies Partial<TaskRow>

/** The rest of the row of a task that comes in now; one with an owner is running, any other one queued. */
export function toTaskRow(task: NewTask, owner: string | undefined, nowMs: number, sealer: Sealer): Omit<TaskRow, keyof typeof newTask> {
  const { organizationId, apiKeyId } = task.caller
  return {
    id: task.id,
    organization_id: organizationId,
    api_key_id: apiKeyId,
    operation: task.operation,
    state: owner === undefined ? 'queued' : 'running',
    mode: task.mode,
    trace_id: task.traceId,
    fingerprint: task.fingerprints[0] ?? '',
    on_interrupt: task.onInterrupt,
    request: sealer.seal(toBinary(StoredRequestSchema, task.request), { purpose: 'request', organizationId, id: task.id }),
    provider: task.provider,
    model: task.model,
    owner: owner ?? null,
    created_at_ms: task.createdAtMs,
    started_at_ms: owner === undefined ? null : nowMs
  }
}

export function openRequest(row: Pick<TaskRow, 'id' | 'organization_id' | 'request'>, sealer: Sealer): StoredRequest {
  const context = { purpose: 'request', organizationId: row.organization_id, id: row.id } as const
  return fromBinary(StoredRequestSchema, sealer.open(row.request, context))
}

/** Seals the result of a task or of one of its attempts. */
export function sealResult(result: StoredResult, organizationId: string, id: string, sealer: Sealer): Uint8Array {
  return sealer.seal(toBinary(StoredResultSchema, result), { purpose: 'result', organizationId, id })
}

/** Undefined where there is no result yet. */
export function openResult(row: Pick<TaskRow | AttemptRow, 'id' | 'organization_id' | 'result'>, sealer: Sealer): StoredResult | undefined {
  if (row.result === null) return undefined
  return fromBinary(StoredResultSchema, sealer.open(row.result, { purpose: 'result', organizationId: row.organization_id, id: row.id }))
}

export function sealJobId(jobId: string, organizationId: string, attemptId: string, sealer: Sealer): Uint8Array {
  return sealer.seal(Buffer.from(jobId), { purpose: 'job', organizationId, id: attemptId })
}

/** Undefined where the provider named no job. */
export function openJobId(row: Pick<AttemptRow, 'id' | 'organization_id' | 'job_id'>, sealer: Sealer): string | undefined {
  if (row.job_id === null) return undefined
  return Buffer.from(sealer.open(row.job_id, { purpose: 'job', organizationId: row.organization_id, id: row.id })).toString()
}

/** When what is kept for so many seconds from now on expires. */
export function expiryMs(nowMs: number, keepSeconds: number): number {
  return Math.min(neverMs, nowMs + Math.ceil(keepSeconds * 1_000))
}

export const finalStates = ['succeeded', 'failed', 'cancelled', 'interrupted'] as const
