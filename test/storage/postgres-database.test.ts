import { sql } from 'kysely'
import { Client } from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Database, openDatabase } from '../../src/storage/database.ts'
import { migrations } from '../../src/storage/migrations.ts'
import { type DatabaseUnderTest, databaseSuite } from '../suites/database.ts'
import { databaseValuesSuite } from '../suites/database-values.ts'
import { type PostgresCluster, startPostgres } from '../support/postgres.ts'

let cluster: PostgresCluster

beforeAll(async () => {
  cluster = await startPostgres()
})

afterAll(() => cluster[Symbol.asyncDispose]())

databaseSuite('PostgreSQL', openForSuite)
databaseValuesSuite('values in PostgreSQL', openForSuite)

test('migrates a new database once when several processes open it at the same time', async () => {
  const databaseUrl = await cluster.createDatabase()
  const opened = await Promise.all(Array.from({ length: 5 }, () => open(databaseUrl)))
  const { rows } = await sql<{ name: string }>`select name from migrations order by name`.execute((opened[0] as Database).query)
  await Promise.all(opened.map((database) => database[Symbol.asyncDispose]()))
  expect(rows.map(({ name }) => name)).toEqual(migrations.map(({ name }) => name))
})

test('refuses a database that a newer program has written', async () => {
  const databaseUrl = await cluster.createDatabase()
  await (await open(databaseUrl))[Symbol.asyncDispose]()
  await using client = await connect(databaseUrl)
  await client.query("insert into migrations (name, applied_at_ms) values ('9999-from-the-future', 0)")
  await expect(open(databaseUrl)).rejects.toThrow(
    'the database was written by a newer version of this program: it has the migration 9999-from-the-future, which is unknown here'
  )
})

test('says which database does not exist, and not with which password it was looked for', async () => {
  const databaseUrl = cluster.url('nowhere').replace('atelier@', 'atelier:a-secret-password@')
  const opened = open(databaseUrl)
  await expect(opened).rejects.toThrow(
    /^the PostgreSQL database nowhere at .*:5432 cannot be opened: the database cannot be reached: database "nowhere" does not exist$/
  )
  await expect(opened).rejects.not.toThrow('a-secret-password')
})

test('leaves out the rows that another transaction has locked', async () => {
  const databaseUrl = await cluster.createDatabase()
  await using database = await open(databaseUrl)
  await addOrganizations(database, ['one', 'two'])
  await using client = await connect(databaseUrl)
  await client.query("begin; select * from organizations where id = 'one' for update")
  const query = database.skipLocked(database.query.selectFrom('organizations').select('id').orderBy('id'))
  expect(await query.execute()).toEqual([{ id: 'default' }, { id: 'two' }])
})

test('repeats commits that deadlock', async () => {
  const databaseUrl = await cluster.createDatabase()
  await using database = await open(databaseUrl)
  await addOrganizations(database, ['one', 'two'])
  const touch = (id: string) => ({
    query: database.query.updateTable('organizations').set({ created_at_ms: sql`created_at_ms + 1` }).where('id', '=', id),
    expectRows: 1
  })
  const slowly = { query: sql`select pg_sleep(0.05)` }
  const compiled = { query: { compile: () => slowly.query.compile(database.query) } }
  await Promise.all([
    database.commit([touch('one'), compiled, touch('two')]),
    database.commit([touch('two'), compiled, touch('one')]),
    database.commit([touch('one'), compiled, touch('two')])
  ])
  const { rows } = await sql`select sum(created_at_ms) as sum from organizations where id in ('one', 'two')`.execute(database.query)
  expect(rows).toEqual([{ sum: 6 }])
})

test('goes on with statements that it prepared before a table was changed', async () => {
  const databaseUrl = await cluster.createDatabase()
  await using database = await open(databaseUrl)
  const everything = () => database.query.selectFrom('organizations').selectAll().execute()
  await everything()
  await using client = await connect(databaseUrl)
  await client.query('alter table organizations add column motto text')
  expect(await everything()).toEqual([expect.objectContaining({ id: 'default', motto: null })])
})

test('lets the server forget statements that it has not used for long', async () => {
  const databaseUrl = await cluster.createDatabase()
  await using database = await open(databaseUrl)
  for (let index = 0; index < 500; index++) await sql`select ${sql.lit(index)}, ${'x'}`.execute(database.query)
  expect(await sql`select ${sql.lit(3)}, ${'x'}`.execute(database.query)).toMatchObject({ rows: [{ '?column?': 'x' }] })
  const { rows } = await sql<{ count: number }>`select count(*) as count from pg_prepared_statements`.execute(database.query)
  expect(rows[0]?.count).toBeLessThanOrEqual(201)
})

test('writes every commit to the disk before it acknowledges it, and limits how long a statement may take', async () => {
  const databaseUrl = await cluster.createDatabase()
  await using client = await connect(databaseUrl)
  await client.query(`alter database ${new Client(databaseUrl).database} set synchronous_commit = off`)
  await using database = await open(databaseUrl)
  const names = ['synchronous_commit', 'statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout']
  const { rows } = await sql`select setting from pg_settings where name in (${sql.join(names)}) order by name`.execute(database.query)
  expect(rows).toEqual(['10000', '5000', '10000', 'on'].map((setting) => ({ setting })).toSorted())
})

async function openForSuite(): Promise<DatabaseUnderTest> {
  const databaseUrl = await cluster.createDatabase({ icuLocale: 'en-US' })
  const database = await open(databaseUrl)
  return { database, openAgain: () => open(databaseUrl), [Symbol.asyncDispose]: () => database[Symbol.asyncDispose]() }
}

function open(databaseUrl: string): Promise<Database> {
  return openDatabase({ dataDir: '/nowhere', databaseUrl })
}

async function addOrganizations(database: Database, ids: readonly string[]): Promise<void> {
  await database.query
    .insertInto('organizations')
    .values(ids.map((id) => ({ id, name: id, created_at_ms: 0 })))
    .execute()
}

async function connect(databaseUrl: string) {
  const client = new Client(databaseUrl)
  await client.connect()
  return { query: (text: string) => client.query(text), [Symbol.asyncDispose]: () => client.end() }
}
