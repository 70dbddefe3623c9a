import { type CompiledQuery, sql } from 'kysely'
import type { Database, Statement } from './database.ts'
import { prefixKeyId } from './find-sealed.ts'
import type { MasterKey } from './master-key.ts'
import { prefixBytes, SealError, type Sealer, sealedPrefix } from './seal.ts'
import { type SealedColumn, sealedColumns } from './sealed-columns.ts'

/** Which master keys the database needs, and how to do without the previous ones. Rejects as the database does. */
export interface Reseal {
  /**
   * Goes through some of what is sealed, from this place on (undefined: from the beginning), and seals with the current key what another
   * one has sealed. Whatever changes meanwhile stays as it was changed.
   */
  step(place: SealedPlace | undefined): Promise<ResealStep>
  /** How many values need each master key. */
  count(): Promise<SealedCount[]>
}

/** How far going through has come: a column, and the last row of it. */
export interface SealedPlace {
  table: string
  column: string
  /** Empty: none of its rows. */
  afterId: string
}

export interface ResealStep {
  resealed: number
  /** Values that could not be opened, and stay as they are. */
  failed: number
  /** Where to go on; undefined at the end. */
  next: SealedPlace | undefined
}

export interface SealedCount {
  keyId: string
  /** As a part of a sentence. */
  what: string
  values: number
}

export interface ResealDeps {
  database: Database
  masterKey: Pick<MasterKey, 'ids'>
  sealer: Sealer
  credentialSealer: Sealer
}

export function createReseal(deps: ResealDeps): Reseal {
  const { database } = deps
  const sealers = { requests: deps.sealer, credentials: deps.credentialSealer }
  return { step, count }

  async function step(place: SealedPlace | undefined): Promise<ResealStep> {
    const index = place === undefined ? 0 : sealedColumns.findIndex(({ table, column }) => table === place.table && column === place.column)
    const column = sealedColumns[index]
    if (column === undefined) return { resealed: 0, failed: 0, next: undefined }
    const rows = await readOutdated(column, place?.afterId ?? '')
    const renewals = rows.flatMap(({ id, organization_id: organizationId, value }) =>
      value === null ? [] : [renewal(column, { id, organizationId, value })]
    )
    const statements = renewals.filter((statement) => statement !== undefined)
    if (statements.length > 0) await database.commit(statements)
    const last = rows.length === pageSize ? rows.at(-1) : undefined
    const following = sealedColumns[index + 1]
    return {
      resealed: statements.length,
      failed: renewals.length - statements.length,
      next: last ? { ...placeOf(column), afterId: last.id } : following && placeOf(following)
    }
  }

  /** A page of rows, with the value of those that the current key has not sealed: a statement never takes long, however few those are. */
  async function readOutdated({ table, column }: SealedColumn, afterId: string) {
    const value = sql.ref(column)
    const current = Buffer.from(sealedPrefix(deps.masterKey.ids()[0]))
    const outdated = sql`case when substr(${value}, 1, ${sql.lit(prefixBytes)}) <> ${current} then ${value} end`
    const page = sql<{ id: string; organization_id: string; value: Uint8Array | null }>`
      select id, organization_id, ${outdated} as value from ${sql.table(table)} where id > ${afterId} order by id limit ${sql.lit(pageSize)}`
    return (await page.execute(database.query)).rows
  }

  /** Undefined where the value cannot be opened. */
  function renewal(column: SealedColumn, row: { id: string; organizationId: string; value: Uint8Array }): Statement | undefined {
    const { table, label, purpose } = column
    const context = { purpose, organizationId: row.organizationId, id: row.id }
    try {
      const renewed = sealers[label].seal(sealers[label].open(row.value, context), context)
      const name = sql.ref(column.column)
      const update = sql`update ${sql.table(table)} set ${name} = ${renewed} where id = ${row.id} and ${name} = ${row.value}`
      const compiled: CompiledQuery = update.compile(database.query)
      return { query: { compile: () => compiled } }
    } catch (error) {
      if (error instanceof SealError) return undefined
      throw error
    }
  }

  async function count(): Promise<SealedCount[]> {
    const counts = new Map<string, SealedCount>()
    for (const column of sealedColumns) {
      for (const [keyId, values] of await countIn(column)) {
        const name = `${keyId} ${column.what}`
        counts.set(name, { keyId, what: column.what, values: values + (counts.get(name)?.values ?? 0) })
      }
    }
    return [...counts.values()]
  }

  async function countIn({ table, column }: SealedColumn): Promise<Map<string, number>> {
    const counts = new Map<string, number>()
    const prefix = sql`substr(${sql.ref(column)}, 1, ${sql.lit(prefixBytes)})`
    const pageAfter = (id: string) => sql<{ id: string; prefix: Uint8Array | null }>`
      select id, ${prefix} as prefix from ${sql.table(table)} where id > ${id} order by id limit ${sql.lit(countedAtOnce)}`
    for (let afterId = ''; ; ) {
      const { rows } = await pageAfter(afterId).execute(database.query)
      for (const row of rows) {
        if (row.prefix === null) continue
        const keyId = prefixKeyId(row.prefix)
        counts.set(keyId, (counts.get(keyId) ?? 0) + 1)
      }
      const last = rows.at(-1)
      if (last === undefined || rows.length < countedAtOnce) return counts
      afterId = last.id
    }
  }
}

/** Whether a place is one that a step may have told. */
export function isSealedPlace({ table, column }: SealedPlace): boolean {
  return sealedColumns.some((each) => each.table === table && each.column === column)
}

function placeOf({ table, column }: SealedColumn): SealedPlace {
  return { table, column, afterId: '' }
}

const pageSize = 100
const countedAtOnce = 2_000
