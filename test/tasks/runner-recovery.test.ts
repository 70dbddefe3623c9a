import { expect, test } from 'vitest'
import { OnInterrupt } from '../../gen/atelier/v1/image_service_pb.ts'
import { gatewayError } from '../../src/errors.ts'
import { createCall } from '../support/call.ts'
import { createStandIn, delivered, failing, never, untilLeft } from '../support/stand-in-provider.ts'
import { createTaskMachine, endOf, orderOf, received } from '../support/task-machine.ts'

test('an opaque call that a crash cut off is never made again: its task is interrupted', async () => {
  await using machine = await createTaskMachine()
  const provider = createStandIn({ run: () => never })
  const first = await machine.start(provider)
  const taskId = await first.submit(orderOf())
  first.schedule()
  await provider.askedFor(1)

  const second = await machine.start(provider)
  second.schedule()

  expect(await endOf(second, taskId)).toEqual({
    state: 'interrupted',
    error: { reason: 'OUTCOME_UNKNOWN', mayBeBilled: true, retryable: false },
    images: [],
    attempts: ['unknown 40000'],
    imbalances: []
  })
  expect(provider.asked).toHaveLength(1)
})

test('a job that was recorded is asked for again, and its image delivered', async () => {
  await using machine = await createTaskMachine()
  const provider = createStandIn({
    recovery: 'resumable',
    async *run(_work, { submitted }) {
      await submitted?.('job-1')
      yield* never
    },
    resume: (_jobId, work) => delivered(work)
  })
  const first = await machine.start(provider)
  const taskId = await first.submit(orderOf())
  first.schedule()
  await first.store.waitFor(taskId, 'default', { afterRevision: 3, signal: AbortSignal.timeout(5_000) })

  const second = await machine.start(provider)
  second.schedule()

  expect(await endOf(second, taskId)).toEqual({
    state: 'succeeded',
    error: undefined,
    images: ['delivered'],
    attempts: ['succeeded 40000'],
    imbalances: []
  })
  expect(provider.asked).toEqual([expect.stringMatching(/^run attempt_/), 'resume job-1'])
})

test('a job that was given and not yet recorded when the process died is lost: its task is interrupted', async () => {
  await using machine = await createTaskMachine()
  const provider = createStandIn({
    recovery: 'resumable',
    // The answer with the job's name is there, and the process ends before it is told to anybody.
    run: () => never,
    resume: (_jobId, work) => delivered(work)
  })
  const first = await machine.start(provider)
  const taskId = await first.submit(orderOf())
  first.schedule()
  await provider.askedFor(1)

  const second = await machine.start(provider)
  second.schedule()

  expect(await endOf(second, taskId)).toMatchObject({ state: 'interrupted', attempts: ['unknown 40000'], imbalances: [] })
  expect(provider.asked).toHaveLength(1)
})

test('a call that may be repeated is repeated under the same key', async () => {
  await using machine = await createTaskMachine()
  const provider = createStandIn({ recovery: 'idempotent', run: (work, _attempt, call) => (call === 0 ? never : delivered(work)) })
  const first = await machine.start(provider)
  const taskId = await first.submit(orderOf())
  first.schedule()
  await provider.askedFor(1)

  const second = await machine.start(provider)
  second.schedule()

  expect(await endOf(second, taskId)).toMatchObject({
    state: 'succeeded',
    images: ['delivered'],
    attempts: ['succeeded 40000'],
    imbalances: []
  })
  expect(provider.asked).toHaveLength(2)
  expect(provider.asked[1]).toBe(provider.asked[0])
})

test('a repetition that is not even sent leaves unknown what the first call came to', async () => {
  await using machine = await createTaskMachine()
  const refused = gatewayError('PROVIDER_UNREACHABLE', { provider: 'openai', problem: 'connection refused' }, { outcome: 'not_sent' })
  const provider = createStandIn({
    recovery: 'idempotent',
    run: (_work, _attempt, call) => (call === 0 ? never : failing(refused))
  })
  const first = await machine.start(provider)
  void received(first.runner.run(orderOf({ requestId: 'order-1' }), createCall()))
  await provider.askedFor(1)

  const second = await machine.start(provider)
  second.schedule()

  const again = await received(second.runner.run(orderOf({ requestId: 'order-1' }), createCall()))
  expect(again).toEqual(['accepted', 'OUTCOME_UNKNOWN'])
  expect(provider.asked).toHaveLength(2)
})

test('an acknowledged task that nothing was begun of is carried out', async () => {
  await using machine = await createTaskMachine()
  const provider = createStandIn({ run: delivered })
  const first = await machine.start(provider)
  const queued = await first.submit(orderOf())
  const claimed = await first.submit(orderOf())
  await first.store.claimQueued(1)

  const second = await machine.start(provider)
  second.schedule()

  expect(await endOf(second, queued)).toMatchObject({ state: 'succeeded', images: ['delivered'], attempts: ['succeeded 40000'] })
  expect(await endOf(second, claimed)).toMatchObject({ state: 'succeeded', images: ['delivered'], attempts: ['succeeded 40000'] })
})

