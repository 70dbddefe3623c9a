import { afterAll, expect, test } from 'vitest'
import { openDatabase } from '../../src/storage/database.ts'
import { createCallbackSecrets } from '../../src/tasks/callbacks/callback-secrets.ts'
import { startCallbackReceiver } from '../support/callback-receiver.ts'
import { type Callbacks, openCallbacks } from '../support/callbacks.ts'
import { startPostgres } from '../support/postgres.ts'

const cluster = await startPostgres()
afterAll(() => cluster[Symbol.asyncDispose]())

test('two processes share the work on PostgreSQL, and each callback is sent once', async () => {
  await using receiver = await startCallbackReceiver()
  await using callbacks = await openOnPostgres([`127.0.0.1:${receiver.port}`])
  await using other = await callbacks.openAgain()
  callbacks.start()
  callbacks.start({}, { database: other })
  await callbacks.add(...Array.from({ length: 200 }, (_, index) => ({ taskId: `task-${index}`, url: `${receiver.origin}/${index}` })))
  const pending = callbacks.database.query.selectFrom('callbacks').select('id').where('state', '=', 'pending')
  await expect.poll(async () => (await pending.execute()).length, { timeout: 15_000 }).toBe(0)
  expect(receiver.received.map(({ path }) => path).toSorted()).toEqual(Array.from({ length: 200 }, (_, index) => `/${index}`).toSorted())
})

test('another process hears of a callback at once', async () => {
  await using receiver = await startCallbackReceiver()
  await using callbacks = await openOnPostgres([`127.0.0.1:${receiver.port}`])
  await using other = await callbacks.openAgain()
  callbacks.start({}, { database: other })
  await callbacks.add({ taskId: 'task-1', url: `${receiver.origin}/` })
  await receiver.waitFor('/', 1)
  await expect.poll(async () => (await callbacks.row('task-1'))?.state).toBe('delivered')
  expect(await callbacks.deliveries('task-1')).toMatchObject([{ status: 200, problem: '' }])
})

test('500 callbacks to a receiver that hangs do not delay others on PostgreSQL', async () => {
  await using hanging = await startCallbackReceiver(Object.fromEntries(Array.from({ length: 500 }, (_, index) => [`/${index}`, 'hang'])))
  await using receiver = await startCallbackReceiver()
  await using callbacks = await openOnPostgres([`127.0.0.1:${hanging.port}`, `127.0.0.1:${receiver.port}`])
  await callbacks.add(...Array.from({ length: 500 }, (_, index) => ({ taskId: `hanging-${index}`, url: `${hanging.origin}/${index}` })))
  callbacks.start()
  await expect.poll(() => hanging.received.length, { timeout: 5_000 }).toBe(4)
  await callbacks.add(...Array.from({ length: 50 }, (_, index) => ({ taskId: `good-${index}`, url: `${receiver.origin}/` })))
  await receiver.waitFor('/', 50)
  expect(hanging.received).toHaveLength(4)
})

test('processes that make and rotate secrets at once agree on PostgreSQL', async () => {
  await using callbacks = await openOnPostgres([])
  await using other = await callbacks.openAgain()
  const others = createCallbackSecrets({ database: other, sealer: callbacks.sealer, now: callbacks.clock.now })
  const all = await Promise.all(Array.from({ length: 20 }, (_, index) => (index % 2 === 0 ? callbacks.secrets : others).current('default')))
  expect(new Set(all).size).toBe(1)
  const made = await Promise.all(Array.from({ length: 6 }, (_, index) => (index % 2 === 0 ? callbacks.secrets : others).rotate('default')))
  expect(new Set(await others.signing('default'))).toEqual(new Set([...all, ...made]))
})

test('redelivery works on PostgreSQL', async () => {
  await using receiver = await startCallbackReceiver({ '/': [{ status: 410 }, { status: 200 }] })
  await using callbacks = await openOnPostgres([`127.0.0.1:${receiver.port}`])
  const dispatcher = callbacks.start()
  await callbacks.add({ taskId: 'task-1', url: `${receiver.origin}/` })
  await expect.poll(async () => (await callbacks.row('task-1'))?.state).toBe('stopped')
  expect([await dispatcher.redeliver('task-1', 'default'), await dispatcher.redeliver('task-1', 'acme')]).toEqual([true, false])
  await expect.poll(async () => (await callbacks.row('task-1'))?.state).toBe('delivered')
})

async function openOnPostgres(allow: readonly string[]): Promise<Callbacks> {
  const databaseUrl = await cluster.createDatabase()
  return await openCallbacks(allow, (dataDir) => openDatabase({ dataDir, databaseUrl }))
}
