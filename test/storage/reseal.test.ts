import { randomBytes } from 'node:crypto'
import { sql } from 'kysely'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Database, openDatabase } from '../../src/storage/database.ts'
import { createReseal, type Reseal, type SealedPlace } from '../../src/storage/reseal.ts'
import { SealError } from '../../src/storage/seal.ts'
import { sealedColumns } from '../../src/storage/sealed-columns.ts'
import { type PostgresCluster, startPostgres } from '../support/postgres.ts'
import { addSealedRows, createKeyHolder, type KeyHolder } from '../support/sealed-rows.ts'
import { createTemporaryDirectory } from '../support/temporary-directory.ts'

let cluster: PostgresCluster
beforeAll(async () => {
  cluster = await startPostgres()
})
afterAll(() => cluster[Symbol.asyncDispose]())

const open = {
  SQLite: async (directory: string) => openDatabase({ dataDir: directory }),
  PostgreSQL: async (directory: string) => openDatabase({ dataDir: directory, databaseUrl: await cluster.createDatabase() })
}

describe.each(['SQLite', 'PostgreSQL'] as const)('on %s', (name) => {
  test('everything that an earlier key has sealed is sealed with the current one, after which the earlier one is needed for nothing', async () => {
    await using stored = await openStored(name)
    const { database } = stored
    const holder = createKeyHolder(1)
    await addSealedRows(database, holder, 'acme', 3)
    const before = await openEverything(database, holder)
    holder.use(2, 1)
    await addSealedRows(database, holder, 'beta', 2)
    const reseal = createReseal({ database, ...holder })
    expect(await countsOf(reseal)).toEqual({ '00000001': 18, '00000002': 13 })
    expect(await resealAll(reseal)).toEqual({ resealed: 18, failed: 0 })
    expect(await countsOf(reseal)).toEqual({ '00000002': 31 })
    holder.use(2)
    expect(await openEverything(database, holder)).toMatchObject(before)
    expect(await resealAll(reseal)).toEqual({ resealed: 0, failed: 0 })
  })

  test('more than a page is gone through in steps, each from where the one before has ended', async () => {
    await using stored = await openStored(name)
    const { database } = stored
    const holder = createKeyHolder(1)
    await addSealedRows(database, holder, 'acme', 250)
    holder.use(2, 1)
    const reseal = createReseal({ database, ...holder })
    expect(await resealAll(reseal)).toEqual({ resealed: 250 * 5 + 3, failed: 0 })
    expect(await countsOf(reseal)).toEqual({ '00000002': 250 * 5 + 3 })
  })

  test('what cannot be opened stays as it is, and keeps nothing else from being sealed anew', async () => {
    await using stored = await openStored(name)
    const { database } = stored
    const holder = createKeyHolder(1)
    await addSealedRows(database, holder, 'acme')
    holder.use(3)
    await addSealedRows(database, holder, 'lost')
    holder.use(1)
    await addSealedRows(database, holder, 'altered')
    const altered = (
      await holder.sealer.seal(Buffer.from('x'), { purpose: 'request', organizationId: 'altered', id: 'another row' })
    ).slice()
    await database.query.updateTable('tasks').set({ request: altered }).where('organization_id', '=', 'altered').execute()
    holder.use(2, 1)
    const reseal = createReseal({ database, ...holder })
    expect(await resealAll(reseal)).toEqual({ resealed: 15, failed: 9 })
    expect(await countsOf(reseal)).toEqual({ '00000001': 1, '00000002': 15, '00000003': 8 })
    const { request } = await database.query
      .selectFrom('tasks')
      .select('request')
      .where('organization_id', '=', 'altered')
      .executeTakeFirstOrThrow()
    expect(Buffer.from(request)).toEqual(Buffer.from(altered))
  })

  test('a value that changes while it is sealed anew stays as it was changed', async () => {
    await using stored = await openStored(name)
    const { database } = stored
    const holder = createKeyHolder(1)
    await addSealedRows(database, holder, 'acme')
    holder.use(2, 1)
    const context = { purpose: 'credential', organizationId: 'acme', id: 'of acme' } as const
    const renewed = holder.credentialSealer.seal(Buffer.from('sk-new'), context)
    const meddling: Database = {
      ...database,
      query: database.query,
      async commit(statements, announce) {
        await database.query.updateTable('credentials').set({ secret: renewed }).execute()
        await database.commit(statements, announce)
      }
    }
    await createReseal({ ...holder, database: meddling }).step({ table: 'credentials', column: 'secret', afterId: '' })
    const { secret } = await database.query.selectFrom('credentials').select('secret').executeTakeFirstOrThrow()
    expect(Buffer.from(holder.credentialSealer.open(secret, context)).toString()).toBe('sk-new')
  })

  test('of each kind of stored value no bit can be flipped and no byte cut off without being noticed', async () => {
    await using stored = await openStored(name)
    const { database } = stored
    const holder = createKeyHolder(1, 2)
    await addSealedRows(database, holder, 'acme')
    let kinds = 0
    for (const { table, column, purpose, label } of sealedColumns) {
      const sealer = label === 'requests' ? holder.sealer : holder.credentialSealer
      const other = label === 'requests' ? holder.credentialSealer : holder.sealer
      for (const { id, value } of await valuesOf(database, table, column)) {
        kinds++
        const context = { purpose, organizationId: 'acme', id }
        const opens = (sealed: Uint8Array) => outcome(() => sealer.open(sealed, context))
        expect(opens(value)).toBe('opened')
        expect(outcome(() => other.open(value, context))).toBe('refused')
        const flipped = Array.from({ length: value.byteLength * 8 }, (_, bit) =>
          value.map((byte, index) => (index === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte))
        )
        const cut = Array.from(value, (_, length) => [value.subarray(0, length), value.subarray(length + 1)]).flat()
        expect(new Set([...flipped, ...cut, new Uint8Array([...value, ...randomBytes(1)])].map(opens))).toEqual(new Set(['refused']))
      }
    }
    expect(kinds).toBe(sealedColumns.length)
  })
})

