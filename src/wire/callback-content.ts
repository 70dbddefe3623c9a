import { ErrorReason, ErrorReasonSchema } from '../../gen/atelier/v1/error_pb.ts'
import { type Task, TaskState } from '../../gen/atelier/v1/task_pb.ts'
import type { CallbackContent } from '../tasks/callbacks/callback-body.ts'
import { envelopedCode } from './error-response.ts'
import { encodeResult } from './task-json.ts'

/** What a callback tells of a task, in the enveloped dialect; undefined while the task is not final. */
export function callbackContent(task: Task): CallbackContent | undefined {
  if (!isFinal(task)) return undefined
  const { id: taskId, traceId, result, error } = task
  if (result) return { taskId, traceId, outcome: { result: encodeResult(result) } }
  const { name = '' } = ErrorReasonSchema.value[error?.reason ?? ErrorReason.INTERNAL] ?? {}
  const code = envelopedCode(name.replace('ERROR_REASON_', ''))
  return { taskId, traceId, outcome: { error: { code, message: error?.message ?? 'the task made no image' } } }
}

function isFinal({ state }: Task): boolean {
  return state !== TaskState.UNSPECIFIED && state !== TaskState.QUEUED && state !== TaskState.RUNNING
}
