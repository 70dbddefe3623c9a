import { expect, test } from 'vitest'
import { gatewayError } from '../../src/errors.ts'
import { endWithoutPlan } from '../../src/tasks/end-without-plan.ts'
import { createCall } from '../support/call.ts'
import { createStandIn, delivered, never } from '../support/stand-in-provider.ts'
import { createTaskMachine, endOf, orderOf, received } from '../support/task-machine.ts'

const noModel = gatewayError('MODEL_NOT_FOUND', { model: 'dall-e-3', hint: '' }, { outcome: 'not_sent' })

test('works on so many queued tasks at a time and no more', async () => {
  await using machine = await createTaskMachine()
  const gate = Promise.withResolvers<void>()
  let running = 0
  let most = 0
  const provider = createStandIn({
    async *run(work) {
      running += 1
      most = Math.max(most, running)
      await gate.promise
      running -= 1
      yield* delivered(work)
    }
  })
  const process = await machine.start(provider)
  const ids = await Promise.all(Array.from({ length: 7 }, () => process.submit(orderOf())))
  process.schedule({ maxRunning: 3 })
  await provider.askedFor(3)
  gate.resolve()
  const ends = await Promise.all(ids.map((id) => endOf(process, id)))
  expect(ends.map(({ state }) => state)).toEqual(Array(7).fill('succeeded'))
  expect(most).toBe(3)
})

test('takes over no more at a time of what a process left behind either, and gets through with all of it', async () => {
  await using machine = await createTaskMachine()
  const first = await machine.start(createStandIn({ run: () => never }))
  const ids = await Promise.all(Array.from({ length: 20 }, () => first.submit(orderOf())))
  await first.store.claimQueued(20)
  let running = 0
  let most = 0
  const second = await machine.start(
    createStandIn({
      async *run(work) {
        running += 1
        most = Math.max(most, running)
        yield* delivered(work)
        running -= 1
      }
    })
  )
  second.schedule({ maxRunning: 2 })
  const ends = await Promise.all(ids.map((id) => endOf(second, id)))
  expect(ends.map(({ state }) => state)).toEqual(Array(20).fill('succeeded'))
  expect(most).toBeLessThanOrEqual(2)
})

test('takes nothing on any more while it drains, and waits for what runs', async () => {
  await using machine = await createTaskMachine()
  const gate = Promise.withResolvers<void>()
  const provider = createStandIn({
    async *run(work) {
      await gate.promise
      yield* delivered(work)
    }
  })
  const process = await machine.start(provider)
  const running = await process.submit(orderOf())
  const queued = await process.submit(orderOf())
  const scheduler = process.schedule({ maxRunning: 1 })
  await provider.askedFor(1)
  const drained = scheduler.drain()
  gate.resolve()
  await drained
  expect((await process.store.find(running, 'default'))?.state).toBe('succeeded')
  expect((await process.store.find(queued, 'default'))?.state).toBe('queued')
})

test('a task that cannot be planned any more fails with the reason, and its key is free', async () => {
  await using machine = await createTaskMachine()
  const process = await machine.start(createStandIn({ run: delivered }))
  const taskId = await process.submit(orderOf({ requestId: 'order-1' }))
  const [task] = await process.store.claimQueued(1)
  if (!task) throw new Error('the task was not claimed')
  await endWithoutPlan(task, noModel, () => process.store.journal(task), 3_600)
  expect(await endOf(process, taskId)).toMatchObject({ state: 'failed', error: { reason: 'MODEL_NOT_FOUND', mayBeBilled: false } })
  expect(await process.submit(orderOf({ requestId: 'order-1' }))).not.toBe(taskId)
})

test('one that was on its way is interrupted then, and one that has images keeps them and names those that are missing', async () => {
  await using machine = await createTaskMachine()
  const provider = createStandIn({ run: (work, _attempt, call) => (call === 1 ? delivered(work) : never) })
  const first = await machine.start(provider, { maxParallel: 1 })
  void received(first.runner.run(orderOf({ requestId: 'order-1' }), createCall()))
  await provider.askedFor(1)
  void received(first.runner.run(orderOf({ n: 3, requestId: 'order-2' }), createCall()))
  await provider.askedFor(3)
  const second = await machine.start(provider)
  const claimed = await second.store.claimAbandoned(2)
  for (const task of claimed) await endWithoutPlan(task, noModel, () => second.store.journal(task), 3_600)
  const ends = await Promise.all(claimed.map(({ taskId }) => endOf(second, taskId)))
  const lost = 'the answer of the provider openai was lost: the server ended while the request was on its way'
  expect(ends).toMatchObject([
    { state: 'interrupted', error: { reason: 'OUTCOME_UNKNOWN' }, images: [], attempts: ['unknown 40000'], imbalances: [] },
    { state: 'succeeded', images: ['delivered', lost, lost], imbalances: [] }
  ])
})
