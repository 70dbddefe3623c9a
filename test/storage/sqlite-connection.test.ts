import { join } from 'node:path'
import { expect, test } from 'vitest'
import { migrations } from '../../src/storage/migrations.ts'
import { type Job, openSqliteConnection } from '../../src/storage/sqlite/sqlite-connection.ts'
import { createTemporaryDirectory } from '../support/temporary-directory.ts'

test('repeats the neighbours of a statement that undoes the whole transaction', async () => {
  await using directory = await createTemporaryDirectory()
  const connection = openSqliteConnection(join(directory.path, 'test.db'), migrations)
  const results = connection.run([
    write("insert into organizations (id, name, created_at_ms) values ('before', '', 0)"),
    write("insert or rollback into organizations (id, name, created_at_ms) values ('default', '', 0)"),
    write("insert into organizations (id, name, created_at_ms) values ('after', '', 0)"),
    read
  ])
  connection.close()
  expect(results.map((result) => Object.keys(result)[0])).toEqual(['results', 'error', 'results', 'results'])
  expect(results[3]).toEqual({ results: [expect.objectContaining({ rows: [{ id: 'after' }, { id: 'before' }, { id: 'default' }] })] })
})

test('applies the neighbours of a job that meets a conflict, each once and in order', async () => {
  await using directory = await createTemporaryDirectory()
  const connection = openSqliteConnection(join(directory.path, 'test.db'), migrations)
  const rename = (name: string): Job => ({
    readOnly: false,
    statements: [
      { sql: 'update organizations set created_at_ms = created_at_ms + 1', parameters: [] },
      { sql: 'update organizations set name = ? where name <> ?', parameters: [name, name], expectRows: 1 }
    ]
  })
  const before = { ...write('update organizations set created_at_ms = 0'), isCommit: true }
  const results = connection.run([before, rename('a'), rename('a'), rename('b'), readAll])
  connection.close()
  expect(results.map((result) => Object.keys(result)[0])).toEqual(['results', 'results', 'conflict', 'results', 'results'])
  expect(results[2]).toEqual({ conflict: { statement: 1, expectedRows: 1, affectedRows: 0 } })
  expect(results[4]).toEqual({ results: [{ rows: [{ name: 'b', created_at_ms: 2 }], affectedRows: 1 }] })
})

test('writes first, so that a reading job sees what arrived together with it', async () => {
  await using directory = await createTemporaryDirectory()
  const connection = openSqliteConnection(join(directory.path, 'test.db'), migrations)
  const results = connection.run([read, write("insert into organizations (id, name, created_at_ms) values ('acme', '', 0)")])
  connection.close()
  expect(results[0]).toEqual({ results: [expect.objectContaining({ rows: [{ id: 'acme' }, { id: 'default' }] })] })
})

test('applies all of a migration or nothing', async () => {
  await using directory = await createTemporaryDirectory()
  const file = join(directory.path, 'test.db')
  const broken = { name: '0002-broken', up: () => 'create table half (id text); insert into missing values (1);' }
  expect(() => openSqliteConnection(file, [...migrations, broken])).toThrow('no such table: missing')
  const connection = openSqliteConnection(file, migrations)
  const [tables] = connection.run([
    { readOnly: true, statements: [{ sql: "select name from sqlite_schema where name = 'half'", parameters: [] }] }
  ])
  connection.close()
  expect(tables).toEqual({ results: [{ rows: [], affectedRows: 0 }] })
})

const read: Job = { readOnly: true, statements: [{ sql: 'select id from organizations order by id', parameters: [] }] }

const readAll: Job = { readOnly: true, statements: [{ sql: 'select name, created_at_ms from organizations', parameters: [] }] }

function write(sql: string): Job {
  return { readOnly: false, statements: [{ sql, parameters: [] }] }
}
