import type { Warning } from '../../gen/atelier/v1/image_pb.ts'
import type { Operations } from '../invoke.ts'
import type { TaskOrder } from '../services/task-order.ts'
import { encodeWarnings } from './images-response.ts'
import type { Exchange } from './rest-route.ts'
import { sendJson } from './send-json.ts'
import { encodeTask } from './task-json.ts'

/** Accepts a request to run in the background and answers with the task, in full, or with no more than the id by which its callback is known. */
export async function answerWithTask(
  { response, record, call, traceId }: Exchange,
  order: TaskOrder,
  { inFull, notes }: { inFull: boolean; notes: readonly Warning[] },
  operations: Pick<Operations, 'createTask'>
): Promise<void> {
  const task = await operations.createTask(order, call)
  record.taskId = task.id
  response.setHeader('x-atelier-task-id', task.id)
  if (notes.length > 0) response.setHeader('x-atelier-warnings', encodeWarnings(notes))
  response.setHeader('location', `/v1/tasks/${task.id}`)
  if (!inFull) {
    sendJson(response, record, 200, { task_id: task.id, ...(traceId !== '' && { trace_id: traceId }) })
    return
  }
  response.setHeader('preference-applied', 'respond-async')
  sendJson(response, record, 202, encodeTask(task))
}
