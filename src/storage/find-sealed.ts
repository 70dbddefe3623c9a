import { sql } from 'kysely'
import type { Database } from './database.ts'
import { keyIdOf, prefixBytes } from './seal.ts'
import { type SealedColumn, sealedColumns } from './sealed-columns.ts'

/** What the database holds that only a master key can open, as a part of a sentence; undefined where it holds nothing of the kind. */
export async function findSealed(database: Database): Promise<string | undefined> {
  const found = await Promise.all(sealedColumns.map(async (column) => ((await holdsAny(column, database)) ? [column.what] : [])))
  const [last, ...others] = [...new Set(found.flat())].toReversed()
  return last === undefined ? undefined : [...(others.length === 0 ? [] : [others.toReversed().join(', ')]), last].join(' and ')
}

/**
 * Ids of master keys that are not among these, and that are needed for what is needed soonest: tasks that are not final yet, the latest of
 * those that are, and the secrets of every organization. Empty where nothing is missing.
 */
export async function findUnknownKeys(database: Database, keyIds: readonly string[]): Promise<string[]> {
  const latest = database.query.selectFrom('tasks').select('request').orderBy('expires_at_ms', 'desc').limit(sampleSize)
  const tasks = (await latest.execute()).map(({ request }) => keyIdOf(request))
  const perOrganization = sealedColumns.filter(({ table }) => !perTask.includes(table))
  const others = await Promise.all(perOrganization.map((column) => keyIdsIn(column, database)))
  return [...new Set([...tasks, ...others.flat()])].filter((keyId) => !keyIds.includes(keyId))
}

const sampleSize = 50
/** Tables that grow with every request. */
const perTask = ['tasks', 'attempts', 'callbacks']

async function holdsAny({ table, column }: SealedColumn, { query }: Database): Promise<boolean> {
  const any = sql`select 1 from ${sql.table(table)} where ${sql.ref(column)} is not null limit 1`
  return (await any.execute(query)).rows.length > 0
}

async function keyIdsIn({ table, column }: SealedColumn, { query }: Database): Promise<string[]> {
  const prefix = sql`substr(${sql.ref(column)}, 1, ${sql.lit(prefixBytes)})`
  const prefixes = sql<{
    prefix: Uint8Array
  }>`select distinct ${prefix} as prefix from ${sql.table(table)} where ${sql.ref(column)} is not null`
  return (await prefixes.execute(query)).rows.map((row) => prefixKeyId(row.prefix))
}

/** Id of the master key that sealed a value which begins like this. */
export function prefixKeyId(prefix: Uint8Array): string {
  return Buffer.from(prefix.subarray(1, prefixBytes)).toString('hex')
}
