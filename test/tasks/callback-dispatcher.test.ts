import { describe, expect, test } from 'vitest'
import { startCallbackReceiver } from '../support/callback-receiver.ts'
import { openCallbacks } from '../support/callbacks.ts'

const second = 1_000
const minute = 60 * second
const hour = 60 * minute

test('delivers what is due when it starts, and what a commit announces later', async () => {
  await using receiver = await startCallbackReceiver()
  await using callbacks = await openCallbacks([`127.0.0.1:${receiver.port}`])
  await callbacks.add({ taskId: 'task-1', url: `${receiver.origin}/first` })
  callbacks.start()
  await receiver.waitFor('/first', 1)
  await callbacks.add({ taskId: 'task-2', url: `${receiver.origin}/second?token=x` })
  const [second] = await receiver.waitFor('/second?token=x', 1)
  expect([second?.body, second?.headers['content-type'], second?.headers['user-agent']]).toEqual([
    '{"task_id":"task-2"}',
    'application/json',
    'Atelier/1.2.3'
  ])
  await expect
    .poll(async () => [(await callbacks.row('task-1'))?.state, (await callbacks.row('task-2'))?.state])
    .toEqual(['delivered', 'delivered'])
  expect(await callbacks.deliveries('task-2')).toEqual([{ at_ms: callbacks.clock.now(), status: 200, problem: '', duration_ms: 0 }])
})

test('sends no header that is not the receiver’s business', async () => {
  await using receiver = await startCallbackReceiver()
  await using callbacks = await openCallbacks([`127.0.0.1:${receiver.port}`])
  callbacks.start()
  await callbacks.add({ taskId: 'task-1', url: `${receiver.origin}/` })
  const [received] = await receiver.waitFor('/', 1)
  expect(Object.keys(received?.headers ?? {}).toSorted()).toEqual([
    'connection',
    'content-length',
    'content-type',
    'host',
    'user-agent',
    'webhook-id',
    'webhook-signature',
    'webhook-timestamp'
  ])
})

test('delivers by its timer what falls due later, also without an announcement', async () => {
  await using receiver = await startCallbackReceiver()
  await using callbacks = await openCallbacks([`127.0.0.1:${receiver.port}`])
  await callbacks.add({ taskId: 'task-1', url: `${receiver.origin}/later`, dueMs: Date.now() + 300 })
  callbacks.start({}, { clock: (await import('../../src/tasks/callbacks/clock.ts')).systemClock })
  const [received] = await receiver.waitFor('/later', 1)
  expect(received?.body).toBe('{"task_id":"task-1"}')
})

