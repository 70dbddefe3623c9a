import type { JsonObject } from '@bufbuild/protobuf'
import { CredentialKindSchema } from '../../gen/atelier/v1/credential_pb.ts'
import { ImageOutcome } from '../../gen/atelier/v1/image_pb.ts'
import { GenerateImagesRequestSchema, type GenerateImagesResponse } from '../../gen/atelier/v1/image_service_pb.ts'
import {
  AttemptStateSchema,
  CallbackStateSchema,
  type Task,
  type TaskAttempt,
  type TaskCallback,
  type TaskError,
  TaskOperation,
  TaskOperationSchema,
  TaskStateSchema
} from '../../gen/atelier/v1/task_pb.ts'
import { encodeMessage } from '../contract/json.ts'
import { wireName } from '../contract/wire-names.ts'
import { headerFields } from './header-fields.ts'
import { encodeCompleted, encodeIncluded } from './openai-json.ts'

/** A task as REST shows it: every key is there, and null where there is nothing to say. */
export function encodeTask(task: Task): JsonObject {
  return {
    ...encodeListedTask(task),
    result: task.result ? encodeResult(task.result) : null,
    parameters: encodeParameters(task)
  }
}

/** A task as lists show it: without its result and its parameters. */
export function encodeListedTask(task: Task): JsonObject {
  return {
    id: task.id,
    object: 'task',
    status: wireName(TaskStateSchema, task.state) ?? null,
    operation: wireName(TaskOperationSchema, task.operation) ?? null,
    created_at: Number(task.createdAt),
    started_at: numberOrNull(task.startedAt),
    finished_at: numberOrNull(task.finishedAt),
    expires_at: numberOrNull(task.expiresAt),
    trace_id: task.traceId || null,
    provider: task.provider || null,
    model: task.model || null,
    progress: task.progress,
    error: task.error ? encodeError(task.error) : null,
    retryable: task.error?.retryable ?? null,
    may_be_billed: task.error?.mayBeBilled ?? null,
    attempts: task.attempts.map(encodeAttempt),
    callback: task.callback ? encodeCallbackState(task.callback) : null
  }
}

/** What a synchronous answer would hold, images as links, with cost and warnings, for which there are no headers. */
export function encodeResult(result: GenerateImagesResponse): JsonObject & { created: number; data: JsonObject[] } {
  const { images, usage, resolved, providerFields, cost, warnings, credentials } = result
  const missing = images
    .filter(({ outcome }) => outcome !== ImageOutcome.DELIVERED)
    .map(({ index, outcome, message }) => ({ kind: 'no_image' as const, index, outcome, message }))
  const completed = {
    kind: 'completed' as const,
    ...(usage && { usage }),
    ...(resolved && { resolved }),
    ...(providerFields && { providerFields })
  }
  return {
    created: Number(result.created),
    data: images.filter(({ outcome }) => outcome === ImageOutcome.DELIVERED).map(encodeImage),
    ...encodeCompleted(completed, missing),
    ...encodeIncluded({ cost: true, warnings: true }, cost, warnings, credentials)
  }
}

/** The body that a request like the task's would have; null where it is not kept. */
export function encodeParameters({ parameters, operation }: Task): JsonObject | null {
  if (!parameters) return null
  const { providerOptions } = parameters
  const own = encodeMessage(GenerateImagesRequestSchema, parameters)
  // The instruction that variations are made with is not the caller's.
  const left = operation === TaskOperation.VARIATION ? [...headerFields, 'prompt'] : headerFields
  return { ...Object.fromEntries(Object.entries(own).filter(([name]) => !left.includes(name))), ...providerOptions }
}

function encodeImage({ content, revisedPrompt, providerFields }: GenerateImagesResponse['images'][number]): JsonObject {
  return {
    ...(content.case === 'url' && { url: content.value }),
    ...providerFields,
    ...(revisedPrompt !== '' && { revised_prompt: revisedPrompt })
  }
}

function encodeError({ message, type, param, code, moderationStage, moderationCategories }: TaskError): JsonObject {
  const moderation = { moderation_stage: moderationStage, categories: moderationCategories }
  return { message, type, param: param || null, code: code || null, ...(moderationStage !== '' && { moderation_details: moderation }) }
}

function encodeAttempt(attempt: TaskAttempt): JsonObject {
  const { part, ordinal, provider, model, state, costMicros, intendedAt, closedAt, credential, credentialId } = attempt
  return {
    part,
    ordinal,
    provider,
    model,
    status: wireName(AttemptStateSchema, state) ?? null,
    credential: wireName(CredentialKindSchema, credential) ?? null,
    credential_id: credentialId || null,
    cost_micros: numberOrNull(costMicros),
    intended_at: Number(intendedAt),
    closed_at: numberOrNull(closedAt)
  }
}

function encodeCallbackState({ state, webhookId, nextAttemptAt, deliveries }: TaskCallback): JsonObject {
  return {
    status: wireName(CallbackStateSchema, state) ?? null,
    webhook_id: webhookId || null,
    next_attempt_at: numberOrNull(nextAttemptAt),
    deliveries: deliveries.map(({ at, status, problem, durationMs }) => ({
      at: Number(at),
      status: status || null,
      problem: problem || null,
      duration_ms: durationMs
    }))
  }
}

function numberOrNull(value: bigint | undefined): number | null {
  return value === undefined ? null : Number(value)
}
