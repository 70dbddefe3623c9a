import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { OnDisconnect } from '../../gen/atelier/v1/image_service_pb.ts'
import { gatewayError } from '../../src/errors.ts'
import { imageFromBytes } from '../../src/images/image-body.ts'
import type { AttemptContext, ProviderEvent } from '../../src/providers/provider.ts'
import { png } from '../support/blob-contents.ts'
import { createCall } from '../support/call.ts'
import { createStandIn, delivered, untilLeft } from '../support/stand-in-provider.ts'
import { createTaskMachine, endOf, type MachineProcess, orderOf, received } from '../support/task-machine.ts'

/** A caller that can go away, and what it got until then. */
function caller(process: MachineProcess, order: ReturnType<typeof orderOf>) {
  const connection = new AbortController()
  const answered = Promise.withResolvers<boolean>()
  const call = createCall({ signal: connection.signal, answered: () => answered.promise })
  return {
    got: received(process.runner.run(order, call)),
    leave() {
      answered.resolve(false)
      connection.abort(gatewayError('CANCELLED', {}))
    }
  }
}

async function onlyTask(process: MachineProcess): Promise<string> {
  const [task] = await process.store.list({ organizationId: 'default', limit: 2 })
  return task?.task.id ?? ''
}

test('whoever leaves before the intent causes nothing: nothing is sent, nothing is recorded', async () => {
  await using machine = await createTaskMachine()
  const provider = createStandIn({ run: delivered })
  const process = await machine.start(provider)
  const gone = caller(process, orderOf())
  gone.leave()

  expect(await gone.got).toEqual(['accepted', 'CANCELLED'])
  await process.runner.idle()
  expect(provider.asked).toEqual([])
  expect(await process.database.query.selectFrom('tasks').selectAll().execute()).toEqual([])
  expect(await process.database.query.selectFrom('attempts').selectAll().execute()).toEqual([])
  expect(await process.database.query.selectFrom('ledger_entries').selectAll().execute()).toEqual([])
})

test('whoever leaves while the intent is written is in time: nothing is sent, and nothing spent', async () => {
  await using machine = await createTaskMachine()
  const provider = createStandIn({ run: delivered })
  const process = await machine.start(provider)
  const { commit } = process.database
  process.database.commit = async (...args) => {
    gone.leave()
    await commit(...args)
  }
  const gone = caller(process, orderOf({ requestId: '' }))

  expect(await gone.got).toEqual(['accepted', 'CANCELLED'])
  await process.runner.idle()
  expect(provider.asked).toEqual([])
  expect(await endOf(process, await onlyTask(process))).toMatchObject({
    state: 'failed',
    error: { reason: 'CANCELLED', mayBeBilled: false },
    attempts: ['rejected 0'],
    imbalances: []
  })
})

test('what was sent is finished and kept when its caller leaves', async () => {
  await using machine = await createTaskMachine()
  const mayAnswer = Promise.withResolvers<void>()
  const provider = createStandIn({
    async *run(work) {
      await mayAnswer.promise
      yield* delivered(work)
    }
  })
  const process = await machine.start(provider)
  const gone = caller(process, orderOf())
  await provider.askedFor(1)
  gone.leave()
  expect(await gone.got).toEqual(['accepted', 'CANCELLED'])
  mayAnswer.resolve()
  await process.runner.idle()

  expect(await endOf(process, await onlyTask(process))).toMatchObject({
    state: 'succeeded',
    images: ['delivered'],
    attempts: ['succeeded 40000']
  })
})

test('a client that sends again what it got no answer to is given what was made for it, once', async () => {
  await using machine = await createTaskMachine()
  const mayAnswer = Promise.withResolvers<void>()
  const provider = createStandIn({
    async *run(work) {
      await mayAnswer.promise
      yield* delivered(work)
    }
  })
  const process = await machine.start(provider)
  const gone = caller(process, orderOf())
  await provider.askedFor(1)
  gone.leave()
  await gone.got
  const again = received(process.runner.run(orderOf({}, { isRepetition: true }), createCall()))
  mayAnswer.resolve()

  expect(await again).toEqual(['accepted', 2_000, 'completed'])
  expect(provider.asked).toHaveLength(1)
  expect(await received(process.runner.run(orderOf({}, { isRepetition: true }), createCall()))).toEqual(['accepted', 2_000, 'completed'])
  expect(provider.asked).toHaveLength(2)
})

