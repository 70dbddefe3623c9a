import { create } from '@bufbuild/protobuf'
import { ErrorReason, ErrorReasonSchema } from '../../../gen/atelier/v1/error_pb.ts'
import { type StoredError, StoredErrorSchema } from '../../../gen/atelier/v1/stored_pb.ts'
import { type TaskError, TaskErrorSchema } from '../../../gen/atelier/v1/task_pb.ts'
import { errorTable, GatewayError, gatewayError, type Moderation, type Outcome, type Reason } from '../../errors.ts'

/** An error as it is kept: all that callers may learn of it, and neither its cause nor how long to wait. */
export function toStoredError(error: GatewayError): StoredError {
  const { reason, fields, param, code, outcome, retryable, moderation } = error
  return create(StoredErrorSchema, {
    reason: ErrorReason[reason],
    fields: Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, String(value)])),
    ...(param !== undefined && { param }),
    ...(code !== null && { code }),
    outcome: outcome ?? '',
    retryable,
    moderationStage: moderation?.stage ?? '',
    moderationCategories: moderation?.categories ?? []
  })
}

/** The same error, to be thrown again; INTERNAL for one that a newer version of this program has kept. */
export function toGatewayErrorAgain(stored: StoredError): GatewayError {
  const reason = reasonOf(stored.reason)
  if (reason === undefined) return gatewayError('INTERNAL', {})
  const { fields, param, code, outcome, retryable, moderationStage: stage, moderationCategories: categories } = stored
  return new GatewayError(reason, fields, {
    retryable,
    ...(param !== undefined && { param }),
    ...(code !== undefined && { code }),
    ...(isOutcome(outcome) && { outcome }),
    ...(isStage(stage) && { moderation: { stage, categories } })
  })
}

/** An error as tasks show it. */
export function toTaskError(error: GatewayError): TaskError {
  const { reason, message, entry, code, param, retryable, outcome, moderation } = error
  return create(TaskErrorSchema, {
    reason: ErrorReason[reason],
    message,
    type: entry.type,
    code: code ?? '',
    param: param ?? '',
    retryable,
    mayBeBilled: outcome === undefined ? entry.billed === 'possible' : outcome === 'unknown',
    moderationStage: moderation?.stage ?? '',
    moderationCategories: moderation?.categories ?? []
  })
}

function reasonOf(value: ErrorReason): Reason | undefined {
  const name = ErrorReasonSchema.value[value]?.localName ?? ''
  return Object.hasOwn(errorTable, name) ? (name as Reason) : undefined
}

function isOutcome(text: string): text is Outcome {
  return text === 'not_sent' || text === 'rejected' || text === 'unknown'
}

function isStage(text: string): text is Moderation['stage'] {
  return text === 'input' || text === 'output' || text === 'unknown'
}
