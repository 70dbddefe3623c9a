import { sql } from 'kysely'
import { describe, expect, test } from 'vitest'
import type { Database } from '../../src/storage/database.ts'
import { ConflictError, DatabaseError } from '../../src/storage/database-error.ts'

export interface DatabaseUnderTest extends AsyncDisposable {
  database: Database
  /** Opens the same data once more, as another process would. */
  openAgain(): Promise<Database>
}

/** What every database promises. */
export function databaseSuite(name: string, open: () => Promise<DatabaseUnderTest>): void {
  describe(name, () => {
    test('has the organization default and nothing else', async () => {
      await using under = await open()
      const rows = await under.database.query.selectFrom('organizations').select(['id', 'name']).execute()
      expect(rows).toEqual([{ id: 'default', name: 'default' }])
    })

    test('keeps what was committed when it is opened again', async () => {
      await using under = await open()
      await under.database.commit([insert(under.database, 'acme')])
      await under.database[Symbol.asyncDispose]()
      await using again = await under.openAgain()
      expect(await names(again)).toEqual(['acme', 'default'])
    })

    test('tells how many rows a single statement affected', async () => {
      await using under = await open()
      const { query } = under.database
      const inserted = await query.insertInto('organizations').values(row('acme')).executeTakeFirstOrThrow()
      const updated = await query.updateTable('organizations').set({ name: 'x' }).executeTakeFirstOrThrow()
      const deleted = await query.deleteFrom('organizations').where('id', '=', 'nobody').executeTakeFirstOrThrow()
      expect([inserted.numInsertedOrUpdatedRows, updated.numUpdatedRows, deleted.numDeletedRows]).toEqual([1n, 2n, 0n])
    })

    test('returns the rows that a writing statement asks for', async () => {
      await using under = await open()
      const insertion = under.database.query.insertInto('organizations').values(row('acme')).returning(['id', 'created_at_ms'])
      expect(await insertion.execute()).toEqual([{ id: 'acme', created_at_ms: 1_700_000_000_000 }])
    })

    test('undoes a commit whose statement affects another number of rows than it expects', async () => {
      await using under = await open()
      const { query } = under.database
      const rename = query.updateTable('organizations').set({ name: 'renamed' }).where('id', '=', 'nobody')
      const commit = under.database.commit([insert(under.database, 'acme'), { query: rename, expectRows: 1 }])
      await expect(commit).rejects.toEqual(new ConflictError(1, 1, 0))
      expect(await names(under.database)).toEqual(['default'])
    })

    test('counts the rows that a reading statement of a commit returns', async () => {
      await using under = await open()
      const held = under.database.query.selectFrom('organizations').selectAll().where('id', '=', 'gone')
      await expect(under.database.commit([{ query: held, expectRows: 1 }, insert(under.database, 'acme')])).rejects.toThrow(ConflictError)
      expect(await names(under.database)).toEqual(['default'])
    })

    test('undoes a commit of which a statement is refused, and says why', async () => {
      await using under = await open()
      const commit = under.database.commit([insert(under.database, 'acme'), insert(under.database, 'acme')])
      await expect(commit).rejects.toThrow(DatabaseError)
      await expect(commit).rejects.toThrow(/unique/i)
      expect(await names(under.database)).toEqual(['default'])
    })

    test('keeps concurrent commits independent: those that fail undo nothing of their neighbours', async () => {
      await using under = await open()
      const { database } = under
      const commits = Array.from({ length: 300 }, (_, index) => {
        const own = insert(database, `organization-${index}`)
        if (index % 3 === 0) return database.commit([own])
        if (index % 3 === 1) return database.commit([own, insert(database, 'default')])
        return database.commit([own, { query: database.query.deleteFrom('organizations').where('id', '=', 'nobody'), expectRows: 1 }])
      })
      const settled = await Promise.allSettled(commits)
      expect(settled.map((result) => result.status)).toEqual(settled.map((_, index) => (index % 3 === 0 ? 'fulfilled' : 'rejected')))
      const kept = (await names(database)).filter((id) => id !== 'default')
      expect(kept).toEqual(Array.from({ length: 100 }, (_, index) => `organization-${index * 3}`).toSorted())
    })

    test('refuses rows of an organization that does not exist', async () => {
      await using under = await open()
      const blob = { id: 'b', organization_id: 'nobody', media_type: 'image/png', size_bytes: 1, created_at_ms: 0, expires_at_ms: 0 }
      await expect(under.database.query.insertInto('blobs').values(blob).execute()).rejects.toThrow(/foreign key/i)
    })

    test('keeps integers up to 2^53 exact and returns them as numbers', async () => {
      await using under = await open()
      const largest = { ...row('acme'), created_at_ms: Number.MAX_SAFE_INTEGER }
      await under.database.query.insertInto('organizations').values(largest).execute()
      const read = await under.database.query
        .selectFrom('organizations')
        .selectAll()
        .where('created_at_ms', '=', Number.MAX_SAFE_INTEGER)
        .execute()
      expect(read).toEqual([{ ...largest, disabled_at_ms: null }])
    })

    test('refuses to read an integer above 2^53 as a number', async () => {
      await using under = await open()
      await sql`insert into organizations (id, name, created_at_ms) values ('far', 'far', 9007199254740993)`.execute(under.database.query)
      await expect(under.database.query.selectFrom('organizations').selectAll().execute()).rejects.toThrow(RangeError)
    })

    test.each<[unknown, string]>([
      [undefined, 'a query parameter is undefined, which a database cannot hold'],
      [new Date(0), 'a query parameter is of type object, which a database cannot hold'],
      [2 ** 53, 'the query parameter 9007199254740992 is beyond 2^53 and therefore not exact']
    ])('refuses the parameter %s, which it could not hold exactly', async (value, message) => {
      await using under = await open()
      await expect(sql`select ${value}`.execute(under.database.query)).rejects.toThrow(message)
      await expect(names(under.database)).resolves.toEqual(['default'])
    })

    test('has no interactive transactions', async () => {
      await using under = await open()
      const transaction = under.database.query.transaction().execute(async () => undefined)
      await expect(transaction).rejects.toThrow('the database has no interactive transactions: use commit')
    })

    test('finishes what was asked before it closes, and refuses what comes later', async () => {
      await using under = await open()
      const { database } = under
      const commits = Array.from({ length: 600 }, (_, index) => database.commit([insert(database, `organization-${index}`)]))
      const closed = database[Symbol.asyncDispose]()
      await expect(database.commit([insert(database, 'late')])).rejects.toThrow('the database is closed')
      await Promise.all(commits)
      await closed
      await using again = await under.openAgain()
      expect(await names(again)).toHaveLength(601)
    })

    test('notices what another process has committed', async () => {
      await using under = await open()
      await using other = await under.openAgain()
      const noticed = new Promise<void>((resolve) => under.database.onForeignChange(resolve))
      await other.commit([insert(other, 'acme')])
      await noticed
      expect(await names(under.database)).toEqual(['acme', 'default'])
    })

    test('does not take its own commits for those of another process', async () => {
      await using under = await open()
      let changes = 0
      const stop = under.database.onForeignChange(() => {
        changes += 1
      })
      await under.database.commit([insert(under.database, 'acme')])
      await new Promise((resolve) => setTimeout(resolve, 1_300))
      stop()
      expect(changes).toBe(0)
    })

    test('lets two processes write at the same time', async () => {
      await using under = await open()
      await using other = await under.openAgain()
      const writes = (database: Database, prefix: string) =>
        Array.from({ length: 100 }, (_, index) => database.commit([insert(database, `${prefix}-${index}`)]))
      await Promise.all([...writes(under.database, 'one'), ...writes(other, 'two')])
      expect(await names(under.database)).toHaveLength(201)
    })
  })
}

function insert(database: Database, id: string) {
  return { query: database.query.insertInto('organizations').values(row(id)) }
}

function row(id: string) {
  return { id, name: id, created_at_ms: 1_700_000_000_000 }
}

async function names(database: Database): Promise<string[]> {
  return (await database.query.selectFrom('organizations').select('id').orderBy('id').execute()).map(({ id }) => id)
}
