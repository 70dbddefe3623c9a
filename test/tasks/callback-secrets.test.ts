import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { createLog } from '../../src/log.ts'
import type { DerivedKey } from '../../src/storage/derived-keys.ts'
import { createSealer } from '../../src/storage/seal.ts'
import { createCallbackSecrets } from '../../src/tasks/callbacks/callback-secrets.ts'
import { startCallbackReceiver } from '../support/callback-receiver.ts'
import { openCallbacks } from '../support/callbacks.ts'

const hour = 3_600_000

test('makes the secret at the first need: whsec_ and 32 bytes in base64, the same from then on', async () => {
  await using callbacks = await openCallbacks([])
  const secret = await callbacks.secrets.current('default')
  expect(secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/)
  expect([await callbacks.secrets.current('default'), await callbacks.secrets.signing('default')]).toEqual([secret, [secret]])
})

test('makes one secret, however many processes need the first one at once', async () => {
  await using callbacks = await openCallbacks([])
  await using other = await callbacks.openAgain()
  const { database, sealer, secrets } = callbacks
  const others = createCallbackSecrets({ database: other, sealer })
  const all = await Promise.all(Array.from({ length: 20 }, (_, index) => (index % 2 === 0 ? secrets : others).current('default')))
  expect(new Set(all).size).toBe(1)
  expect(await database.query.selectFrom('signing_secrets').select('id').execute()).toHaveLength(1)
})

test('lets the old secret sign along for 24 hours', async () => {
  await using callbacks = await openCallbacks([])
  const old = await callbacks.secrets.current('default')
  const renewed = await callbacks.secrets.rotate('default')
  expect(renewed).not.toBe(old)
  expect([await callbacks.secrets.current('default'), await callbacks.secrets.signing('default')]).toEqual([renewed, [renewed, old]])
  callbacks.clock.advance(24 * hour - 1)
  expect(await callbacks.secrets.signing('default')).toEqual([renewed, old])
  callbacks.clock.advance(1)
  expect(await callbacks.secrets.signing('default')).toEqual([renewed])
})

test('rotates an organization that has no secret yet', async () => {
  await using callbacks = await openCallbacks([])
  const secret = await callbacks.secrets.rotate('default')
  expect(await callbacks.secrets.signing('default')).toEqual([secret])
})

test('has one newest secret after rotations by several processes at once', async () => {
  await using callbacks = await openCallbacks([])
  await using other = await callbacks.openAgain()
  const others = createCallbackSecrets({ database: other, sealer: callbacks.sealer, now: callbacks.clock.now })
  const made = await Promise.all(Array.from({ length: 6 }, (_, index) => (index % 2 === 0 ? callbacks.secrets : others).rotate('default')))
  const signing = await callbacks.secrets.signing('default')
  expect([new Set(signing), made.includes(await callbacks.secrets.current('default'))]).toEqual([new Set(made), true])
})

test('keeps no expired secret beyond the next rotation', async () => {
  await using callbacks = await openCallbacks([])
  await callbacks.secrets.rotate('default')
  await callbacks.secrets.rotate('default')
  callbacks.clock.advance(24 * hour)
  await callbacks.secrets.rotate('default')
  expect(await callbacks.database.query.selectFrom('signing_secrets').select('id').execute()).toHaveLength(2)
})

test('keeps the secrets of organizations apart', async () => {
  await using callbacks = await openCallbacks([])
  const { database, secrets } = callbacks
  await database.query.insertInto('organizations').values({ id: 'acme', name: 'Acme', created_at_ms: 0 }).execute()
  const ofAcme = await secrets.current('acme')
  const ofDefault = await secrets.rotate('default')
  expect([await secrets.signing('acme'), await secrets.signing('default')]).toEqual([[ofAcme], [ofDefault]])
})

test('keeps them sealed', async () => {
  await using callbacks = await openCallbacks([])
  const secret = await callbacks.secrets.current('default')
  const [row] = await callbacks.database.query.selectFrom('signing_secrets').selectAll().execute()
  const bytes = Buffer.from(secret.slice('whsec_'.length), 'base64')
  expect([bytes.length, Buffer.from(row?.secret ?? []).includes(bytes)]).toEqual([32, false])
})

test('a secret that gets into a log line all the same is blanked', async () => {
  await using callbacks = await openCallbacks([])
  const lines: string[] = []
  const log = createLog({ level: 'info', destination: { write: (line) => lines.push(line) } })
  const secret = await callbacks.secrets.current('default')
  log.warn({ err: new Error(`cannot sign with ${secret}`) }, `the secret is ${secret}`)
  expect([lines.join('').includes(secret), lines.join('').includes('the secret is [secret]"')]).toEqual([false, true])
})

test('seals anew what an earlier master key sealed, which can then go', async () => {
  await using callbacks = await openCallbacks([])
  const { database } = callbacks
  const older = { keyId: '00000001', key: randomBytes(32) }
  const newer = { keyId: '00000002', key: randomBytes(32) }
  const secretsWith = (...keys: [DerivedKey, ...DerivedKey[]]) => createCallbackSecrets({ database, sealer: createSealer({ keys }) })
  const secret = await secretsWith(older).current('default')
  expect([await secretsWith(newer, older).reseal(), await secretsWith(newer, older).reseal()]).toEqual([1, 0])
  expect(await secretsWith(newer).current('default')).toBe(secret)
})

test('a callback after a rotation carries both signatures', async () => {
  await using receiver = await startCallbackReceiver()
  await using callbacks = await openCallbacks([`127.0.0.1:${receiver.port}`])
  callbacks.start()
  await callbacks.secrets.current('default')
  await callbacks.secrets.rotate('default')
  await callbacks.add({ taskId: 'task-1', url: `${receiver.origin}/` })
  const [received] = await receiver.waitFor('/', 1)
  expect(received?.headers['webhook-signature']).toMatch(/^v1,[A-Za-z0-9+/]{43}= v1,[A-Za-z0-9+/]{43}=$/)
})
