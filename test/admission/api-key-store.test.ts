import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { hashApiKey } from '../../src/admission/api-key.ts'
import { type ApiKeyStore, createApiKeyStore, prepareInsert } from '../../src/admission/api-key-store.ts'
import { openDatabase } from '../../src/storage/database.ts'
import { DatabaseError } from '../../src/storage/database-error.ts'
import { countChange, createLiveCopies, type LiveCopiesOptions } from '../../src/storage/live-copies.ts'
import { migrations } from '../../src/storage/migrations.ts'
import { openSqliteConnection } from '../../src/storage/sqlite/sqlite-connection.ts'
import { createTemporaryDirectory, type TemporaryDirectory } from '../support/temporary-directory.ts'

const generate = { name: 'default', scopes: ['generate'] } as const

test('begins empty, and knows a key from the moment it was created', async () => {
  await using directory = await createTemporaryDirectory()
  await using opened = await openStore(directory)
  expect(opened.keys.isEmpty()).toBe(true)
  const { id, key } = await opened.keys.create(generate)
  expect(find(opened.keys, key)).toEqual({
    hash: Buffer.from(hashApiKey(key)),
    caller: { organizationId: 'default', apiKeyId: id, scopes: ['generate'] },
    expiresAtMs: Number.POSITIVE_INFINITY
  })
  expect([opened.keys.isEmpty(), opened.keys.isEmpty('generate'), opened.keys.isEmpty('admin')]).toEqual([false, false, true])
})

test('knows the keys again after a restart', async () => {
  await using directory = await createTemporaryDirectory()
  const { key } = await inOneProcess(directory, (keys) => keys.create({ ...generate, scopes: ['generate', 'admin'] }))
  await using opened = await openStore(directory)
  expect(find(opened.keys, key)?.caller.scopes).toEqual(['generate', 'admin'])
})

test('hears of a key that another server makes while the keys are loaded for the first time', async () => {
  await using directory = await createTemporaryDirectory()
  await using database = await openDatabase({ dataDir: directory.path })
  await using others = await createLiveCopies({ database })
  await using other = await createApiKeyStore({ database, copies: others })
  const announced = Promise.withResolvers<void>()
  const onAnnouncement: typeof database.onAnnouncement = (listener) => {
    queueMicrotask(() => {
      listener('settings')
      announced.resolve()
    })
    return database.onAnnouncement(listener)
  }
  const starting = createLiveCopies({ database: { ...database, onAnnouncement } })
  await announced.promise
  const { key } = await other.create(generate)
  await using copies = await starting
  await using keys = await createApiKeyStore({ database, copies })
  await expect.poll(() => find(keys, key)?.caller.scopes).toEqual(['generate'])
})

test('writes no key to the disk', async () => {
  await using directory = await createTemporaryDirectory()
  await using opened = await openStore(directory)
  const { key } = await opened.keys.create(generate)
  await opened.keys.syncConfigured([{ key: 'configured-key-of-ours', scopes: ['generate'] }])
  const files = await Promise.all((await readdir(directory.path)).map((name) => readFile(join(directory.path, name), 'latin1')))
  expect(files.filter((text) => text.includes(key.slice(19, 40)) || text.includes('configured-key'))).toEqual([])
})

test('replaces the keys that were created under the same name, and no others', async () => {
  await using directory = await createTemporaryDirectory()
  await using opened = await openStore(directory)
  const { keys } = opened
  const first = await keys.create(generate)
  const second = await keys.create(generate)
  const admin = await keys.create({ name: 'admin', scopes: ['admin'] })
  await keys.syncConfigured([{ key: 'configured-key-of-ours', scopes: ['generate'] }])
  const replacement = await keys.replace(generate)
  const known = [first.key, second.key, admin.key, 'configured-key-of-ours', replacement.key].map((key) => find(keys, key) !== undefined)
  expect(known).toEqual([false, false, true, true, true])
})

test('counts no expired key', async () => {
  await using directory = await createTemporaryDirectory()
  await using opened = await openStore(directory)
  await opened.keys.create({ ...generate, expiresAtMs: Date.now() - 1 })
  expect(opened.keys.isEmpty()).toBe(true)
})

