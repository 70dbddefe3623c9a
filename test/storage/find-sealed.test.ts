import { join } from 'node:path'
import { expect, test } from 'vitest'
import { type Database, openDatabase } from '../../src/storage/database.ts'
import { findSealed, findUnknownKeys } from '../../src/storage/find-sealed.ts'
import { openMasterKey } from '../../src/storage/master-key.ts'
import { neverMs } from '../../src/storage/schema.ts'
import { createSealer, type Sealer } from '../../src/storage/seal.ts'
import { addSealedRows, createKeyHolder } from '../support/sealed-rows.ts'
import { createTemporaryDirectory } from '../support/temporary-directory.ts'

const before = await openMasterKey({ masterKey: 'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=', dataDir: '/nowhere' })
const after = await openMasterKey({ masterKey: 'QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8=', dataDir: '/nowhere' })
const oldSealer = createSealer({ keys: before.deriveAll('requests') })
const newSealer = createSealer({ keys: after.deriveAll('requests') })

test('finds nothing in a new database', async () => {
  await using stored = await openStored()
  expect([await findSealed(stored.database), await findUnknownKeys(stored.database, after.ids())]).toEqual([undefined, []])
})

test('names what cannot be opened without a master key', async () => {
  await using stored = await openStored()
  await addSecret(stored.database, 'a', oldSealer)
  expect(await findSealed(stored.database)).toBe('the signing secrets of its callbacks')
  await addTask(stored.database, 'a', oldSealer)
  expect(await findSealed(stored.database)).toBe('the requests and results of its tasks and the signing secrets of its callbacks')
})

test('names every kind of value that needs a master key, and the keys of secrets that are not known', async () => {
  await using stored = await openStored()
  await addSealedRows(stored.database, createKeyHolder(1), 'acme')
  expect(await findSealed(stored.database)).toBe(
    'the requests and results of its tasks, the addresses of its callbacks, the signing secrets of its callbacks, ' +
      'the credentials for providers and the keys for moderation endpoints'
  )
  expect(await findUnknownKeys(stored.database, ['00000002'])).toEqual(['00000001'])
  for (const table of ['tasks', 'signing_secrets', 'credentials'] as const) await stored.database.query.deleteFrom(table).execute()
  expect(await findUnknownKeys(stored.database, ['00000002'])).toEqual(['00000001'])
})

test('a lost key file is not replaced while the database holds something sealed', async () => {
  await using stored = await openStored()
  const open = () => openMasterKey({ dataDir: stored.dataDir }, { findSealed: () => findSealed(stored.database) })
  await addTask(stored.database, 'a', oldSealer)
  await expect(open()).rejects.toThrow(
    `the master key file ${join(stored.dataDir, 'master-key')} is missing, and without its key the requests and results of its tasks cannot be opened any more`
  )
})

test.each([['tasks', addTask] as const, ['signing secrets', addSecret] as const])(
  'names the keys of %s that are not known',
  async (_, add) => {
    await using stored = await openStored()
    await add(stored.database, 'a', oldSealer)
    await add(stored.database, 'b', newSealer)
    expect(await findUnknownKeys(stored.database, after.ids())).toEqual(['5dd10d49'])
    expect(await findUnknownKeys(stored.database, [...after.ids(), ...before.ids()])).toEqual([])
  }
)

async function openStored() {
  const directory = await createTemporaryDirectory()
  const dataDir = join(directory.path, 'data')
  const database = await openDatabase({ dataDir })
  return {
    database,
    dataDir,
    async [Symbol.asyncDispose]() {
      await database[Symbol.asyncDispose]()
      await directory[Symbol.asyncDispose]()
    }
  }
}

async function addTask(database: Database, id: string, sealer: Sealer): Promise<void> {
  const request = sealer.seal(new TextEncoder().encode('a cat'), { purpose: 'request', organizationId: 'default', id })
  await database.query
    .insertInto('tasks')
    .values({
      id,
      organization_id: 'default',
      api_key_id: 'key-1',
      operation: 'generation',
      state: 'queued',
      mode: 'detached',
      revision: 1,
      trace_id: '',
      fingerprint: '',
      on_interrupt: 'fail',
      request,
      result: null,
      provider: '',
      model: '',
      owner: null,
      fence: 0,
      cancel_requested_at_ms: null,
      lost_at_ms: null,
      rejoined: 0,
      created_at_ms: 1,
      started_at_ms: null,
      finished_at_ms: null,
      expires_at_ms: neverMs
    })
    .execute()
}

async function addSecret(database: Database, id: string, sealer: Sealer): Promise<void> {
  const secret = sealer.seal(new TextEncoder().encode('whsec'), { purpose: 'signing secret', organizationId: 'default', id })
  // A past end: an organization has one newest secret.
  const row = { id, organization_id: 'default', secret, created_at_ms: 1, expires_at_ms: 2 }
  await database.query.insertInto('signing_secrets').values(row).execute()
}
