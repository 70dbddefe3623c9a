import { create } from '@bufbuild/protobuf'
import { type RateLimit, RateLimitMetric, RateLimitMetricSchema, RateLimitSchema } from '../../gen/atelier/v1/rate_limit_pb.ts'
import {
  type DeleteRateLimitRequest,
  type ListRateLimitsRequest,
  type ListRateLimitsResponse,
  ListRateLimitsResponseSchema,
  type SetRateLimitRequest
} from '../../gen/atelier/v1/rate_limit_service_pb.ts'
import { enumValue, wireName } from '../contract/wire-names.ts'
import { gatewayError, invalidParameter } from '../errors.ts'
import type { Database } from '../storage/database.ts'
import { ConflictError } from '../storage/database-error.ts'
import type { LiveCopies } from '../storage/live-copies.ts'
import { orUnavailable } from '../storage/or-unavailable.ts'
import { randomBase62 } from '../storage/random-id.ts'
import type { RateLimitRow } from '../storage/schema.ts'
import { toSeconds } from '../storage/to-seconds.ts'
import { readPage } from './page.ts'
import { requireOrganization } from './require-organization.ts'

/** The operator's way to rate limits. Throws DATABASE_UNAVAILABLE where the database fails. */
export interface RateLimits {
  /** Throws NOT_FOUND for the organization and the key, and INVALID_PARAMETER. */
  set(request: SetRateLimitRequest): Promise<RateLimit>
  list(request: ListRateLimitsRequest): Promise<ListRateLimitsResponse>
  /** Returns what it was. Throws NOT_FOUND. */
  delete(request: DeleteRateLimitRequest): Promise<RateLimit>
}

