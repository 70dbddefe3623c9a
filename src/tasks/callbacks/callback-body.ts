import { createHash } from 'node:crypto'

/** What a callback tells of a task that is final. */
export interface CallbackContent {
  taskId: string
  /** The caller's own name for the task; empty where it gave none. */
  traceId: string
  outcome: /** The body of a synchronous answer: `created` in Unix seconds, `data` with a link for each image, and what else it holds. */
    | { result: { created: number; data: readonly object[] } }
    /** `code` and `message` as a synchronous answer of the same dialect would have them. */
    | { error: { code: string; message: string } }
}

/** The body of a callback. It carries a trace id even where the caller gave none. */
export function encodeCallback({ taskId, traceId, outcome }: CallbackContent): string {
  const trace = traceIdOf(taskId, traceId)
  return 'result' in outcome
    ? JSON.stringify({ success: true, task_id: taskId, trace_id: trace, data: outcome.result })
    : JSON.stringify({ success: false, task_id: taskId, error: outcome.error, trace_id: trace })
}

/** The caller's own name for the task, else a UUID that is always the same for this task. */
export function traceIdOf(taskId: string, traceId: string): string {
  if (traceId !== '') return traceId
  const bytes = createHash('sha256').update(`atelier trace id\n${taskId}`).digest().subarray(0, 16)
  // Version 8 is for UUIDs of one's own making.
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x80
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}
