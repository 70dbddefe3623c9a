import { create } from '@bufbuild/protobuf'
import { expect, test } from 'vitest'
import { ImageOutcome, WarningKind } from '../../gen/atelier/v1/image_pb.ts'
import { StoredResultSchema } from '../../gen/atelier/v1/stored_pb.ts'
import { AttemptState, CallbackState, TaskOperation, TaskState } from '../../gen/atelier/v1/task_pb.ts'
import { wholeTask } from '../../src/tasks/store/task-message.ts'
import type { KeptTask, TaskJournal } from '../../src/tasks/task-store.ts'
import { claimOf, failed, intent, newTask, openSqliteStores, resultOf, succeeded } from '../support/task-stores.ts'

const linkOf = (image: { source: { case?: string | undefined; value?: string | undefined } }) =>
  image.source.case === undefined ? undefined : `https://images.example/${image.source.value}`

test('shows a succeeded task with its images as links, its parameters, attempts and callback', async () => {
  const more = create(StoredResultSchema, {
    acceptedWarnings: [{ kind: WarningKind.IGNORED, param: 'seed', message: 'no seeds' }],
    warnings: [{ kind: WarningKind.CONVERTED, param: 'size', message: 'larger' }],
    images: [
      { index: 1, outcome: ImageOutcome.MODERATED, message: 'withheld' },
      { index: 2, outcome: ImageOutcome.DELIVERED, mediaType: 'image/png' },
      { index: 3, outcome: ImageOutcome.DELIVERED, source: { case: 'url', value: 'there' }, revisedPrompt: 'a large cat' }
    ]
  })
  const { acceptedWarnings, warnings } = more
  const delivered = resultOf(38_000n)
  const result = { ...delivered, acceptedWarnings, warnings, images: [...delivered.images, ...more.images] }
  const kept = await keep({ callbackUrl: 'https://example.com/hook' }, async (journal) => {
    const attempt = await journal.intend(intent())
    await journal.close(attempt, { outcome: 'succeeded', result, blobs: [] })
    await journal.intend(intent({ part: 1, reserveMicros: undefined }))
    await journal.finish(succeeded({ result, keepSeconds: 60 }))
  })
  const seconds = {
    createdAt: 1_700_000_000n,
    startedAt: expect.any(BigInt),
    finishedAt: expect.any(BigInt),
    expiresAt: expect.any(BigInt)
  }
  const image = { mediaType: 'image/png', message: '', revisedPrompt: '' }
  expect(wholeTask(kept, linkOf, 0.5)).toMatchObject({
    ...seconds,
    id: kept.task.id,
    state: TaskState.SUCCEEDED,
    operation: TaskOperation.GENERATION,
    revision: 4n,
    traceId: 'trace-1',
    provider: 'openai',
    model: 'dall-e-3',
    progress: 1,
    parameters: { prompt: 'a cat' },
    attempts: [
      { part: 0, ordinal: 0, provider: 'openai', state: AttemptState.SUCCEEDED, costMicros: 38_000n, closedAt: expect.any(BigInt) },
      { part: 1, ordinal: 0, state: AttemptState.UNKNOWN }
    ],
    callback: { state: CallbackState.PENDING, webhookId: expect.stringMatching(/^msg_/), nextAttemptAt: expect.any(BigInt) },
    result: {
      created: 1_700_000_000n,
      taskId: kept.task.id,
      provider: 'openai',
      usage: { inputTokens: 5n, outputTokens: 7n },
      cost: { totalMicros: 38_000n },
      warnings: [{ param: 'seed' }, { param: 'size' }],
      images: [
        { ...image, index: 0, outcome: ImageOutcome.DELIVERED, content: { case: 'url', value: 'https://images.example/image-1' } },
        { index: 1, outcome: ImageOutcome.MODERATED, message: 'withheld', content: { case: undefined } },
        { index: 2, outcome: ImageOutcome.FAILED, message: 'the image was made and could not be kept' },
        { index: 3, content: { value: 'https://images.example/there' }, revisedPrompt: 'a large cat' }
      ]
    }
  })
})

test('shows why a task failed, and nothing of a result', async () => {
  const kept = await keep({}, async (journal) => {
    await journal.close(await journal.intend(intent()), { outcome: 'rejected' })
    await journal.finish(failed())
  })
  const task = wholeTask(kept, linkOf)
  expect([task.result, task.callback]).toEqual([undefined, undefined])
  expect(task).toMatchObject({
    state: TaskState.FAILED,
    progress: 0,
    error: { message: 'no', type: 'invalid_request_error', code: 'provider_rejected', param: '', retryable: false, mayBeBilled: false },
    attempts: [{ state: AttemptState.REJECTED, costMicros: 0n }]
  })
})

test('shows how far a running task is, and neither end nor expiry', async () => {
  const kept = await keep({ callbackUrl: 'https://example.com/hook' }, async (journal) => {
    await journal.intend(intent())
  })
  const task = wholeTask(kept, linkOf, 0.5)
  expect(task).toMatchObject({ state: TaskState.RUNNING, progress: 0.5 })
  expect([task.finishedAt, task.expiresAt, task.result, task.callback?.nextAttemptAt]).toEqual([undefined, undefined, undefined, undefined])
  expect(task.callback).toMatchObject({ state: CallbackState.PENDING, webhookId: '' })
  expect([kept.task.progress, kept.task.parameters]).toEqual([0, undefined])
})

async function keep(request: Parameters<typeof newTask>[1], carryOut: (journal: TaskJournal) => Promise<void>): Promise<KeptTask> {
  await using stores = await openSqliteStores()
  const store = await stores.open()
  const task = newTask({ traceId: 'trace-1', createdAtMs: 1_700_000_000_000 }, request)
  await carryOut(store.journal(claimOf(await store.admit(task))))
  const kept = await store.find(task.id, 'default')
  if (!kept) throw new Error('the task is not there')
  return kept
}
