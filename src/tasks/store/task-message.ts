import { create } from '@bufbuild/protobuf'
import { type Image, ImageOutcome, ImageSchema } from '../../../gen/atelier/v1/image_pb.ts'
import {
  type GenerateImagesRequest,
  type GenerateImagesResponse,
  GenerateImagesResponseSchema
} from '../../../gen/atelier/v1/image_service_pb.ts'
import type { StoredImage, StoredRequest, StoredResult } from '../../../gen/atelier/v1/stored_pb.ts'
import {
  AttemptState,
  CallbackState,
  type Task,
  type TaskAttempt,
  TaskAttemptSchema,
  type TaskCallback,
  TaskCallbackSchema,
  TaskOperation,
  TaskSchema,
  TaskState
} from '../../../gen/atelier/v1/task_pb.ts'
import type { AttemptRow, CallbackDeliveryRow, CallbackRow, TaskRow } from '../../storage/schema.ts'
import { toSeconds } from '../../storage/to-seconds.ts'
import { credentialKind } from '../credential-kind.ts'
import type { KeptTask } from '../task-store.ts'
import { readCredentialText } from './credential-text.ts'
import { isFinal } from './end-records.ts'
import { toGatewayErrorAgain, toTaskError } from './stored-error.ts'

/** Makes links to images of a result; undefined for one that is not kept. */
export type LinkOf = (image: StoredImage) => string | undefined

/** A task with everything that its callers may see; the images are links. `progress`: what the process knows that works on it, 0 to 1. */
export function wholeTask(kept: KeptTask, linkOf: LinkOf, progress = 0): Task {
  const { task, result, request } = kept
  const parameters = parametersOf(request)
  const whole = create(TaskSchema, { ...task, ...(parameters && { parameters }) })
  if (task.state === TaskState.RUNNING) whole.progress = progress
  if (task.state === TaskState.SUCCEEDED && result) whole.result = toResponse(kept, result, linkOf)
  return whole
}

/** What a task's rows tell its callers, without its result and its parameters. */
export function toTaskMessage(
  row: TaskRow,
  opened: { readonly request: StoredRequest; readonly result: StoredResult | undefined },
  attempts: readonly AttemptRow[],
  callback: { row: CallbackRow; deliveries: readonly CallbackDeliveryRow[] } | undefined
): Task {
  const task = create(TaskSchema, {
    id: row.id,
    state: states[row.state],
    operation: operations[row.operation],
    revision: BigInt(row.revision),
    traceId: row.trace_id,
    createdAt: toSeconds(row.created_at_ms),
    provider: row.provider,
    model: row.model,
    progress: row.state === 'succeeded' ? 1 : 0,
    attempts: attempts.map(toTaskAttempt)
  })
  if (row.started_at_ms !== null) task.startedAt = toSeconds(row.started_at_ms)
  if (row.finished_at_ms !== null) task.finishedAt = toSeconds(row.finished_at_ms)
  if (isFinal(row.state)) task.expiresAt = toSeconds(row.expires_at_ms)
  if (callback) task.callback = toTaskCallback(callback.row, callback.deliveries)
  // Its row comes with the end of the task.
  else if (!isFinal(row.state) && opened.request.callbackUrl !== '') {
    task.callback = create(TaskCallbackSchema, { state: CallbackState.PENDING })
  }
  const error = isFinal(row.state) && row.state !== 'succeeded' ? opened.result?.error : undefined
  if (error) task.error = toTaskError(toGatewayErrorAgain(error))
  return task
}

const states = {
  queued: TaskState.QUEUED,
  running: TaskState.RUNNING,
  succeeded: TaskState.SUCCEEDED,
  failed: TaskState.FAILED,
  cancelled: TaskState.CANCELLED,
  interrupted: TaskState.INTERRUPTED
} as const satisfies Record<TaskRow['state'], TaskState>

const operations = {
  generation: TaskOperation.GENERATION,
  edit: TaskOperation.EDIT,
  variation: TaskOperation.VARIATION
} as const satisfies Record<TaskRow['operation'], TaskOperation>

const attemptStates = {
  intended: AttemptState.INTENDED,
  submitted: AttemptState.SUBMITTED,
  succeeded: AttemptState.SUCCEEDED,
  rejected: AttemptState.REJECTED,
  unknown: AttemptState.UNKNOWN
} as const satisfies Record<AttemptRow['state'], AttemptState>

const callbackStates = {
  pending: CallbackState.PENDING,
  delivered: CallbackState.DELIVERED,
  failed: CallbackState.FAILED,
  stopped: CallbackState.STOPPED
} as const satisfies Record<CallbackRow['state'], CallbackState>

function toTaskAttempt(row: AttemptRow): TaskAttempt {
  const { part, ordinal, provider, model } = row
  const { kind, id } = readCredentialText(row.credential)
  return create(TaskAttemptSchema, {
    part,
    ordinal,
    provider,
    model,
    state: attemptStates[row.state],
    intendedAt: toSeconds(row.created_at_ms),
    credential: credentialKind(kind),
    credentialId: id,
    ...(row.cost_micros !== null && { costMicros: BigInt(row.cost_micros) }),
    ...(row.closed_at_ms !== null && { closedAt: toSeconds(row.closed_at_ms) })
  })
}

function toTaskCallback(row: CallbackRow, deliveries: readonly CallbackDeliveryRow[]): TaskCallback {
  return create(TaskCallbackSchema, {
    state: callbackStates[row.state],
    webhookId: row.id,
    ...(row.state === 'pending' && { nextAttemptAt: toSeconds(row.next_at_ms) }),
    deliveries: deliveries.map(({ at_ms, status, problem, duration_ms }) => ({
      at: toSeconds(at_ms),
      status,
      problem,
      durationMs: duration_ms
    }))
  })
}

function parametersOf({ operation }: StoredRequest): GenerateImagesRequest | undefined {
  return operation.case === 'generation' ? operation.value : operation.value?.parameters
}

function toResponse(kept: KeptTask, result: StoredResult, linkOf: LinkOf): GenerateImagesResponse {
  const { provider, model, usage, resolved, cost, providerFields, credentials } = result
  return create(GenerateImagesResponseSchema, {
    created: toSeconds(kept.createdAtMs),
    taskId: kept.task.id,
    provider,
    model,
    credentials,
    images: result.images.map((image) => toImage(image, linkOf)),
    warnings: [...result.acceptedWarnings, ...result.warnings],
    ...(usage && { usage }),
    ...(resolved && { resolved }),
    ...(cost && { cost }),
    ...(providerFields && { providerFields })
  })
}

function toImage(stored: StoredImage, linkOf: LinkOf): Image {
  const { index, outcome, mediaType, revisedPrompt = '', providerFields, message } = stored
  const image = create(ImageSchema, { index, outcome, mediaType, revisedPrompt, message, ...(providerFields && { providerFields }) })
  if (outcome !== ImageOutcome.DELIVERED) return image
  const url = linkOf(stored)
  if (url !== undefined) image.content = { case: 'url', value: url }
  else Object.assign(image, { outcome: ImageOutcome.FAILED, message: 'the image was made and could not be kept' })
  return image
}