describe('a try that fails', () => {
  test('is followed by nine more over 75 hours and 35 minutes, under the same id and each with its own time', async () => {
    await using receiver = await startCallbackReceiver({ '/': { status: 500 } })
    await using callbacks = await openCallbacks([`127.0.0.1:${receiver.port}`])
    const startMs = callbacks.clock.now()
    callbacks.start()
    await callbacks.add({ taskId: 'task-1', url: `${receiver.origin}/` })
    for (let tries = 1; tries < 10; tries++) {
      await expect.poll(async () => (await callbacks.deliveries('task-1')).length).toBe(tries)
      await callbacks.pass(((await callbacks.row('task-1'))?.next_at_ms ?? 0) - callbacks.clock.now())
    }
    await expect.poll(async () => (await callbacks.row('task-1'))?.state).toBe('failed')

    const sinceStart = [0, 5 * second, 5 * minute, 30 * minute, 2 * hour, 5 * hour, 10 * hour, 14 * hour, 20 * hour, 24 * hour].map(
      (
        (sum) => (wait: number) =>
          (sum += wait)
      )(0)
    )
    const log = await callbacks.deliveries('task-1')
    expect(log.map(({ at_ms }) => at_ms - startMs)).toEqual(sinceStart)
    expect(new Set(log.map(({ status, problem }) => `${status} ${problem}`))).toEqual(
      new Set(['500 the receiver answered with status 500'])
    )
    const { received } = receiver
    expect(received.map(({ headers }) => Number(headers['webhook-timestamp']) * 1000 - startMs)).toEqual(sinceStart)
    expect(new Set(received.map(({ headers }) => headers['webhook-id']))).toEqual(new Set([(await callbacks.row('task-1'))?.id]))
  })

  test('is not repeated before its time', async () => {
    await using receiver = await startCallbackReceiver({ '/': { status: 500 } })
    await using callbacks = await openCallbacks([`127.0.0.1:${receiver.port}`])
    callbacks.start()
    await callbacks.add({ taskId: 'task-1', url: `${receiver.origin}/` })
    await expect.poll(async () => (await callbacks.deliveries('task-1')).length).toBe(1)
    await callbacks.pass(5 * second - 1)
    await callbacks.add({ taskId: 'task-2', url: `${receiver.origin}/next` })
    await receiver.waitFor('/next', 1)
    expect(receiver.received.filter(({ path }) => path === '/')).toHaveLength(1)
  })

  test('and then succeeds leaves the callback delivered', async () => {
    await using receiver = await startCallbackReceiver({ '/': [{ status: 500 }, { status: 204 }] })
    await using callbacks = await openCallbacks([`127.0.0.1:${receiver.port}`])
    callbacks.start()
    await callbacks.add({ taskId: 'task-1', url: `${receiver.origin}/` })
    await expect.poll(async () => (await callbacks.deliveries('task-1')).length).toBe(1)
    await callbacks.pass(5 * second)
    await expect.poll(async () => (await callbacks.row('task-1'))?.state).toBe('delivered')
    expect((await callbacks.deliveries('task-1')).map(({ status, problem }) => [status, problem])).toEqual([
      [500, 'the receiver answered with status 500'],
      [204, '']
    ])
  })

  test.each([
    [{ status: 429, headers: { 'retry-after': '3600' } }, hour],
    [{ status: 503, headers: { 'retry-after': '3600' } }, hour],
    [{ status: 429, headers: { 'retry-after': '1' } }, 5 * second],
    [{ status: 429, headers: { 'retry-after': '999999' } }, 24 * hour],
    [{ status: 429, headers: { 'retry-after': 'soon' } }, 5 * second],
    [{ status: 429 }, 5 * second],
    [{ status: 500, headers: { 'retry-after': '3600' } }, 5 * second]
  ])('%j is repeated after %i ms', async (reply, waitMs) => {
    await using receiver = await startCallbackReceiver({ '/': reply })
    await using callbacks = await openCallbacks([`127.0.0.1:${receiver.port}`])
    callbacks.start()
    await callbacks.add({ taskId: 'task-1', url: `${receiver.origin}/` })
    await expect.poll(async () => (await callbacks.deliveries('task-1')).length).toBe(1)
    expect((await callbacks.row('task-1'))?.next_at_ms).toBe(callbacks.clock.now() + waitMs)
  })

  test('is one that a redirect answers, which is not followed', async () => {
    await using inside = await startCallbackReceiver()
    await using receiver = await startCallbackReceiver({ '/': { status: 307, headers: { location: `${inside.origin}/` } } })
    await using callbacks = await openCallbacks([`127.0.0.1:${receiver.port}`, `127.0.0.1:${inside.port}`])
    callbacks.start()
    await callbacks.add({ taskId: 'task-1', url: `${receiver.origin}/` })
    await expect
      .poll(() => callbacks.deliveries('task-1'))
      .toMatchObject([{ status: 307, problem: 'the receiver answered with status 307: redirects are not followed' }])
    expect(inside.connections.accepted).toBe(0)
  })

  test('is one to a private address that the operator does not allow', async () => {
    await using receiver = await startCallbackReceiver()
    await using callbacks = await openCallbacks([])
    callbacks.start()
    await callbacks.add({ taskId: 'task-1', url: `https://127.0.0.1:${receiver.port}/` }, { taskId: 'task-2', url: 'https://10.0.0.1/' })
    await expect
      .poll(() => callbacks.deliveries('task-1'))
      .toMatchObject([{ status: 0, problem: `the port of 127.0.0.1:${receiver.port} is not allowed` }])
    await expect.poll(() => callbacks.deliveries('task-2')).toMatchObject([{ status: 0, problem: '10.0.0.1 is not a public host' }])
    expect(receiver.connections.accepted).toBe(0)
  })

  test('is one that is not answered in time', async () => {
    await using receiver = await startCallbackReceiver({ '/': 'hang' })
    await using callbacks = await openCallbacks([`127.0.0.1:${receiver.port}`])
    callbacks.start({ timeoutMs: 200 })
    await callbacks.add({ taskId: 'task-1', url: `${receiver.origin}/` })
    await expect
      .poll(() => callbacks.deliveries('task-1'))
      .toMatchObject([{ status: 0, problem: 'the url did not answer within 0.2 seconds' }])
  })

  test('is one for which no body can be made, which the log explains', async () => {
    await using receiver = await startCallbackReceiver()
    await using callbacks = await openCallbacks([`127.0.0.1:${receiver.port}`])
    let calls = 0
    const body = async () => {
      if (calls++ === 0) throw new Error('the blob store is away')
      return '{}'
    }
    callbacks.start({}, { body })
    await callbacks.add({ taskId: 'task-1', url: `${receiver.origin}/` })
    await expect
      .poll(() => callbacks.deliveries('task-1'))
      .toMatchObject([{ status: 0, problem: 'the server could not make the callback; its log says why' }])
    expect(callbacks.logged()).toContain('the blob store is away')
    await callbacks.pass(5 * second)
    expect((await receiver.waitFor('/', 1)).length).toBe(1)
  })
})