test('a request that nothing was begun of when its process died fails, and its key is free', async () => {
  await using machine = await createTaskMachine()
  const provider = createStandIn({ run: delivered })
  const first = await machine.start(provider, {
    checkpoint(step) {
      if (step === 'admitted') throw new Error('the process ends here')
    }
  })
  await received(first.runner.run(orderOf({ requestId: 'order-1' }), createCall()))

  const second = await machine.start(provider)
  const [left] = await second.store.list({ organizationId: 'default', limit: 1 })
  const waiting = received(second.runner.run(orderOf({ requestId: 'order-1' }), createCall()))
  second.schedule()

  expect(await endOf(second, left?.task.id ?? '')).toMatchObject({
    state: 'failed',
    error: { reason: 'NOT_STARTED', mayBeBilled: false, retryable: true },
    attempts: []
  })
  expect(await waiting).toEqual(['accepted', 'NOT_STARTED'])
  expect(await received(second.runner.run(orderOf({ requestId: 'order-1' }), createCall()))).toEqual(['accepted', 2_000, 'completed'])
})

test('on_interrupt: retry buys again what a crash cut off, and says so in its attempts', async () => {
  await using machine = await createTaskMachine()
  const provider = createStandIn({ run: (work, _attempt, call) => (call === 0 ? never : delivered(work)) })
  const first = await machine.start(provider)
  void received(first.runner.run(orderOf({ requestId: 'order-1', onInterrupt: OnInterrupt.RETRY }), createCall()))
  await provider.askedFor(1)

  const second = await machine.start(provider)
  second.schedule()

  const again = received(second.runner.run(orderOf({ requestId: 'order-1', onInterrupt: OnInterrupt.RETRY }), createCall()))
  expect(await again).toEqual(['accepted', 2_000, 'completed'])
  const [task] = await second.store.list({ organizationId: 'default', limit: 1 })
  expect(await endOf(second, task?.task.id ?? '')).toMatchObject({
    state: 'succeeded',
    attempts: expect.toSatisfy((attempts) => attempts.toSorted().join() === 'succeeded 40000,unknown 40000'),
    imbalances: []
  })
  expect(task?.task.attempts.map(({ ordinal }) => ordinal)).toEqual([0, 1])
  expect(new Set(provider.asked).size).toBe(2)
})

test('an attached request keeps its key when its call was cut off', async () => {
  await using machine = await createTaskMachine()
  const provider = createStandIn({ run: () => never })
  const first = await machine.start(provider)
  void received(first.runner.run(orderOf({ requestId: 'order-1' }), createCall()))
  await provider.askedFor(1)

  const second = await machine.start(provider)
  second.schedule()

  expect(await received(second.runner.run(orderOf({ requestId: 'order-1' }), createCall()))).toEqual(['accepted', 'OUTCOME_UNKNOWN'])
  expect(await received(second.runner.run(orderOf({ requestId: 'order-1' }), createCall()))).toEqual(['accepted', 'OUTCOME_UNKNOWN'])
  expect(provider.asked).toHaveLength(1)
})

test('a task that was cancelled while its process was dying is stopped at its provider by the next one', async () => {
  await using machine = await createTaskMachine()
  const provider = createStandIn({
    recovery: 'resumable',
    async *run(_work, { submitted }) {
      await submitted?.('job-1')
      yield* never
    },
    resume: (_jobId, _work, attempt) => untilLeft(attempt),
    cancel: async () => 'cancelled'
  })
  const first = await machine.start(provider)
  const taskId = await first.submit(orderOf())
  first.schedule()
  await first.store.waitFor(taskId, 'default', { afterRevision: 3, signal: AbortSignal.timeout(5_000) })

  const second = await machine.start(provider)
  await second.store.cancel(taskId, 'default')
  second.schedule()

  expect(await endOf(second, taskId)).toMatchObject({
    state: 'cancelled',
    error: { reason: 'CANCELLED', mayBeBilled: false },
    attempts: ['rejected 0'],
    imbalances: []
  })
  expect(provider.asked).toEqual([expect.stringMatching(/^run/), 'cancel job-1'])
})

test('a queued task meets a database that is away: it stays in the queue and is carried out later', async () => {
  await using machine = await createTaskMachine()
  const provider = createStandIn({ run: delivered })
  const process = await machine.start(provider)
  const taskId = await process.submit(orderOf())
  process.database.fates.push('unavailable', 'unavailable', 'done')
  process.schedule()

  expect(await endOf(process, taskId)).toMatchObject({ state: 'succeeded', images: ['delivered'], imbalances: [] })
  expect(provider.asked).toHaveLength(1)
})

test('a task whose intent nobody knows to be recorded is carried out once', async () => {
  await using machine = await createTaskMachine()
  const provider = createStandIn({ run: delivered })
  const process = await machine.start(provider)
  const taskId = await process.submit(orderOf())
  process.database.fates.push('done unheard')
  process.schedule()

  expect(await endOf(process, taskId)).toMatchObject({
    state: 'succeeded',
    attempts: expect.toSatisfy((attempts) => attempts.toSorted().join() === 'rejected 0,succeeded 40000'),
    imbalances: []
  })
  expect(provider.asked).toHaveLength(1)
})
