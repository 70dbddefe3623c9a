import { create } from '@bufbuild/protobuf'
import { CredentialKind } from '../../gen/atelier/v1/credential_pb.ts'
import { ErrorReason } from '../../gen/atelier/v1/error_pb.ts'
import { ImageOutcome, Quality, WarningKind } from '../../gen/atelier/v1/image_pb.ts'
import { Model } from '../../gen/atelier/v1/model_pb.ts'
import { AttemptState, CallbackState, type Task, TaskOperation, TaskSchema, TaskState } from '../../gen/atelier/v1/task_pb.ts'

const base = {
  id: 'task_1',
  operation: TaskOperation.GENERATION,
  createdAt: 1_777_048_800n,
  parameters: {
    prompt: 'a cat',
    modelSelector: { case: 'model' as const, value: Model.DALL_E_3 },
    n: 2,
    requestId: 'order-7',
    strict: true,
    providerOptions: { vendor_option: 7 }
  }
}

type Changes = Partial<Omit<Task, '$typeName' | '$unknown'>>

/** A task that nothing has happened to. */
export function queuedTask(fields: Changes = {}): Task {
  const task = create(TaskSchema, {
    ...base,
    state: TaskState.QUEUED,
    revision: 1n
  })
  return Object.assign(task, fields)
}

/** One that made one of its two images, with everything that a task can tell of. */
export function succeededTask(fields: Changes = {}): Task {
  const task = create(TaskSchema, {
    ...base,
    state: TaskState.SUCCEEDED,
    revision: 4n,
    traceId: 'my-trace',
    startedAt: 1_777_048_801n,
    finishedAt: 1_777_048_860n,
    expiresAt: 1_777_653_660n,
    provider: 'openai',
    model: 'dall-e-3',
    progress: 1,
    result: {
      created: 1_777_048_800n,
      images: [
        {
          index: 0,
          outcome: ImageOutcome.DELIVERED,
          content: { case: 'url', value: 'https://images.example/a' },
          revisedPrompt: 'a large cat',
          providerFields: { seed: 7 }
        },
        { index: 1, outcome: ImageOutcome.MODERATED, message: 'withheld by the provider' }
      ],
      usage: { inputTokens: 5n, outputTokens: 7n, totalTokens: 12n },
      resolved: { quality: Quality.STANDARD },
      warnings: [{ kind: WarningKind.IGNORED, param: 'seed', message: 'dall-e-3 has no seeds' }],
      cost: { totalMicros: 40_000n },
      provider: 'openai',
      model: 'dall-e-3'
    },
    attempts: [
      {
        part: 0,
        ordinal: 0,
        provider: 'openai',
        model: 'dall-e-3',
        state: AttemptState.SUCCEEDED,
        costMicros: 40_000n,
        intendedAt: 1_777_048_801n,
        closedAt: 1_777_048_859n,
        credential: CredentialKind.ORGANIZATION,
        credentialId: 'cred_1'
      },
      { part: 1, ordinal: 0, provider: 'openai', model: 'dall-e-3', state: AttemptState.INTENDED, intendedAt: 1_777_048_802n }
    ],
    callback: {
      state: CallbackState.PENDING,
      webhookId: 'msg_1',
      nextAttemptAt: 1_777_048_900n,
      deliveries: [{ at: 1_777_048_861n, status: 0, problem: 'connection refused', durationMs: 12 }]
    }
  })
  return Object.assign(task, fields)
}

/** One that a crash left without an answer. */
export function interruptedTask(fields: Changes = {}): Task {
  const task = create(TaskSchema, {
    ...base,
    state: TaskState.INTERRUPTED,
    finishedAt: 1_777_048_860n,
    error: {
      reason: ErrorReason.OUTCOME_UNKNOWN,
      message: 'the answer of the provider openai was lost: the server ended',
      type: 'provider_error',
      code: 'outcome_unknown',
      retryable: false,
      mayBeBilled: true
    }
  })
  return Object.assign(task, fields)
}
