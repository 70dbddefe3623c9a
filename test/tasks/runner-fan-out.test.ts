import { expect, test } from 'vitest'
import { OnDisconnect, OnInterrupt } from '../../gen/atelier/v1/image_service_pb.ts'
import { gatewayError } from '../../src/errors.ts'
import { createCall } from '../support/call.ts'
import { createStandIn, delivered, failing, never, type StandIn, untilLeft } from '../support/stand-in-provider.ts'
import { createTaskMachine, endOf, orderOf, received, type TaskMachine } from '../support/task-machine.ts'

const lost = 'the answer of the provider openai was lost: the server ended while the request was on its way'
const refused = gatewayError('PROVIDER_REJECTED', { problem: 'no' }, { outcome: 'rejected' })

/** Makes two images one after the other, and is cut off by a crash while it makes the third. */
function cutOffAtThird(): StandIn {
  return createStandIn({ run: (work, _attempt, call) => (call === 2 ? never : delivered(work)) })
}

/** The next process, which has taken over what the one before left. */
async function takeOver(machine: TaskMachine) {
  const provider = createStandIn({ run: delivered })
  const process = await machine.start(provider, { maxParallel: 1 })
  const [task] = await process.store.list({ organizationId: 'default', limit: 1 })
  process.schedule()
  return { provider, end: await endOf(process, task?.task.id ?? ''), process }
}

test('of four images two were there when a background task was cut off at the third: it makes the fourth, and misses the third', async () => {
  await using machine = await createTaskMachine()
  const provider = cutOffAtThird()
  const first = await machine.start(provider, { maxParallel: 1 })
  await first.submit(orderOf({ n: 4 }))
  first.schedule()
  await provider.askedFor(3)

  const second = await takeOver(machine)

  expect(second.end).toMatchObject({ state: 'succeeded', images: ['delivered', 'delivered', lost, 'delivered'], imbalances: [] })
  expect(second.end.attempts.toSorted()).toEqual(['succeeded 40000', 'succeeded 40000', 'succeeded 40000', 'unknown 40000'])
  expect(second.provider.asked).toHaveLength(1)
})

test('of four images two were there when the process of a caller who waited died: the task keeps those two, and nothing more is made', async () => {
  await using machine = await createTaskMachine()
  const provider = cutOffAtThird()
  const first = await machine.start(provider, { maxParallel: 1 })
  void received(first.runner.run(orderOf({ n: 4, requestId: 'order-1' }), createCall()))
  await provider.askedFor(3)

  const second = await takeOver(machine)

  expect(second.end).toMatchObject({ state: 'succeeded', imbalances: [] })
  expect(second.end.images).toEqual(['delivered', 'delivered', lost, 'the server ended before the request was sent to any provider'])
  expect(second.end.attempts.toSorted()).toEqual(['succeeded 40000', 'succeeded 40000', 'unknown 40000'])
  expect(second.provider.asked).toEqual([])
  const again = await received(second.process.runner.run(orderOf({ n: 4, requestId: 'order-1' }), createCall()))
  expect(again).toEqual(['accepted', 2_000, 2_000, `missing: ${lost}`, expect.stringMatching(/^missing: /), 'completed'])
})

test('a part that was refused before a crash is not begun again for a caller who is gone', async () => {
  await using machine = await createTaskMachine()
  const provider = createStandIn({ run: (work, _attempt, call) => (call === 0 ? failing(refused) : call === 1 ? delivered(work) : never) })
  const first = await machine.start(provider, { maxParallel: 1 })
  void received(first.runner.run(orderOf({ n: 3, requestId: 'order-1' }), createCall()))
  await provider.askedFor(3)

  const second = await takeOver(machine)

  expect(second.end).toMatchObject({ state: 'succeeded', images: [expect.any(String), 'delivered', lost], imbalances: [] })
  expect(second.end.attempts.toSorted()).toEqual(['rejected 0', 'succeeded 40000', 'unknown 40000'])
  expect(second.provider.asked).toEqual([])
})

test('with on_interrupt: retry only the part that was lost is bought again', async () => {
  await using machine = await createTaskMachine()
  const provider = cutOffAtThird()
  const first = await machine.start(provider, { maxParallel: 1 })
  void received(first.runner.run(orderOf({ n: 3, requestId: 'order-1', onInterrupt: OnInterrupt.RETRY }), createCall()))
  await provider.askedFor(3)

  const second = await takeOver(machine)

  expect(second.end).toMatchObject({ state: 'succeeded', images: ['delivered', 'delivered', 'delivered'], imbalances: [] })
  expect(second.provider.asked).toHaveLength(1)
})

test('a cancelled request of which one part was not sent and one was on its way may have been billed, and keeps its key', async () => {
  await using machine = await createTaskMachine()
  const sent = Promise.withResolvers<void>()
  const provider = createStandIn({
    // The first part finds out that it was not sent, the second was.
    run(_work, attempt, call) {
      if (call === 0) return refusedWhenLeft(attempt.signal)
      sent.resolve()
      return untilLeft(attempt)
    }
  })
  const process = await machine.start(provider)
  const answer = received(process.runner.run(orderOf({ n: 2, requestId: 'order-1' }), createCall()))
  await sent.promise
  const [task] = await process.store.list({ organizationId: 'default', limit: 1 })
  await process.store.cancel(task?.task.id ?? '', 'default')

  expect(await answer).toEqual(['accepted', 'CANCELLED'])
  const end = await endOf(process, task?.task.id ?? '')
  expect(end).toMatchObject({ state: 'cancelled', error: { reason: 'CANCELLED', mayBeBilled: true }, imbalances: [] })
  expect(end.attempts.toSorted()).toEqual(['rejected 0', 'unknown 40000'])
  expect(await received(process.runner.run(orderOf({ n: 2, requestId: 'order-1' }), createCall()))).toEqual(['accepted', 'CANCELLED'])
})

test('an image that is there when its request is cancelled is kept and paid, also where cancelling costs nothing', async () => {
  await using machine = await createTaskMachine()
  const isThere = Promise.withResolvers<void>()
  const provider = createStandIn({
    cancelsFree: true,
    async *run(work, attempt, call) {
      if (call === 0) {
        for await (const event of delivered(work)) if (event.kind === 'image') yield event
        isThere.resolve()
      }
      yield* untilLeft(attempt)
    }
  })
  const process = await machine.start(provider)
  const answer = received(process.runner.run(orderOf({ n: 2, onDisconnect: OnDisconnect.KEEP, requestId: 'order-1' }), createCall()))
  await isThere.promise
  const [task] = await process.store.list({ organizationId: 'default', limit: 1 })
  await process.store.cancel(task?.task.id ?? '', 'default')

  expect(await answer).toEqual(['accepted', 2_000, expect.stringMatching(/^missing: /), 'completed'])
  const end = await endOf(process, task?.task.id ?? '')
  expect(end).toMatchObject({ state: 'succeeded', images: ['delivered', expect.any(String)], imbalances: [] })
  expect(end.attempts.toSorted()).toEqual(['rejected 0', 'succeeded 40000'])
  const again = await received(process.runner.run(orderOf({ n: 2, onDisconnect: OnDisconnect.KEEP, requestId: 'order-1' }), createCall()))
  expect(again[1]).toBe(2_000)
})

async function* refusedWhenLeft(signal: AbortSignal): AsyncGenerator<never, void, undefined> {
  try {
    yield* untilLeft({ signal })
  } catch {
    throw refused
  }
}
