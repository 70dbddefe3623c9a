import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { Client } from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Database, openDatabase } from '../../src/storage/database.ts'
import { type PostgresCluster, startPostgres } from '../support/postgres.ts'
import { startPostgresProxy } from '../support/postgres-proxy.ts'

let cluster: PostgresCluster

beforeAll(async () => {
  cluster = await startPostgres()
})

afterAll(() => cluster[Symbol.asyncDispose]())

test.each(['fast', 'immediate'] as const)('survives a restart (%s) between two calls', async (mode) => {
  await using database = await open(await cluster.createDatabase())
  await Promise.all(Array.from({ length: 50 }, (_, index) => add(database, `before-${index}`)))
  await cluster.restart(mode)
  await add(database, 'after')
  expect(await count(database)).toBe(52)
})

test('waits for a server that is back in a moment', async () => {
  await using proxy = await startPostgresProxy(await cluster.createDatabase())
  await using database = await open(proxy.databaseUrl)
  proxy.rule = { kind: 'cutBefore', text: '' }
  proxy.cutAll()
  const added = add(database, 'acme')
  await expect.poll(() => proxy.cuts).toBeGreaterThan(1)
  proxy.rule = { kind: 'pass' }
  await added
  expect(await count(database)).toBe(2)
})

test('says at once that it is unavailable while the server is down, and works again when it is back', async () => {
  await using database = await open(await cluster.createDatabase())
  const heard: unknown[] = []
  database.onAnnouncement((topic) => heard.push(topic))
  await cluster.kill9()
  const unavailable = { name: 'DatabaseError', code: 'DATABASE_UNREACHABLE', isUnavailable: true, isUnknown: false }
  const outcomes = await Promise.allSettled([add(database, 'one'), add(database, 'two'), count(database)])
  for (const outcome of outcomes) expect(outcome).toMatchObject({ status: 'rejected', reason: unavailable })
  const soon = new Promise((resolve) => setTimeout(resolve, 0, 'it waits'))
  await expect(Promise.race([soon, add(database, 'three')])).rejects.toMatchObject(unavailable)

  await cluster.start()
  await expect
    .poll(
      () =>
        add(database, 'later').then(
          () => true,
          () => false
        ),
      { timeout: 5_000 }
    )
    .toBe(true)
  await expect.poll(() => heard, { timeout: 5_000 }).toContain(undefined)
  expect(await count(database)).toBe(2)
})

test('says that it is unavailable where the network swallows everything', async () => {
  await using proxy = await startPostgresProxy(await cluster.createDatabase())
  await using database = await open(proxy.databaseUrl)
  proxy.rule = { kind: 'hang' }
  proxy.cutAll()
  await expect(add(database, 'one')).rejects.toMatchObject({ isUnavailable: true, isUnknown: false })
  proxy.rule = { kind: 'pass' }
  await expect
    .poll(
      () =>
        add(database, 'later').then(
          () => true,
          () => false
        ),
      { timeout: 10_000 }
    )
    .toBe(true)
})

test('closes within seconds where the server does not answer any more', async () => {
  await using proxy = await startPostgresProxy(await cluster.createDatabase())
  const database = await open(proxy.databaseUrl)
  proxy.rule = { kind: 'hang' }
  await expect(database[Symbol.asyncDispose]()).resolves.toBeUndefined()
})

test('repeats a commit whose connection breaks before it was to be committed', async () => {
  await using proxy = await startPostgresProxy(await cluster.createDatabase())
  await using database = await open(proxy.databaseUrl)
  proxy.rule = { kind: 'cutAfter', text: 'insert into "organizations"' }
  const added = add(database, 'acme')
  await expect.poll(() => proxy.cuts).toBeGreaterThan(0)
  proxy.rule = { kind: 'pass' }
  await added
  expect(await count(database)).toBe(2)
})

