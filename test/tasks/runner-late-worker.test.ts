import { expect, test } from 'vitest'
import { ResponseFormat } from '../../gen/atelier/v1/image_pb.ts'
import { createCall } from '../support/call.ts'
import { createStandIn, delivered, never } from '../support/stand-in-provider.ts'
import { createTaskMachine, endOf, orderOf, received } from '../support/task-machine.ts'

/** A provider that answers its first call when it is told to. */
function answeringLate() {
  const mayAnswer = Promise.withResolvers<void>()
  const provider = createStandIn({
    async *run(work) {
      await mayAnswer.promise
      yield* delivered(work)
    }
  })
  return { provider, answer: () => mayAnswer.resolve() }
}

test('a process that comes back after its task was taken over gets its result refused, tells its caller, and books the money', async () => {
  await using machine = await createTaskMachine()
  const { provider, answer } = answeringLate()
  const first = await machine.start(provider)
  const waiting = received(first.runner.run(orderOf({ requestId: 'order-1' }), createCall()))
  await provider.askedFor(1)
  const second = await machine.start(provider)
  const [task] = await second.store.list({ organizationId: 'default', limit: 1 })
  second.schedule()
  expect(await endOf(second, task?.task.id ?? '')).toMatchObject({ state: 'interrupted', attempts: ['unknown 40000'] })

  answer()

  expect(await waiting).toEqual(['accepted', 2_000, 'OUTCOME_UNKNOWN'])
  await first.runner.idle()
  // What was made is known now; that its images are not kept is another matter.
  expect(await endOf(second, task?.task.id ?? '')).toMatchObject({ state: 'interrupted', attempts: ['succeeded 40000'], imbalances: [] })
  const booked = await second.database.query.selectFrom('ledger_entries').select(['kind', 'images', 'basis']).orderBy('at_ms').execute()
  expect(booked.map(({ kind, images, basis }) => `${kind} ${images} ${basis}`)).toEqual([
    'reserve 0 none',
    'settle 0 unknown',
    'correct 1 actual'
  ])
  expect(provider.asked).toHaveLength(1)
})

test('a late worker on a background task changes nothing but the books', async () => {
  await using machine = await createTaskMachine()
  const { provider, answer } = answeringLate()
  const first = await machine.start(provider)
  const taskId = await first.submit(orderOf({ n: 2 }))
  first.schedule()
  await provider.askedFor(2)
  const second = await machine.start(createStandIn({ run: () => never }))
  second.schedule()
  const before = await endOf(second, taskId)

  answer()
  await first.runner.idle()

  expect(before).toMatchObject({ state: 'interrupted', attempts: ['unknown 40000', 'unknown 40000'] })
  expect(await endOf(second, taskId)).toEqual({ ...before, attempts: ['succeeded 40000', 'succeeded 40000'] })
})

test('a database that fails at the end costs the caller nothing: it gets its image, and the task is recorded when the database is back', async () => {
  await using machine = await createTaskMachine()
  const mayAnswer = Promise.withResolvers<void>()
  const process = await machine.start(
    createStandIn({
      async *run(work) {
        process.database.fates.push('unavailable', 'lost unheard', 'done unheard')
        mayAnswer.resolve()
        yield* delivered(work)
      }
    })
  )
  const answer = received(process.runner.run(orderOf(), createCall()))
  await mayAnswer.promise

  expect(await answer).toEqual(['accepted', 2_000, 'completed'])
  expect(process.database.fates).not.toEqual([])
  await process.runner.idle()
  const [task] = await process.store.list({ organizationId: 'default', limit: 1 })
  expect(await endOf(process, task?.task.id ?? '')).toEqual({
    state: 'succeeded',
    error: undefined,
    images: ['delivered'],
    attempts: ['succeeded 40000'],
    imbalances: []
  })
})

test('a database that fails while one of several parts ends costs nothing either', async () => {
  await using machine = await createTaskMachine()
  const process = await machine.start(
    createStandIn({
      async *run(work, _attempt, call) {
        if (call === 0) process.database.fates.push('unavailable')
        yield* delivered(work)
      }
    }),
    { maxParallel: 1 }
  )
  const events = await Array.fromAsync(process.runner.run(orderOf({ n: 2 }), createCall()))

  expect(events.map(({ kind }) => kind)).toEqual(['accepted', 'image', 'image', 'completed'])
  expect(events.at(-1)).toMatchObject({ cost: { totalMicros: 80_000n } })
  const [task] = await process.store.list({ organizationId: 'default', limit: 1 })
  expect(await endOf(process, task?.task.id ?? '')).toMatchObject({
    state: 'succeeded',
    images: ['delivered', 'delivered'],
    attempts: ['succeeded 40000', 'succeeded 40000'],
    imbalances: []
  })
})

test('a job is polled only when it is recorded, however long the database is away', async () => {
  await using machine = await createTaskMachine()
  const process = await machine.start(
    createStandIn({
      recovery: 'resumable',
      async *run(work, { submitted }) {
        process.database.fates.push('unavailable', 'done unheard')
        await submitted?.('job-1')
        yield* delivered(work)
      }
    })
  )

  expect(await received(process.runner.run(orderOf(), createCall()))).toEqual(['accepted', 2_000, 'completed'])
})

test('a store that cannot take an image costs the caller nothing either, and its replay says what is missing', async () => {
  await using machine = await createTaskMachine()
  const provider = createStandIn({ run: (work) => delivered(work) })
  const process = await machine.start(provider, { failingStorage: true })

  expect(await received(process.runner.run(orderOf({ requestId: 'order-1' }), createCall()))).toEqual(['accepted', 2_000, 'completed'])
  expect(await received(process.runner.run(orderOf({ requestId: 'order-1' }), createCall()))).toEqual([
    'accepted',
    'missing: the image was made and could not be kept',
    'completed'
  ])
  const asLink = orderOf({ responseFormat: ResponseFormat.URL })
  expect(await received(process.runner.run(asLink, createCall()))).toEqual(['accepted', 2_000, 'completed'])
  expect(provider.asked).toHaveLength(2)
})