test('what costs nothing to cancel is stopped when its caller leaves, and its reservation is released', async () => {
  await using machine = await createTaskMachine()
  const provider = createStandIn({ cancelsFree: true, run: (_work, attempt) => untilLeft(attempt) })
  const process = await machine.start(provider)
  const gone = caller(process, orderOf({ requestId: 'order-1' }))
  await provider.askedFor(1)
  gone.leave()

  expect(await gone.got).toEqual(['accepted', 'CANCELLED'])
  expect(await endOf(process, await onlyTask(process))).toMatchObject({
    state: 'failed',
    error: { reason: 'CANCELLED', mayBeBilled: false },
    attempts: ['rejected 0'],
    imbalances: []
  })
  expect(await process.database.query.selectFrom('request_keys').selectAll().execute()).toEqual([])
})

test('on_disconnect: cancel stops a call that may be billed, and counts it as spent', async () => {
  await using machine = await createTaskMachine()
  const provider = createStandIn({ run: (_work, attempt) => untilLeft(attempt) })
  const process = await machine.start(provider)
  const gone = caller(process, orderOf({ onDisconnect: OnDisconnect.CANCEL }))
  await provider.askedFor(1)
  gone.leave()
  await gone.got

  expect(await endOf(process, await onlyTask(process))).toMatchObject({
    state: 'failed',
    error: { reason: 'CANCELLED', mayBeBilled: true },
    attempts: ['unknown 40000'],
    imbalances: []
  })
})

test('on_disconnect: keep finishes also what would cost nothing to cancel', async () => {
  await using machine = await createTaskMachine()
  const mayAnswer = Promise.withResolvers<void>()
  const provider = createStandIn({
    cancelsFree: true,
    async *run(work) {
      await mayAnswer.promise
      yield* delivered(work)
    }
  })
  const process = await machine.start(provider)
  const gone = caller(process, orderOf({ onDisconnect: OnDisconnect.KEEP }))
  await provider.askedFor(1)
  gone.leave()
  mayAnswer.resolve()

  expect(await gone.got).toEqual(['accepted', 'CANCELLED'])
  await process.runner.idle()
  expect(await endOf(process, await onlyTask(process))).toMatchObject({ state: 'succeeded', images: ['delivered'] })
})

/** A provider whose job runs until it is stopped, as `cancel` says. */
function withJob(cancel: (attempt: AttemptContext) => Promise<'cancelled' | 'too_late'>) {
  const isSubmitted = Promise.withResolvers<void>()
  const provider = createStandIn({
    recovery: 'resumable',
    async *run(_work, attempt) {
      await attempt.submitted?.('job-1')
      isSubmitted.resolve()
      yield* untilLeft(attempt)
    },
    cancel: (_jobId, attempt) => cancel(attempt)
  })
  return { provider, isSubmitted: isSubmitted.promise }
}

test('a cancellation reaches the provider, and a job that it stopped costs nothing', async () => {
  await using machine = await createTaskMachine()
  const { provider, isSubmitted } = withJob(async () => 'cancelled')
  const process = await machine.start(provider)
  const answer = received(process.runner.run(orderOf({ requestId: 'order-1' }), createCall()))
  await isSubmitted
  const taskId = await onlyTask(process)
  await process.store.cancel(taskId, 'default')

  expect(await answer).toEqual(['accepted', 'CANCELLED'])
  expect(await endOf(process, taskId)).toMatchObject({
    state: 'cancelled',
    error: { reason: 'CANCELLED', mayBeBilled: false },
    attempts: ['rejected 0'],
    imbalances: []
  })
  expect(provider.asked).toEqual([expect.stringMatching(/^run/), 'cancel job-1'])
})