test('stops at 410', async () => {
  await using receiver = await startCallbackReceiver({ '/': { status: 410 } })
  await using callbacks = await openCallbacks([`127.0.0.1:${receiver.port}`])
  callbacks.start()
  await callbacks.add({ taskId: 'task-1', url: `${receiver.origin}/` })
  await expect.poll(async () => (await callbacks.row('task-1'))?.state).toBe('stopped')
  expect(await callbacks.deliveries('task-1')).toMatchObject([
    { status: 410, problem: 'the receiver answered with status 410: it wants no more callbacks' }
  ])
})

test('counts the status of an answer whose body never ends', async () => {
  await using receiver = await startCallbackReceiver({ '/': 'hang in the body' })
  await using callbacks = await openCallbacks([`127.0.0.1:${receiver.port}`])
  callbacks.start({ timeoutMs: 300 })
  await callbacks.add({ taskId: 'task-1', url: `${receiver.origin}/` })
  await expect.poll(async () => (await callbacks.row('task-1'))?.state).toBe('delivered')
})

test('gives up a callback whose task is no longer kept', async () => {
  await using callbacks = await openCallbacks([])
  callbacks.start({}, { body: async () => undefined })
  await callbacks.add({ taskId: 'task-1', url: 'https://127.0.0.1/' })
  await expect.poll(async () => (await callbacks.row('task-1'))?.state).toBe('failed')
  expect(await callbacks.deliveries('task-1')).toMatchObject([{ status: 0, problem: 'the task is no longer kept' }])
})

test('is not kept from other receivers by 500 callbacks to one that hangs, which gets 4 at a time', async () => {
  await using hanging = await startCallbackReceiver(Object.fromEntries(Array.from({ length: 500 }, (_, index) => [`/${index}`, 'hang'])))
  await using receiver = await startCallbackReceiver()
  await using callbacks = await openCallbacks([`127.0.0.1:${hanging.port}`, `127.0.0.1:${receiver.port}`])
  await callbacks.add(...Array.from({ length: 500 }, (_, index) => ({ taskId: `hanging-${index}`, url: `${hanging.origin}/${index}` })))
  callbacks.start()
  await expect.poll(() => hanging.received.length).toBe(4)
  await callbacks.pass(1)
  await callbacks.add(...Array.from({ length: 100 }, (_, index) => ({ taskId: `good-${index}`, url: `${receiver.origin}/` })))
  await receiver.waitFor('/', 100)
  expect([hanging.received.length, hanging.connections.open]).toEqual([4, 4])
})