test.each([
  ['cutBefore', 1],
  ['cutAfter', 2]
] as const)('does not repeat a commit whose connection breaks while it is committed, and says so (%s)', async (kind, rows) => {
  await using proxy = await startPostgresProxy(await cluster.createDatabase())
  await using database = await open(proxy.databaseUrl)
  const heard: unknown[] = []
  database.onAnnouncement((topic) => heard.push(topic))
  // The migration has committed in another form, so that this is the connection's first commit, which it has to spell out.
  proxy.rule = { kind, text: 'commit\0' }
  await expect(add(database, 'acme')).rejects.toMatchObject({ code: 'RESULT_UNKNOWN', isUnavailable: false, isUnknown: true })
  proxy.rule = { kind: 'pass' }
  expect([proxy.cuts, await count(database), heard]).toEqual([1, rows, []])
})

test('opens new sessions when somebody ends all that are idle', async () => {
  const databaseUrl = await cluster.createDatabase()
  await using database = await open(databaseUrl)
  await Promise.all(Array.from({ length: 50 }, (_, index) => add(database, `before-${index}`)))
  const client = new Client(databaseUrl)
  await client.connect()
  await client.query(
    'select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()'
  )
  await client.end()
  await Promise.all(Array.from({ length: 50 }, (_, index) => add(database, `after-${index}`)))
  expect(await count(database)).toBe(101)
})

test('refuses to open a database whose server is not there', async () => {
  const databaseUrl = cluster.url().replace(/host=.*/, 'host=%2Fno%2Fsuch%2Fdirectory')
  await expect(open(databaseUrl)).rejects.toThrow(
    /^the PostgreSQL database postgres at \/no\/such\/directory:5432 cannot be opened: .*ENOENT/
  )
})

test('loses no acknowledged commit when server and clients are killed, and keeps no half of one', { timeout: 60_000 }, async () => {
  const databaseUrl = await cluster.createDatabase()
  const acknowledged: string[] = []
  for (let round = 0; round < 4; round++) {
    const killed = round % 2 === 0 ? 'client' : 'server'
    const both = await Promise.all([
      writeUntilKilled(databaseUrl, `round-${round}-a`, killed),
      writeUntilKilled(databaseUrl, `round-${round}-b`, killed)
    ])
    acknowledged.push(...both.flat())
    await cluster.stop('immediate')
    await cluster.start()
  }
  await using database = await open(databaseUrl)
  const stored = new Set((await database.query.selectFrom('organizations').select('id').execute()).map(({ id }) => id))
  expect(acknowledged.length).toBeGreaterThanOrEqual(12)
  expect(acknowledged.filter((id) => !stored.has(id) || !stored.has(`${id}-twin`))).toEqual([])
  expect([...stored].filter((id) => id.startsWith('round-') && !id.endsWith('-twin') && !stored.has(`${id}-twin`))).toEqual([])
})

async function writeUntilKilled(databaseUrl: string, prefix: string, killed: 'client' | 'server'): Promise<string[]> {
  const writer = spawn(process.execPath, [join(import.meta.dirname, '../support/commit-writer.ts'), '/nowhere', prefix, databaseUrl], {
    stdio: ['ignore', 'pipe', 'ignore']
  })
  let output = ''
  writer.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  writer.stdout.once('data', async () => {
    await wait(20 + Math.random() * 150)
    if (killed === 'server') {
      await cluster.kill9()
      await wait(100)
    }
    writer.kill('SIGKILL')
  })
  await once(writer, 'close')
  return output.split('\n').slice(0, -1)
}

function open(databaseUrl: string): Promise<Database> {
  return openDatabase({ dataDir: '/nowhere', databaseUrl })
}

async function add(database: Database, id: string): Promise<void> {
  const query = database.query.insertInto('organizations').values({ id, name: id, created_at_ms: 0 })
  await database.commit([{ query, expectRows: 1 }], ['queue'])
}

async function count(database: Database): Promise<number> {
  return (await database.query.selectFrom('organizations').select('id').execute()).length
}