test('a caller that leaves stops its job where it asked for that', async () => {
  await using machine = await createTaskMachine()
  const { provider, isSubmitted } = withJob(async () => 'cancelled')
  const process = await machine.start(provider)
  const gone = caller(process, orderOf({ onDisconnect: OnDisconnect.CANCEL }))
  await isSubmitted
  gone.leave()
  await gone.got

  expect(await endOf(process, await onlyTask(process))).toMatchObject({ state: 'failed', attempts: ['rejected 0'], imbalances: [] })
  expect(provider.asked).toEqual([expect.stringMatching(/^run/), 'cancel job-1'])
})

test.for<[string, () => Promise<'too_late'>]>([
  ['comes too late', async () => 'too_late'],
  ['fails', () => Promise.reject(new Error('no answer'))]
])('a cancellation that %s leaves unknown what the job came to', async ([, cancel]) => {
  await using machine = await createTaskMachine()
  const { provider, isSubmitted } = withJob(cancel)
  const process = await machine.start(provider)
  const answer = received(process.runner.run(orderOf(), createCall()))
  await isSubmitted
  const taskId = await onlyTask(process)
  await process.store.cancel(taskId, 'default')

  expect(await answer).toEqual(['accepted', 'CANCELLED'])
  expect(await endOf(process, taskId)).toMatchObject({
    state: 'cancelled',
    error: { reason: 'CANCELLED', mayBeBilled: true },
    attempts: ['unknown 40000'],
    imbalances: []
  })
})

test('a cancellation that comes before the task is begun is not lost', async () => {
  await using machine = await createTaskMachine()
  const provider = createStandIn({ run: delivered })
  const process = await machine.start(provider)
  const taskId = await process.submit(orderOf())
  const [claimed] = await process.store.claimQueued(1)
  await process.store.cancel(taskId, 'default')
  await sleep(50)
  if (!claimed) throw new Error('the task was not claimed')
  await process.runner.resume(claimed, orderOf(), createCall()).over

  expect(await endOf(process, taskId)).toMatchObject({ state: 'cancelled', error: { mayBeBilled: false }, attempts: [], imbalances: [] })
  expect(provider.asked).toEqual([])
})

/** One image with two previews. The source of each notes when it was read to its end, and when it was let go of before. */
function withPreviews(seen: string[]) {
  return createStandIn({
    async *run(work): AsyncGenerator<ProviderEvent, void, undefined> {
      for (let previewIndex = 0; previewIndex < 2; previewIndex += 1) {
        yield { kind: 'preview', index: 0, previewIndex, image: imageFromBytes(noted(seen, previewIndex), 'image/png') }
      }
      yield* delivered(work)
    }
  })
}

function noted(seen: string[], preview: number): AsyncIterable<Uint8Array> {
  let isRead = false
  return {
    [Symbol.asyncIterator]: () => ({
      async next() {
        if (!isRead) {
          isRead = true
          return { done: false, value: png(100) }
        }
        seen.push(`${preview} read`)
        return { done: true, value: undefined }
      },
      async return() {
        seen.push(`${preview} left`)
        return { done: true, value: undefined }
      }
    })
  }
}

test('previews come through to a caller that is there', async () => {
  await using machine = await createTaskMachine()
  const seen: string[] = []
  const process = await machine.start(withPreviews(seen))

  expect(await received(process.runner.run(orderOf(), createCall()))).toEqual([
    'accepted',
    'preview 100',
    'preview 100',
    2_000,
    'completed'
  ])
  expect(seen).toEqual(['0 read', '1 read'])
})

test('previews that nobody waits for are let go of', async () => {
  await using machine = await createTaskMachine()
  const seen: string[] = []
  const process = await machine.start(withPreviews(seen))
  const taskId = await process.submit(orderOf())
  process.schedule()

  expect(await endOf(process, taskId)).toMatchObject({ state: 'succeeded', images: ['delivered'] })
  expect(seen).toEqual(['0 left', '1 left'])
})
