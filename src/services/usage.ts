import { create } from '@bufbuild/protobuf'
import { TaskOperationSchema } from '../../gen/atelier/v1/task_pb.ts'
import {
  type LedgerEntry,
  LedgerEntryBasisSchema,
  LedgerEntryKindSchema,
  LedgerEntrySchema,
  UsageDimension,
  type UsageFilter,
  type UsageGroup,
  UsageGroupSchema,
  UsageSumsSchema
} from '../../gen/atelier/v1/usage_pb.ts'
import {
  type ListLedgerEntriesRequest,
  type ListLedgerEntriesResponse,
  ListLedgerEntriesResponseSchema,
  type QueryUsageRequest,
  type QueryUsageResponse,
  QueryUsageResponseSchema
} from '../../gen/atelier/v1/usage_service_pb.ts'
import { enumValue } from '../contract/wire-names.ts'
import { gatewayError } from '../errors.ts'
import { type BookingFilter, type BookingPlace, listBookings } from '../ledger/usage-bookings.ts'
import { addSums, type Dimension, dayMs, noSums, type SummedGroup, type Sums, sumUsage } from '../ledger/usage-sums.ts'
import type { Database } from '../storage/database.ts'
import { orUnavailable } from '../storage/or-unavailable.ts'
import type { LedgerEntryRow } from '../storage/schema.ts'
import { readPage } from './page.ts'

/** What was used and what it cost, out of the ledger. Throws DATABASE_UNAVAILABLE where the database fails. */
export interface UsageReports {
  /** Throws INVALID_PARAMETER for a metadata key without its dimension, or the other way round, and for too many groups. */
  query(request: QueryUsageRequest): Promise<QueryUsageResponse>
  /** Throws INVALID_PARAMETER for a page token that is none. */
  list(request: ListLedgerEntriesRequest): Promise<ListLedgerEntriesResponse>
}

export function createUsageReports({ database }: { database: Pick<Database, 'query'> }): UsageReports {
  return {
    async query({ filter, groupBy, metadataKey, limit }) {
      const dimensions = groupBy.map((dimension) => toDimension(dimension, metadataKey))
      if (metadataKey !== '' && !groupBy.includes(UsageDimension.METADATA)) {
        throw gatewayError('INVALID_PARAMETER', { param: 'metadata_key', problem: 'is for the dimension metadata, which is not asked for' })
      }
      const found = await orUnavailable(sumUsage(database, toBookingFilter(filter), dimensions))
      const total = found.reduce((sums, group) => addSums(sums, group.sums), noSums())
      const groups = dimensions.length === 0 ? [] : found.toSorted(inOrder(dimensions))
      const shown = groups.slice(0, limit || defaultLimit)
      return create(QueryUsageResponseSchema, {
        groups: shown.map((group) => toGroup(group, dimensions)),
        total: toSums(total),
        omittedGroups: groups.length - shown.length
      })
    },
    async list({ filter, ...page }) {
      const { rows, nextPageToken } = await readPage<LedgerEntryRow, BookingPlace>(page, {
        name: 'ledger_entries',
        shape: ['number', 'string'],
        read: (limit, after) => orUnavailable(listBookings(database, toBookingFilter(filter), limit, after)),
        placeOf: ({ at_ms, id }) => [at_ms, id]
      })
      return create(ListLedgerEntriesResponseSchema, { entries: rows.map(toEntry), nextPageToken })
    }
  }
}

const defaultLimit = 1_000

function toDimension(dimension: UsageDimension, metadataKey: string): Dimension {
  const column = columns[dimension]
  if (column !== undefined) return { by: column }
  if (metadataKey === '') throw gatewayError('MISSING_PARAMETER', { param: 'metadata_key' })
  return { by: 'metadata', key: metadataKey }
}

const columns: Readonly<Record<number, Exclude<Dimension['by'], 'metadata'>>> = {
  [UsageDimension.DAY]: 'day',
  [UsageDimension.ORGANIZATION]: 'organization',
  [UsageDimension.API_KEY]: 'api_key',
  [UsageDimension.PROVIDER]: 'provider',
  [UsageDimension.MODEL]: 'model',
  [UsageDimension.USER]: 'user',
  [UsageDimension.OPERATION]: 'operation',
  [UsageDimension.CREDENTIAL]: 'credential'
}

function toBookingFilter(filter: UsageFilter | undefined): BookingFilter {
  const { organizationId, apiKeyId, provider, model, user, from, to } = filter ?? {}
  return {
    ...(organizationId && { organizationId }),
    ...(apiKeyId && { apiKeyId }),
    ...(provider && { provider }),
    ...(model && { model }),
    ...(user !== undefined && { endUser: user }),
    ...(from !== undefined && { fromMs: Number(from) * 1_000 }),
    ...(to !== undefined && { toMs: Number(to) * 1_000 })
  }
}

/** By day, then by what was spent, then by the names, so that the order is the same every time. */
function inOrder(dimensions: readonly Dimension[]) {
  const day = dimensions.findIndex(({ by }) => by === 'day')
  const dayOf = ({ values }: SummedGroup) => Number(values[day] ?? 0)
  return (one: SummedGroup, other: SummedGroup): number => {
    const days = day === -1 ? 0 : dayOf(one) - dayOf(other)
    return days || compare(other.sums.spentMicros, one.sums.spentMicros) || compare(one.values.join('\0'), other.values.join('\0'))
  }
}

function compare<T extends bigint | string>(one: T, other: T): number {
  return one < other ? -1 : one > other ? 1 : 0
}

function toGroup({ values, sums }: SummedGroup, dimensions: readonly Dimension[]): UsageGroup {
  const group = create(UsageGroupSchema, { sums: toSums(sums) })
  for (const [index, { by }] of dimensions.entries()) {
    const value = values[index] ?? ''
    switch (by) {
      case 'day':
        group.day = new Date(Number(value) * dayMs).toISOString().slice(0, 10)
        break
      case 'organization':
        group.organizationId = value
        break
      case 'api_key':
        group.apiKeyId = value
        break
      case 'operation':
        group.operation = operationOf(value)
        break
      case 'metadata':
        group.metadataValue = value
        break
      default:
        group[by] = value
    }
  }
  return group
}

function toSums(sums: Sums) {
  return create(UsageSumsSchema, sums)
}

function toEntry(row: LedgerEntryRow): LedgerEntry {
  return create(LedgerEntrySchema, {
    id: row.id,
    atMs: BigInt(row.at_ms),
    kind: enumValue(LedgerEntryKindSchema, row.kind) ?? 0,
    organizationId: row.organization_id,
    apiKeyId: row.api_key_id,
    taskId: row.task_id,
    attemptId: row.attempt_id,
    provider: row.provider,
    model: row.model,
    operation: operationOf(row.operation),
    credential: row.credential,
    reservedMicros: BigInt(row.reserved_micros),
    spentMicros: BigInt(row.spent_micros),
    priced: row.priced === 1,
    basis: enumValue(LedgerEntryBasisSchema, row.basis) ?? 0,
    images: BigInt(row.images),
    pixels: BigInt(row.pixels),
    inputTokens: BigInt(row.input_tokens),
    outputTokens: BigInt(row.output_tokens),
    user: row.end_user,
    metadata: row.metadata ?? ''
  })
}

function operationOf(text: string) {
  return enumValue(TaskOperationSchema, text) ?? 0
}
