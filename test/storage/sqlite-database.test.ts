import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, readdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as wait } from 'node:timers/promises'
import { sql } from 'kysely'
import { expect, test } from 'vitest'
import { type Database, openDatabase } from '../../src/storage/database.ts'
import { migrations } from '../../src/storage/migrations.ts'
import { type DatabaseUnderTest, databaseSuite } from '../suites/database.ts'
import { databaseValuesSuite } from '../suites/database-values.ts'
import { createTemporaryDirectory } from '../support/temporary-directory.ts'

databaseSuite('SQLite', openForSuite)
databaseValuesSuite('values in SQLite', openForSuite)

test('creates the data directory and the files of the database closed to other users', async () => {
  await using directory = await createTemporaryDirectory()
  const dataDir = join(directory.path, 'not/yet/there')
  await using database = await openDatabase({ dataDir })
  await addOrganization(database, 'acme')
  const modes = await Promise.all((await readdir(dataDir)).map(async (name) => [name, (await stat(join(dataDir, name))).mode & 0o777]))
  expect((await stat(dataDir)).mode & 0o777).toBe(0o700)
  expect(Object.fromEntries(modes)).toEqual({ 'atelier.db': 0o600, 'atelier.db-shm': 0o600, 'atelier.db-wal': 0o600 })
})

test('applies each migration once, however often it is opened', async () => {
  await using directory = await createTemporaryDirectory()
  for (let round = 0; round < 3; round++) await (await openDatabase({ dataDir: directory.path }))[Symbol.asyncDispose]()
  using file = new DatabaseSync(join(directory.path, 'atelier.db'))
  expect(
    file
      .prepare('select name from migrations')
      .all()
      .map((row) => row.name)
  ).toEqual(migrations.map(({ name }) => name))
})

test('migrates a new database once when several processes open it at the same time', async () => {
  await using directory = await createTemporaryDirectory()
  const opened = await Promise.all(Array.from({ length: 4 }, () => openDatabase({ dataDir: directory.path })))
  await Promise.all(opened.map((database) => database[Symbol.asyncDispose]()))
  using file = new DatabaseSync(join(directory.path, 'atelier.db'))
  expect(file.prepare('select count(*) as count from migrations').get()?.count).toBe(migrations.length)
})

test('refuses a database that a newer program has written', async () => {
  await using directory = await createTemporaryDirectory()
  await (await openDatabase({ dataDir: directory.path }))[Symbol.asyncDispose]()
  {
    using file = new DatabaseSync(join(directory.path, 'atelier.db'))
    file.exec("insert into migrations (name, applied_at_ms) values ('9999-from-the-future', 0)")
  }
  await expect(openDatabase({ dataDir: directory.path })).rejects.toThrow(
    'the database was written by a newer version of this program: it has the migration 9999-from-the-future, which is unknown here'
  )
})

test('refuses a file that is no database', async () => {
  await using directory = await createTemporaryDirectory()
  await writeFile(
    join(directory.path, 'atelier.db'),
    'this is a text of more than one hundred bytes, so that it can be told from a header'.repeat(4)
  )
  await expect(openDatabase({ dataDir: directory.path })).rejects.toThrow(/atelier\.db cannot be opened: file is not a database/)
})

test('keeps the mode of a data directory that is there already', async () => {
  await using directory = await createTemporaryDirectory()
  const dataDir = join(directory.path, 'data')
  await mkdir(dataDir)
  await chmod(dataDir, 0o750)
  await using _database = await openDatabase({ dataDir })
  expect((await stat(dataDir)).mode & 0o777).toBe(0o750)
})

test('hands whole numbers to SQLite as integers, not as floats', async () => {
  await using directory = await createTemporaryDirectory()
  await using database = await openDatabase({ dataDir: directory.path })
  const { rows } = await sql`select typeof(${7}) as whole, typeof(${7.5}) as fraction, typeof(${true}) as truth`.execute(database.query)
  expect(rows).toEqual([{ whole: 'integer', fraction: 'real', truth: 'integer' }])
})

test('writes every commit to the disk before it acknowledges it', async () => {
  await using directory = await createTemporaryDirectory()
  await using database = await openDatabase({ dataDir: directory.path })
  const { rows } = await sql`pragma synchronous`.execute(database.query)
  expect(rows).toEqual([{ synchronous: 2 }])
})

test('loses no acknowledged commit when the process is killed, and keeps no half of one', { timeout: 60_000 }, async () => {
  await using directory = await createTemporaryDirectory()
  const acknowledged: string[] = []
  for (let round = 0; round < 12; round++) acknowledged.push(...(await writeUntilKilled(directory.path, `round-${round}`)))

  await using database = await openDatabase({ dataDir: directory.path })
  const stored = new Set((await database.query.selectFrom('organizations').select('id').execute()).map(({ id }) => id))
  expect(acknowledged.length).toBeGreaterThanOrEqual(12)
  expect(acknowledged.filter((id) => !stored.has(id) || !stored.has(`${id}-twin`))).toEqual([])
  expect([...stored].filter((id) => id.startsWith('round-') && !id.endsWith('-twin') && !stored.has(`${id}-twin`))).toEqual([])
  const { rows } = await sql`pragma integrity_check`.execute(database.query)
  expect(rows).toEqual([{ integrity_check: 'ok' }])
})

test('tells what another process has changed, whatever it announces', async () => {
  await using directory = await createTemporaryDirectory()
  await using database = await openDatabase({ dataDir: directory.path })
  await using other = await openDatabase({ dataDir: directory.path })
  const heard = new Promise((resolve) => database.onAnnouncement(resolve))
  await addOrganization(other, 'acme')
  expect(await heard).toBe(undefined)
})

test('does not take its own commits for those of another process', async () => {
  await using directory = await createTemporaryDirectory()
  await using database = await openDatabase({ dataDir: directory.path })
  const heard: unknown[] = []
  database.onAnnouncement((topic) => heard.push(topic))
  await addOrganization(database, 'acme')
  await wait(1_300)
  expect(heard).toEqual([])
})

async function openForSuite(): Promise<DatabaseUnderTest> {
  const directory = await createTemporaryDirectory()
  const dataDir = join(directory.path, 'data')
  const database = await openDatabase({ dataDir })
  return {
    database,
    openAgain: () => openDatabase({ dataDir }),
    async [Symbol.asyncDispose]() {
      await database[Symbol.asyncDispose]()
      await directory[Symbol.asyncDispose]()
    }
  }
}

async function writeUntilKilled(dataDir: string, prefix: string): Promise<string[]> {
  const writer = spawn(process.execPath, [join(import.meta.dirname, '../support/commit-writer.ts'), dataDir, prefix], {
    stdio: ['ignore', 'pipe', 'inherit']
  })
  let output = ''
  writer.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  writer.stdout.once('data', () => setTimeout(() => writer.kill('SIGKILL'), 20 + Math.random() * 150))
  await once(writer, 'close')
  return output.split('\n').slice(0, -1)
}

async function addOrganization(database: Database, id: string): Promise<void> {
  await database.query.insertInto('organizations').values({ id, name: id, created_at_ms: 0 }).execute()
}