test('goes on with a receiver as places become free', async () => {
  await using receiver = await startCallbackReceiver()
  await using callbacks = await openCallbacks([`127.0.0.1:${receiver.port}`])
  await callbacks.add(...Array.from({ length: 300 }, (_, index) => ({ taskId: `task-${index}`, url: `${receiver.origin}/${index}` })))
  callbacks.start()
  await expect.poll(() => receiver.received.length, { timeout: 10_000 }).toBe(300)
  expect(new Set(receiver.received.map(({ path }) => path)).size).toBe(300)
})

test('has no more than its limit under way at a time', async () => {
  await using one = await startCallbackReceiver({ '/': 'hang' })
  await using two = await startCallbackReceiver({ '/': 'hang' })
  await using callbacks = await openCallbacks([`127.0.0.1:${one.port}`, `127.0.0.1:${two.port}`])
  await callbacks.add(
    ...Array.from({ length: 10 }, (_, index) => ({ taskId: `task-${index}`, url: `${index % 2 === 0 ? one.origin : two.origin}/` }))
  )
  callbacks.start({ maxConcurrent: 3, maxPerReceiver: 2 })
  await expect.poll(() => one.received.length + two.received.length).toBe(3)
  const leased = callbacks.database.query.selectFrom('callbacks').select('id').where('attempts', '>', 0)
  expect(await leased.execute()).toHaveLength(3)
})

test('leaves what is cut off by its end to the next one, which sends it again under the same id', async () => {
  await using receiver = await startCallbackReceiver({ '/': ['hang', { status: 200 }] })
  await using callbacks = await openCallbacks([`127.0.0.1:${receiver.port}`])
  const first = callbacks.start()
  await callbacks.add({ taskId: 'task-1', url: `${receiver.origin}/` })
  await receiver.waitFor('/', 1)
  await first[Symbol.asyncDispose]()
  expect([(await callbacks.row('task-1'))?.state, await callbacks.deliveries('task-1')]).toEqual(['pending', []])
  await receiver.closed()

  callbacks.start()
  await callbacks.pass(60 * second)
  const [cut, whole] = await receiver.waitFor('/', 2)
  expect(whole?.headers['webhook-id']).toBe(cut?.headers['webhook-id'])
  await expect.poll(async () => (await callbacks.row('task-1'))?.state).toBe('delivered')
})

test('sends again what was delivered and not recorded', async () => {
  await using receiver = await startCallbackReceiver()
  await using callbacks = await openCallbacks([`127.0.0.1:${receiver.port}`])
  const steps: string[] = []
  const crashed = callbacks.start(
    {},
    {
      checkpoint: (step) => {
        steps.push(step)
        throw new Error('the process ended here')
      }
    }
  )
  await callbacks.add({ taskId: 'task-1', url: `${receiver.origin}/` })
  await receiver.waitFor('/', 1)
  await expect.poll(() => steps).toEqual(['called'])
  await crashed[Symbol.asyncDispose]()

  callbacks.start()
  await callbacks.pass(60 * second)
  await receiver.waitFor('/', 2)
  await expect.poll(async () => (await callbacks.row('task-1'))?.state).toBe('delivered')
})

test('lets what is being sent finish when it ends, and begins nothing more', async () => {
  await using receiver = await startCallbackReceiver()
  await using callbacks = await openCallbacks([`127.0.0.1:${receiver.port}`])
  const { promise: mayGoOn, resolve: goOn } = Promise.withResolvers<void>()
  const { promise: isAsked, resolve: asked } = Promise.withResolvers<void>()
  const body = async () => {
    asked()
    await mayGoOn
    return '{}'
  }
  const dispatcher = callbacks.start({ drainMs: 10_000 }, { body })
  await callbacks.add({ taskId: 'task-1', url: `${receiver.origin}/` })
  await isAsked
  const ended = dispatcher[Symbol.asyncDispose]()
  await callbacks.add({ taskId: 'task-2', url: `${receiver.origin}/` })
  goOn()
  await ended
  expect([(await callbacks.row('task-1'))?.state, (await callbacks.row('task-2'))?.attempts]).toEqual(['delivered', 0])
})

