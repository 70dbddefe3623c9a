import type { SelectQueryBuilder } from 'kysely'
import type { Database } from '../storage/database.ts'
import type { LedgerEntryRow, Schema } from '../storage/schema.ts'

/** Which bookings to look at; what is unset leaves them all in. */
export interface BookingFilter {
  organizationId?: string
  apiKeyId?: string
  provider?: string
  model?: string
  endUser?: string
  /** Unix milliseconds, included. */
  fromMs?: number
  /** Unix milliseconds, not included. */
  toMs?: number
}

/** A query for the bookings that a filter leaves in. */
export function filterBookings<Row>(
  bookings: SelectQueryBuilder<Schema, 'ledger_entries', Row>,
  filter: BookingFilter
): SelectQueryBuilder<Schema, 'ledger_entries', Row> {
  const equal = [
    ['ledger_entries.organization_id', filter.organizationId],
    ['ledger_entries.api_key_id', filter.apiKeyId],
    ['ledger_entries.provider', filter.provider],
    ['ledger_entries.model', filter.model],
    ['ledger_entries.end_user', filter.endUser]
  ] as const
  let filtered = bookings
  for (const [column, value] of equal) if (value !== undefined) filtered = filtered.where(column, '=', value)
  if (filter.fromMs !== undefined) filtered = filtered.where('ledger_entries.at_ms', '>=', filter.fromMs)
  if (filter.toMs !== undefined) filtered = filtered.where('ledger_entries.at_ms', '<', filter.toMs)
  return filtered
}

/** Where a list of bookings goes on: behind the last one that was listed. */
export type BookingPlace = readonly [atMs: number, id: string]

/** The next bookings, oldest first. */
export function listBookings(
  { query }: Pick<Database, 'query'>,
  filter: BookingFilter,
  limit: number,
  after?: BookingPlace
): Promise<LedgerEntryRow[]> {
  const all = filterBookings(query.selectFrom('ledger_entries').selectAll(), filter)
  const ordered = all.orderBy('at_ms').orderBy('id').limit(limit)
  if (after === undefined) return ordered.execute()
  const [atMs, id] = after
  // The first condition alone leads into an index.
  const beyond = ordered.where('at_ms', '>=', atMs).where(({ eb, or }) => or([eb('at_ms', '>', atMs), eb('id', '>', id)]))
  return beyond.execute()
}