export function createRateLimits(deps: { database: Database; copies: Pick<LiveCopies, 'change'> }): RateLimits {
  const { query } = deps.database
  const { change } = deps.copies

  return {
    async set(request) {
      const wanted = { ...(await subjectOf(request)), ...measureOf(request), model: request.model }
      const id = `limit_${randomBase62(22)}`
      const amount = Number(request.amount)
      const upsert = query
        .insertInto('rate_limits')
        .values({ ...wanted, id, amount, created_at_ms: Date.now() })
        .onConflict((conflict) =>
          conflict.columns(['organization_id', 'api_key_id', 'metric', 'window_ms', 'model']).doUpdateSet({ amount })
        )
      // Only a new limit has its id, and a bucket that has been filling up for ever is full.
      const fill = query
        .insertInto('rate_limit_buckets')
        .columns(['limit_id', 'revision', 'filling_since_us'])
        .expression(({ selectFrom, lit }) =>
          selectFrom('rate_limits')
            .select(['id', lit(0).as('revision'), lit(0).as('filling_since_us')])
            .where('id', '=', id)
        )
      await orUnavailable(change([{ query: upsert, expectRows: 1 }, { query: fill }]))
      return toRateLimit(await read(wanted))
    },
    async list({ organizationId, apiKeyId, ...page }) {
      const { rows, nextPageToken } = await readPage<RateLimitRow, readonly [createdAtMs: number, id: string]>(page, {
        name: 'rate_limits',
        shape: ['number', 'string'],
        read(limit, after) {
          let some = query.selectFrom('rate_limits').selectAll().orderBy('created_at_ms', 'desc').orderBy('id', 'desc').limit(limit)
          if (organizationId !== '') some = some.where('organization_id', '=', organizationId)
          if (apiKeyId !== '') some = some.where('api_key_id', '=', apiKeyId)
          if (after !== undefined) {
            const [createdAtMs, id] = after
            some = some.where(({ eb, or, and }) =>
              or([eb('created_at_ms', '<', createdAtMs), and([eb('created_at_ms', '=', createdAtMs), eb('id', '<', id)])])
            )
          }
          return orUnavailable(some.execute())
        },
        placeOf: ({ created_at_ms, id }) => [created_at_ms, id]
      })
      return create(ListRateLimitsResponseSchema, { rateLimits: rows.map(toRateLimit), nextPageToken })
    },
    async delete({ id }) {
      const row = await orUnavailable(query.selectFrom('rate_limits').selectAll().where('id', '=', id).executeTakeFirst())
      if (!row) throw notFound('rate limit', id, 'id')
      const byId = { query: query.deleteFrom('rate_limits').where('id', '=', id), expectRows: 1 }
      // Locked first, so that no process takes another slice of it meanwhile.
      const lock = query.updateTable('rate_limit_buckets').set({ revision: -1 }).where('limit_id', '=', id)
      const parts = [
        query.deleteFrom('rate_limit_slices').where('limit_id', '=', id),
        query.deleteFrom('rate_limit_buckets').where('limit_id', '=', id)
      ]
      await orUnavailable(change([{ query: lock }, ...parts.map((part) => ({ query: part })), byId])).catch((error: unknown) => {
        throw error instanceof ConflictError ? notFound('rate limit', id, 'id') : error
      })
      return toRateLimit(row)
    }
  }

  async function subjectOf({ subject }: SetRateLimitRequest): Promise<Pick<RateLimitRow, 'organization_id' | 'api_key_id'>> {
    switch (subject.case) {
      case 'organizationId': {
        const id = subject.value
        await requireOrganization(id, deps.database)
        return { organization_id: id, api_key_id: '' }
      }
      case 'apiKeyId': {
        const id = subject.value
        const known = await orUnavailable(query.selectFrom('api_keys').select('organization_id').where('id', '=', id).executeTakeFirst())
        if (!known) throw notFound('API key', id, 'api_key_id')
        return { organization_id: known.organization_id, api_key_id: id }
      }
      case undefined:
        throw gatewayError('MISSING_PARAMETER', { param: 'organization_id' })
    }
  }

  async function read(wanted: Omit<RateLimitRow, 'id' | 'amount' | 'created_at_ms'>): Promise<RateLimitRow> {
    const row = await orUnavailable(
      query
        .selectFrom('rate_limits')
        .selectAll()
        .where(({ and }) => and(wanted))
        .executeTakeFirst()
    )
    if (!row) throw notFound('rate limit', wanted.organization_id, 'organization_id')
    return row
  }
}

/** What is counted, in which time. */
function measureOf({ metric, amount, windowSeconds }: SetRateLimitRequest): Pick<RateLimitRow, 'metric' | 'window_ms'> {
  if (metric === RateLimitMetric.IN_FLIGHT && windowSeconds !== 0n) {
    throw invalidParameter('window_seconds', 'must be 0 for requests in flight, which are counted at every moment')
  }
  if (metric !== RateLimitMetric.IN_FLIGHT && windowSeconds === 0n) throw gatewayError('MISSING_PARAMETER', { param: 'window_seconds' })
  if (metric === RateLimitMetric.MEGAPIXELS && amount > mostMegapixels) {
    throw invalidParameter('amount', `must be at most ${mostMegapixels} megapixels`)
  }
  return { metric: wireName(RateLimitMetricSchema, metric) as RateLimitRow['metric'], window_ms: Number(windowSeconds) * 1000 }
}

/** Counted in pixels, they must stay below 2^53. */
const mostMegapixels = 1_000_000_000n

function toRateLimit(row: RateLimitRow): RateLimit {
  return create(RateLimitSchema, {
    id: row.id,
    organizationId: row.organization_id,
    apiKeyId: row.api_key_id,
    metric: enumValue(RateLimitMetricSchema, row.metric) ?? RateLimitMetric.UNSPECIFIED,
    amount: BigInt(row.amount),
    windowSeconds: BigInt(row.window_ms / 1000),
    model: row.model,
    createdAt: toSeconds(row.created_at_ms)
  })
}

function notFound(kind: string, id: string, param: string) {
  return gatewayError('NOT_FOUND', { kind, id }, { param })
}