test('every column of bytes is known to hold sealed values', async () => {
  await using stored = await openStored('SQLite')
  const columns = sql<{ name: string }>`
    select tables.name || '.' || columns.name as name from sqlite_master as tables, pragma_table_info(tables.name) as columns
    where tables.type = 'table' and columns.type in ('bytea', 'blob') order by 1`
  const { rows } = await columns.execute(stored.database.query)
  expect(rows.map((row) => row.name)).toEqual(sealedColumns.map(({ table, column }) => `${table}.${column}`).toSorted())
})

async function openStored(name: keyof typeof open) {
  const directory = await createTemporaryDirectory()
  const database = await open[name](directory.path)
  return {
    database,
    async [Symbol.asyncDispose]() {
      await database[Symbol.asyncDispose]()
      await directory[Symbol.asyncDispose]()
    }
  }
}

async function resealAll(reseal: Reseal): Promise<{ resealed: number; failed: number }> {
  const sum = { resealed: 0, failed: 0 }
  let place: SealedPlace | undefined
  do {
    const step = await reseal.step(place)
    sum.resealed += step.resealed
    sum.failed += step.failed
    place = step.next
  } while (place !== undefined)
  return sum
}

async function countsOf(reseal: Reseal): Promise<Record<string, number>> {
  const counts: Record<string, number> = {}
  for (const { keyId, values } of await reseal.count()) counts[keyId] = (counts[keyId] ?? 0) + values
  return counts
}

/** What each value holds, as hexadecimal digits, by where it stands. */
async function openEverything(database: Database, holder: KeyHolder): Promise<Record<string, string>> {
  const found: Record<string, string> = {}
  for (const { table, column, purpose, label } of sealedColumns) {
    const sealer = label === 'requests' ? holder.sealer : holder.credentialSealer
    for (const { id, organization_id: organizationId, value } of await valuesOf(database, table, column)) {
      found[`${table}.${column} ${id}`] = Buffer.from(sealer.open(value, { purpose, organizationId, id })).toString('hex')
    }
  }
  return found
}

async function valuesOf(database: Database, table: string, column: string) {
  const rows = sql<{ id: string; organization_id: string; value: Uint8Array }>`
    select id, organization_id, ${sql.ref(column)} as value from ${sql.table(table)} where ${sql.ref(column)} is not null`
  return (await rows.execute(database.query)).rows.map((row) => ({ ...row, value: new Uint8Array(row.value) }))
}

function outcome(run: () => unknown): 'opened' | 'refused' {
  try {
    run()
    return 'opened'
  } catch (error) {
    if (error instanceof SealError) return 'refused'
    throw error
  }
}