test('knows the keys of the configuration, and forgets those that have left it', async () => {
  await using directory = await createTemporaryDirectory()
  const { key: created } = await inOneProcess(directory, (keys) => keys.create(generate))
  await inOneProcess(directory, (keys) =>
    keys.syncConfigured([
      { key: 'the-first-configured-key', scopes: ['generate'] },
      { key: 'the-second-configured-key', scopes: ['admin'] }
    ])
  )
  await using opened = await openStore(directory)
  await opened.keys.syncConfigured([{ key: 'the-second-configured-key', scopes: ['admin'] }])
  expect(find(opened.keys, 'the-first-configured-key')).toBeUndefined()
  expect(find(opened.keys, 'the-second-configured-key')?.caller.scopes).toEqual(['admin'])
  await opened.keys.syncConfigured([])
  expect(find(opened.keys, 'the-second-configured-key')).toBeUndefined()
  expect(find(opened.keys, created)).toBeDefined()
})

test('knows a key of the configuration again that had left it, under the same id and with its new scopes', async () => {
  await using directory = await createTemporaryDirectory()
  await using opened = await openStore(directory)
  const { keys } = opened
  await keys.syncConfigured([{ key: 'a-configured-key-of-ours', scopes: ['generate'] }])
  const before = find(keys, 'a-configured-key-of-ours')
  await keys.syncConfigured([])
  await keys.syncConfigured([{ key: 'a-configured-key-of-ours', scopes: ['admin'] }])
  expect(find(keys, 'a-configured-key-of-ours')?.caller).toEqual({ ...before?.caller, scopes: ['admin'] })
})

test('gives a key that is configured twice the scopes of both places', async () => {
  await using directory = await createTemporaryDirectory()
  await using opened = await openStore(directory)
  await opened.keys.syncConfigured([
    { key: 'a-configured-key-of-ours', scopes: ['generate'] },
    { key: 'a-configured-key-of-ours', scopes: ['admin'] }
  ])
  expect(find(opened.keys, 'a-configured-key-of-ours')?.caller.scopes).toEqual(['generate', 'admin'])
})

test('takes a key into the configuration that was created before', async () => {
  await using directory = await createTemporaryDirectory()
  await using opened = await openStore(directory)
  const { key } = await opened.keys.create(generate)
  await opened.keys.syncConfigured([{ key, scopes: ['generate'] }])
  await opened.keys.replace(generate)
  expect(find(opened.keys, key)).toBeDefined()
})

test.each(['fifteen-chars--', 'x'.repeat(513), 'with a blank in it', 'schlüssel-mit-umlaut'])(
  'refuses the configured key %.20j',
  async (key) => {
    await using directory = await createTemporaryDirectory()
    await using opened = await openStore(directory)
    await expect(opened.keys.syncConfigured([{ key, scopes: ['generate'] }])).rejects.toThrow(
      'an API key in the configuration must be 16 to 512 visible ASCII characters'
    )
  }
)

test.each([
  [
    'sk-atelier-0123456789abcdefghijABCDEFGHIJ012345068NI5',
    'an API key in the configuration, which begins with sk-atelier-, was copied with a mistake'
  ]
])('refuses the configured key %.20j, whose checksum is wrong', async (key, problem) => {
  await using directory = await createTemporaryDirectory()
  await using opened = await openStore(directory)
  await expect(opened.keys.syncConfigured([{ key, scopes: ['generate'] }])).rejects.toThrow(problem)
})

test('finds out by itself what nobody announces', async () => {
  await using directory = await createTemporaryDirectory()
  await using opened = await openStore(directory, { checkEveryMs: 20 })
  const { key, insert } = prepareInsert(generate, opened.database)
  // Changes of this process are not announced to it.
  await opened.database.commit([insert, countChange(opened.database)])
  while (find(opened.keys, key) === undefined) await wait(10)
})