test('shares the work with another process, and each callback is sent once', async () => {
  await using receiver = await startCallbackReceiver()
  await using callbacks = await openCallbacks([`127.0.0.1:${receiver.port}`])
  await using other = await callbacks.openAgain()
  callbacks.start()
  callbacks.start({}, { database: other })
  await callbacks.add(...Array.from({ length: 200 }, (_, index) => ({ taskId: `task-${index}`, url: `${receiver.origin}/${index}` })))
  const open = callbacks.database.query.selectFrom('callbacks').select('id').where('state', '=', 'pending')
  await expect.poll(async () => (await open.execute()).length, { timeout: 10_000 }).toBe(0)
  expect(receiver.received.map(({ path }) => path).toSorted()).toEqual(Array.from({ length: 200 }, (_, index) => `/${index}`).toSorted())
})

describe('redelivery', () => {
  test('sends again what was delivered, under the same id', async () => {
    await using receiver = await startCallbackReceiver()
    await using callbacks = await openCallbacks([`127.0.0.1:${receiver.port}`])
    const dispatcher = callbacks.start()
    await callbacks.add({ taskId: 'task-1', url: `${receiver.origin}/` })
    await expect.poll(async () => (await callbacks.row('task-1'))?.state).toBe('delivered')
    expect(await dispatcher.redeliver('task-1', 'default')).toBe(true)
    const [one, two] = await receiver.waitFor('/', 2)
    expect(two?.headers['webhook-id']).toBe(one?.headers['webhook-id'])
    await expect.poll(async () => (await callbacks.deliveries('task-1')).length).toBe(2)
  })

  test('gives a failed callback all its tries again', async () => {
    await using receiver = await startCallbackReceiver({ '/': [{ status: 410 }, { status: 500 }] })
    await using callbacks = await openCallbacks([`127.0.0.1:${receiver.port}`])
    const dispatcher = callbacks.start()
    await callbacks.add({ taskId: 'task-1', url: `${receiver.origin}/` })
    await expect.poll(async () => (await callbacks.row('task-1'))?.state).toBe('stopped')
    await dispatcher.redeliver('task-1', 'default')
    await expect.poll(async () => (await callbacks.deliveries('task-1')).length).toBe(2)
    expect(await callbacks.row('task-1')).toMatchObject({ state: 'pending', attempts: 1, next_at_ms: callbacks.clock.now() + 5 * second })
  })

  test('is refused for a task without a callback, and for another organization’s', async () => {
    await using callbacks = await openCallbacks([])
    const dispatcher = callbacks.start()
    await callbacks.add({ taskId: 'task-1', url: 'https://127.0.0.1/', dueMs: callbacks.clock.now() + hour })
    expect([await dispatcher.redeliver('task-1', 'acme'), await dispatcher.redeliver('task-2', 'default')]).toEqual([false, false])
  })
})

test('writes neither the path of a receiver nor the body nor a secret into the log', async () => {
  await using receiver = await startCallbackReceiver({ '/path-with-token': { status: 500 } })
  await using callbacks = await openCallbacks([`127.0.0.1:${receiver.port}`])
  callbacks.start()
  await callbacks.add(
    { taskId: 'task-1', url: `${receiver.origin}/path-with-token` },
    { taskId: 'task-2', url: 'https://127.0.0.1/path-with-token' }
  )
  await expect.poll(() => callbacks.logged()).toContain('"taskId":"task-1"')
  await expect.poll(() => callbacks.logged()).toContain('"taskId":"task-2"')
  expect(callbacks.logged()).not.toMatch(/path-with-token|task_id|whsec_|v1,/)
})
