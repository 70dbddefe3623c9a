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
      const { database } = under
      const secret = { id: 's', organization_id: 'nobody', secret: new Uint8Array(), created_at_ms: 0, expires_at_ms: null }
      await expect(database.query.insertInto('signing_secrets').values(secret).execute()).rejects.toThrow(/foreign key/i)
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

    test('tells its own listeners each topic that a commit announces, once the commit is done', async () => {
      await using under = await open()
      const { database } = under
      const heard: unknown[] = []
      database.onAnnouncement((topic) => void names(database).then((ids) => heard.push([topic, ids])))
      await database.commit([insert(database, 'acme')], ['queue', 'task t1', 'queue'])
      await expect.poll(() => heard).toHaveLength(2)
      expect(heard.toSorted()).toEqual([
        ['queue', ['acme', 'default']],
        ['task t1', ['acme', 'default']]
      ])
    })

    test('tells nobody of a commit that fails', async () => {
      await using under = await open()
      const { database } = under
      const heard: unknown[] = []
      database.onAnnouncement((topic) => heard.push(topic))
      await expect(database.commit([insert(database, 'default')], ['queue'])).rejects.toThrow(DatabaseError)
      await database.commit([insert(database, 'acme')], ['callbacks'])
      expect(heard).toEqual(['callbacks'])
    })

    test('tells a listener nothing any more that has stopped listening', async () => {
      await using under = await open()
      const { database } = under
      const heard: unknown[] = []
      const stop = database.onAnnouncement((topic) => heard.push(topic))
      await database.commit([insert(database, 'acme')], ['queue'])
      stop()
      await database.commit([insert(database, 'umbrella')], ['callbacks'])
      expect(heard).toEqual(['queue'])
    })

    test('tells the listeners of another process, after what it tells of', async () => {
      await using under = await open()
      await using other = await under.openAgain()
      const heard = new Promise((resolve) => under.database.onAnnouncement(resolve))
      await other.commit([insert(other, 'acme')], ['queue'])
      expect(['queue', undefined]).toContain(await heard)
      expect(await names(under.database)).toEqual(['acme', 'default'])
    })

    test('selects rows to be locked', async () => {
      await using under = await open()
      const { database } = under
      const query = database.skipLocked(database.query.selectFrom('organizations').select('id').where('id', '=', 'default'))
      await database.commit([{ query, expectRows: 1 }])
      expect(await query.execute()).toEqual([{ id: 'default' }])
    })

    test('runs a statement again after it was refused', async () => {
      await using under = await open()
      const { database } = under
      await expect(database.commit([insert(database, 'acme'), insert(database, 'default')])).rejects.toThrow(/unique/i)
      await database.commit([insert(database, 'acme'), insert(database, 'umbrella')])
      expect(await names(database)).toEqual(['acme', 'default', 'umbrella'])
    })

    test('refuses a statement that it does not understand, and goes on', async () => {
      await using under = await open()
      for (let round = 0; round < 3; round++) {
        await expect(sql`select nothing from nowhere where x = ${1}`.execute(under.database.query)).rejects.toThrow(DatabaseError)
      }
      expect(await names(under.database)).toEqual(['default'])
    })

    test('says that it is unavailable once it is closed', async () => {
      await using under = await open()
      await under.database[Symbol.asyncDispose]()
      await expect(names(under.database)).rejects.toMatchObject({ name: 'DatabaseError', code: 'DATABASE_CLOSED', isUnavailable: true })
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