test('is current until the database has not answered for a while, and as soon as it answers again', async () => {
  await using directory = await createTemporaryDirectory()
  await using opened = await openStore(directory)
  const { key } = await opened.keys.create(generate)
  let down = false
  const database = {
    ...opened.database,
    get query() {
      if (down) throw new DatabaseError('no connection', 'TEST')
      return opened.database.query
    }
  }
  await using copies = await createLiveCopies({ database }, { checkEveryMs: 10, maxUnconfirmedMs: 300 })
  await using keys = await createApiKeyStore({ database, copies })
  expect(keys.isCurrent()).toBe(true)
  down = true
  expect([keys.isCurrent(), find(keys, key) !== undefined]).toEqual([true, true])
  while (keys.isCurrent()) await wait(10)
  expect(find(keys, key)).toBeDefined()
  down = false
  while (!keys.isCurrent()) await wait(10)
})

test('writes the last uses to the database when it ends, and never an older one over a newer one', async () => {
  await using directory = await createTemporaryDirectory()
  const { id } = await inOneProcess(directory, (keys) => keys.create(generate))
  const beforeMs = Date.now()
  await inOneProcess(directory, async (keys) => {
    keys.recordUse(id)
    expect(keys.unwrittenUse(id)).toBeGreaterThanOrEqual(beforeMs)
  })
  await using opened = await openStore(directory)
  const lastUse = () =>
    opened.database.query.selectFrom('api_keys').select('last_used_at_ms').where('id', '=', id).executeTakeFirstOrThrow()
  const written = await lastUse()
  expect(written.last_used_at_ms).toBeGreaterThanOrEqual(beforeMs)
  const future = Date.now() + 1_000_000
  await opened.database.query.updateTable('api_keys').set({ last_used_at_ms: future }).where('id', '=', id).execute()
  await inOneProcess(directory, async (keys) => keys.recordUse(id))
  expect((await lastUse()).last_used_at_ms).toBe(future)
})

test('keys of before the scopes were told apart can do what they could', async () => {
  await using directory = await createTemporaryDirectory()
  const first = migrations.slice(0, 1)
  const before = openSqliteConnection(join(directory.path, 'atelier.db'), first)
  const hashes = ['generate', 'admin', 'generate admin'].map((scopes, index) => {
    const hash = String(index).repeat(64)
    const sql = `insert into api_keys (id, organization_id, name, hash, hint, scopes, source, created_at_ms) values ('${index}', 'default', '', '${hash}', '', '${scopes}', 'created', 0)`
    expect(before.run([{ readOnly: false, statements: [{ sql, parameters: [] }] }])).toMatchObject([{ results: [{ affectedRows: 1 }] }])
    return hash
  })
  before.close()
  await using opened = await openStore(directory)
  expect(hashes.map((hash) => opened.keys.find(Buffer.from(hash, 'hex'))?.caller)).toEqual([
    { organizationId: 'default', apiKeyId: '0', scopes: ['generate', 'edit', 'read_tasks'] },
    { organizationId: 'default', apiKeyId: '1', scopes: ['admin'] },
    { organizationId: 'default', apiKeyId: '2', scopes: ['generate', 'edit', 'read_tasks', 'admin'] }
  ])
})

test('notices keys that another process creates and revokes', async () => {
  await using directory = await createTemporaryDirectory()
  await using server = await openStore(directory)
  const { key: lost } = await server.keys.create(generate)
  const { key } = await inOneProcess(directory, (keys) => keys.replace(generate))
  while (find(server.keys, key) === undefined) await wait(20)
  expect(find(server.keys, lost)).toBeUndefined()
})

async function openStore(directory: TemporaryDirectory, options: LiveCopiesOptions = {}) {
  await using parts = new AsyncDisposableStack()
  const database = parts.use(await openDatabase({ dataDir: directory.path }))
  const copies = parts.use(await createLiveCopies({ database }, options))
  const keys = parts.use(await createApiKeyStore({ database, copies }))
  const owned = parts.move()
  return { keys, database, [Symbol.asyncDispose]: () => owned.disposeAsync() }
}

async function inOneProcess<T>(directory: TemporaryDirectory, act: (keys: ApiKeyStore) => Promise<T>): Promise<T> {
  await using opened = await openStore(directory)
  return await act(opened.keys)
}

function find(keys: ApiKeyStore, key: string) {
  return keys.find(hashApiKey(key))
}
