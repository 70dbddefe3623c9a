import type { Caller } from '../../call.ts'
import { fitsPattern } from '../../routing/name-pattern.ts'
import type { Database } from '../../storage/database.ts'
import type { RateLimitRow } from '../../storage/schema.ts'

/** How much an organization, or one API key, may ask for. */
export interface RateLimit {
  id: string
  organizationId: string
  /** Undefined where it limits all that the organization's keys do together. */
  apiKeyId: string | undefined
  metric: RateLimitRow['metric']
  /** What a full bucket holds, in the units in which the metric is counted. */
  capacity: number
  /** In which an empty bucket fills up; 0 for requests in flight. */
  windowMs: number
  /** Pattern of the models that it is for; empty: every model. */
  model: string
}

/** The limits of each organization and of its keys. */
export type RateLimitsByOrganization = ReadonlyMap<string, readonly RateLimit[]>

/** The units of one megapixel: only whole units are counted. */
export const pixelsPerMegapixel = 1_000_000

/** Loads every limit that there is. */
export async function loadRateLimits({ query }: Pick<Database, 'query'>): Promise<RateLimitsByOrganization> {
  const rows = await query.selectFrom('rate_limits').selectAll().execute()
  return Map.groupBy(rows.map(toRateLimit), ({ organizationId }) => organizationId)
}

export function toRateLimit(row: RateLimitRow): RateLimit {
  return {
    id: row.id,
    organizationId: row.organization_id,
    apiKeyId: row.api_key_id === '' ? undefined : row.api_key_id,
    metric: row.metric,
    capacity: row.metric === 'megapixels' ? row.amount * pixelsPerMegapixel : row.amount,
    windowMs: row.window_ms,
    model: row.model
  }
}

/** Whether what the caller asks of this model counts. */
export function isLimited(caller: Pick<Caller, 'apiKeyId'>, served: { provider: string; model: string }, limit: RateLimit): boolean {
  if (limit.apiKeyId !== undefined && limit.apiKeyId !== caller.apiKeyId) return false
  return limit.model === '' || fitsPattern(served.model, limit.model) || fitsPattern(`${served.provider}/${served.model}`, limit.model)
}
