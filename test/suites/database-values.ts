import { sql } from 'kysely'
import { describe, expect, test } from 'vitest'
import type { Database } from '../../src/storage/database.ts'
import type { DatabaseUnderTest } from './database.ts'

/** Every database gives back what was put in, and the same results for the same queries. */
export function databaseValuesSuite(name: string, open: () => Promise<DatabaseUnderTest>): void {
  describe(name, () => {
    test.each([0, -1, 7, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER])(
      'keeps the integer %d and returns it as a number',
      async (value) => {
        await using under = await open()
        await addSecret(under.database, { created_at_ms: value })
        const read = await under.database.query
          .selectFrom('signing_secrets')
          .select('created_at_ms')
          .where('created_at_ms', '=', value)
          .execute()
        expect(read).toEqual([{ created_at_ms: value }])
      }
    )

    test('refuses to read an integer above 2^53 as a number', async () => {
      await using under = await open()
      await sql`insert into organizations (id, name, created_at_ms) values ('far', 'far', 9007199254740993)`.execute(under.database.query)
      await expect(under.database.query.selectFrom('organizations').selectAll().execute()).rejects.toThrow(RangeError)
    })

    test('undoes a commit that would return an integer above 2^53', async () => {
      await using under = await open()
      const { database } = under
      const far = sql`insert into organizations (id, name, created_at_ms) values ('far', 'far', 9007199254740993) returning created_at_ms`
      await expect(far.execute(database.query)).rejects.toThrow(RangeError)
      await expect(database.commit([{ query: { compile: () => far.compile(database.query) } }])).rejects.toThrow(RangeError)
      expect(await database.query.selectFrom('organizations').select('id').execute()).toEqual([{ id: 'default' }])
    })

    test.each([new Uint8Array(), new Uint8Array([0, 255, 10, 39, 92]), new Uint8Array(300_000).fill(201)])(
      'keeps bytes',
      async (secret) => {
        await using under = await open()
        await addSecret(under.database, { secret })
        const [read] = await under.database.query.selectFrom('signing_secrets').select('secret').execute()
        expect(read?.secret.constructor).toBe(Uint8Array)
        expect(Buffer.compare(secret, read?.secret ?? new Uint8Array(1))).toBe(0)
      }
    )

    test('keeps part of a buffer', async () => {
      await using under = await open()
      await addSecret(under.database, { secret: Buffer.from('a secret among others').subarray(2, 8) })
      const [read] = await under.database.query.selectFrom('signing_secrets').select('secret').execute()
      expect(Buffer.from(read?.secret ?? []).toString()).toBe('secret')
    })

    test.each(['', 'schlüssel 🗝', "'; drop table organizations; --", '\\x00', 'a\nb\tc\u0001'])('keeps the text %j', async (name) => {
      await using under = await open()
      const { query } = under.database
      await query.insertInto('organizations').values({ id: 'acme', name, created_at_ms: 0 }).execute()
      expect(await query.selectFrom('organizations').select('name').where('name', '=', name).execute()).toEqual([{ name }])
    })

    test('keeps null, also where another row has a value', async () => {
      await using under = await open()
      await addSecret(under.database, { id: 'one', expires_at_ms: 5 })
      await addSecret(under.database, { id: 'two', expires_at_ms: null })
      const read = await under.database.query.selectFrom('signing_secrets').select('expires_at_ms').orderBy('id').execute()
      expect(read).toEqual([{ expires_at_ms: 5 }, { expires_at_ms: null }])
    })

    test('returns counts, sums and averages as numbers, and truth as 1 and 0', async () => {
      await using under = await open()
      await addSecret(under.database, { id: 'one', created_at_ms: 1 })
      await addSecret(under.database, { id: 'two', created_at_ms: 2, expires_at_ms: null })
      const { rows } =
        await sql`select count(*) as count, sum(created_at_ms) as sum, avg(created_at_ms) as average, sum(created_at_ms) > 2 as more,
        sum(created_at_ms) > ${3} as most, max(id) as last from signing_secrets`.execute(under.database.query)
      expect(rows).toEqual([{ count: 2, sum: 3, average: 1.5, more: 1, most: 0, last: 'two' }])
    })

    test('takes a whole number for one wherever it stands', async () => {
      await using under = await open()
      const { rows } = await sql`select ${7} as plain, coalesce(null, ${8}) as first, case when 1 = 1 then ${9} end as chosen`.execute(
        under.database.query
      )
      expect(rows).toEqual([{ plain: 7, first: 8, chosen: 9 }])
    })

    test('orders text by its bytes', async () => {
      await using under = await open()
      const ids = ['a-b', 'aa', 'B', 'b', 'ä', '_', 'Z1', 'Z10', 'Z2']
      await under.database.query.deleteFrom('organizations').execute()
      await under.database.query
        .insertInto('organizations')
        .values(ids.map((id) => ({ id, name: id, created_at_ms: 0 })))
        .execute()
      const read = await under.database.query.selectFrom('organizations').select('id').orderBy('id').execute()
      expect(read.map(({ id }) => id)).toEqual(['B', 'Z1', 'Z10', 'Z2', '_', 'a-b', 'aa', 'b', 'ä'])
    })

    test.each<[unknown, string]>([
      [undefined, 'a query parameter is undefined, which a database cannot hold'],
      [new Date(0), 'a query parameter is of type object, which a database cannot hold'],
      [['a'], 'a query parameter is of type object, which a database cannot hold'],
      [2 ** 53, 'the query parameter 9007199254740992 is beyond 2^53 and therefore not exact'],
      [Number.NaN, 'the query parameter NaN is no number that a database can hold'],
      [-Infinity, 'the query parameter -Infinity is no number that a database can hold'],
      [2n ** 63n, 'the query parameter 9223372036854775808 has more than 64 bits, which a database cannot hold'],
      ['a\0b', 'a query parameter is a text with a NUL character, which a database cannot hold'],
      ['\ud83d', 'a query parameter is a text with half of a surrogate pair, which a database cannot hold']
    ])('refuses the parameter %s, which it could not hold exactly', async (value, message) => {
      await using under = await open()
      await expect(sql`select ${value}`.execute(under.database.query)).rejects.toThrow(message)
      await expect(under.database.query.selectFrom('organizations').select('id').execute()).resolves.toEqual([{ id: 'default' }])
    })
  })
}

async function addSecret(
  database: Database,
  values: { id?: string; secret?: Uint8Array; created_at_ms?: number; expires_at_ms?: number | null }
): Promise<void> {
  const row = { id: 'one', organization_id: 'default', secret: new Uint8Array(), created_at_ms: 0, expires_at_ms: 1, ...values }
  await database.query.insertInto('signing_secrets').values(row).execute()
}
