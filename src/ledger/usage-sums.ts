import { type RawBuilder, sql } from 'kysely'
import { gatewayError } from '../errors.ts'
import type { Database } from '../storage/database.ts'
import { type BookingFilter, filterBookings } from './usage-bookings.ts'

/** What usage is broken down by; `metadata` by the value under a key of it. */
export type Dimension =
  | { by: 'day' | 'organization' | 'api_key' | 'provider' | 'model' | 'user' | 'operation' | 'credential' }
  | { by: 'metadata'; key: string }

/** Sums over bookings, as `UsageSums` of the contract says. */
export type Sums = Record<(typeof sumNames)[number], bigint>

/** Sums over the bookings that have the same values, of the dimensions in their order; a day is the number of days since 1970. */
export interface SummedGroup {
  values: readonly string[]
  sums: Sums
}

const sumNames = [
  'requests',
  'attempts',
  'images',
  'pixels',
  'inputTokens',
  'outputTokens',
  'spentMicros',
  'reservedMicros',
  'unpricedAttempts'
] as const

export interface SumUsageOptions {
  /** Most bookings that one statement looks at. Unset: 20,000, which no commit has to wait for that comes after it. */
  sliceRows?: number
  /** Most groups. Unset: 100,000. */
  maxGroups?: number
}

/** Sums usage up, in any order of the groups. Throws INVALID_PARAMETER where there are too many groups, and where the database does. */
export async function sumUsage(
  database: Pick<Database, 'query'>,
  filter: BookingFilter,
  dimensions: readonly Dimension[],
  { sliceRows = 20_000, maxGroups = 100_000 }: SumUsageOptions = {}
): Promise<SummedGroup[]> {
  const groups = new Map<string, SummedGroup>()
  const add = (rows: readonly Readonly<Record<string, unknown>>[]) => {
    for (const row of rows) {
      const values = dimensions.map((_, index) => String(row[`value${index}`]))
      const name = JSON.stringify(values)
      const group = groups.get(name) ?? { values, sums: noSums() }
      for (const sum of sumNames) group.sums[sum] += BigInt(String(row[sum] ?? 0))
      groups.set(name, group)
    }
    if (groups.size > maxGroups) throw tooMany(maxGroups)
  }
  add(await openReservations(database, filter, dimensions).execute())
  for await (const slice of slicesOf(database, filter, sliceRows)) add(await bookedSums(database, slice, dimensions).execute())
  return [...groups.values()]
}

export function noSums(): Sums {
  return Object.fromEntries(sumNames.map((name) => [name, 0n])) as Sums
}

export function addSums(one: Sums, other: Sums): Sums {
  return Object.fromEntries(sumNames.map((name) => [name, one[name] + other[name]])) as Sums
}

/** Divides the time, so that each part has about as many bookings: one statement over all of them would hold everything else up on SQLite. */
async function* slicesOf({ query }: Pick<Database, 'query'>, filter: BookingFilter, sliceRows: number): AsyncGenerator<BookingFilter> {
  const { organizationId, toMs = Number.POSITIVE_INFINITY } = filter
  let { fromMs = 0 } = filter
  for (;;) {
    const ahead = filterBookings(query.selectFrom('ledger_entries').select('at_ms'), { ...(organizationId && { organizationId }), fromMs })
    const row = await ahead.orderBy('at_ms').offset(sliceRows).limit(1).executeTakeFirst()
    const endMs = row && Math.max(row.at_ms, fromMs + 1)
    if (endMs === undefined || endMs >= toMs) {
      yield { ...filter, fromMs }
      return
    }
    yield { ...filter, fromMs, toMs: endMs }
    fromMs = endMs
  }
}

function bookedSums({ query }: Pick<Database, 'query'>, filter: BookingFilter, dimensions: readonly Dimension[]) {
  const sums = grouped(query, dimensions).select([
    sumOf('requests').as('requests'),
    sumOf("case when kind = 'reserve' then 1 else 0 end").as('attempts'),
    sumOf('images').as('images'),
    sumOf('pixels').as('pixels'),
    sumOf('input_tokens').as('inputTokens'),
    sumOf('output_tokens').as('outputTokens'),
    sumOf('spent_micros').as('spentMicros'),
    sumOf('unpriced').as('unpricedAttempts')
  ])
  return filterBookings(sums, filter)
}

/** What is set aside for calls that are not over, which belong to tasks that run: few, whatever the size of the ledger. */
function openReservations({ query }: Pick<Database, 'query'>, filter: BookingFilter, dimensions: readonly Dimension[]) {
  const open = query
    .selectFrom('tasks')
    .innerJoin('attempts', 'attempts.task_id', 'tasks.id')
    .select(sql<string>`attempts.id || '_reserved'`.as('id'))
    .where('tasks.state', '=', sql.lit('running'))
    .where('attempts.closed_at_ms', 'is', null)
  const reserved = grouped(query, dimensions).select(sumOf('ledger_entries.reserved_micros').as('reservedMicros'))
  return filterBookings(reserved.where('ledger_entries.id', 'in', open), filter)
}

/** By the places of the values in the selection: the same expression with a parameter is another one to PostgreSQL. */
function grouped(query: Database['query'], dimensions: readonly Dimension[]) {
  const values = dimensions.map((dimension, index) => expressionOf(dimension).as(`value${index}`))
  const bookings = query.selectFrom('ledger_entries').select(values)
  return dimensions.length === 0 ? bookings : bookings.groupBy(dimensions.map((_, index) => sql.lit(index + 1)))
}

function expressionOf(dimension: Dimension): RawBuilder<unknown> {
  switch (dimension.by) {
    case 'day':
      return sql`ledger_entries.at_ms / ${sql.lit(dayMs)}`
    case 'metadata':
      return sql`coalesce(ledger_entries.metadata ->> ${dimension.key}, '')`
    case 'user':
      return sql`ledger_entries.end_user`
    case 'organization':
    case 'api_key':
      return sql`${sql.ref(`ledger_entries.${dimension.by}_id`)}`
    default:
      return sql`${sql.ref(`ledger_entries.${dimension.by}`)}`
  }
}

export const dayMs = 86_400_000

/** As text: sums may be larger than what a number holds exactly. */
function sumOf(expression: string) {
  return sql<string>`cast(coalesce(sum(${sql.raw(expression)}), 0) as text)`
}

function tooMany(limit: number) {
  return gatewayError('INVALID_PARAMETER', { param: 'group_by', problem: `makes more than ${limit} groups: ask for a shorter time` })
}
