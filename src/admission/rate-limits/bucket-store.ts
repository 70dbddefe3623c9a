import { setTimeout as sleep } from 'node:timers/promises'
import { sql } from 'kysely'
import { gatewayError } from '../../errors.ts'
import type { Database, Statement } from '../../storage/database.ts'
import { ConflictError } from '../../storage/database-error.ts'
import { orUnavailable } from '../../storage/or-unavailable.ts'
import { type Exchanged, type ExchangeRequest, exchange, type SharedBucket, type Slice } from './exchange.ts'
import type { RateLimit } from './rate-limit.ts'

/** The buckets that processes share, on PostgreSQL, whose clock is the only one that counts. */
export interface BucketStore {
  /** Undefined where the limit is no more. Throws DATABASE_UNAVAILABLE. */
  exchange(limit: RateLimit, request: ExchangeRequest): Promise<Exchanged | undefined>
}

export function createBucketStore({ leaseMs }: { leaseMs: number }, { database }: { database: Database }): BucketStore {
  const { query } = database

  return {
    async exchange(limit, request) {
      for (let attempt = 0; attempt < maxAttempts; attempt++) {
        const found = await orUnavailable(read(limit.id))
        if (!found) return undefined
        const { bucket, exchanged } = exchange(found.bucket, limit, request, { nowMs: found.nowMs, leaseMs })
        if (await write(limit.id, found, bucket, request.processId)) return exchanged
        await sleep(Math.random() * longestPauseMs)
      }
      throw gatewayError('DATABASE_UNAVAILABLE', {}, { retryAfterMs: 1_000, outcome: 'not_sent' })
    }
  }

  async function read(limitId: string): Promise<FoundBucket | undefined> {
    const rows = await query
      .selectFrom('rate_limit_buckets as bucket')
      .leftJoin('rate_limit_slices as slice', 'slice.limit_id', 'bucket.limit_id')
      .select(['bucket.revision', 'bucket.filling_since_us', 'slice.process_id', 'slice.held', 'slice.until_ms'])
      .select(sql<number>`(extract(epoch from clock_timestamp()) * 1000)::bigint`.as('now_ms'))
      .where('bucket.limit_id', '=', limitId)
      .execute()
    const [first] = rows
    if (!first) return undefined
    const slices = new Map<string, Slice>()
    for (const { process_id, held, until_ms } of rows) {
      if (process_id !== null && held !== null && until_ms !== null) slices.set(process_id, { held, untilMs: until_ms })
    }
    return { revision: first.revision, nowMs: first.now_ms, bucket: { fillingSinceMs: first.filling_since_us / 1000, slices } }
  }

  /** Whether the bucket was still as it was found. */
  async function write(limitId: string, found: FoundBucket, after: SharedBucket, processId: string): Promise<boolean> {
    const { revision, bucket: before } = found
    const update = query
      .updateTable('rate_limit_buckets')
      // Rounded up: what is lost by that is a microsecond's worth, and nothing is ever gained.
      .set({ revision: revision + 1, filling_since_us: Math.ceil(after.fillingSinceMs * 1000) })
      .where('limit_id', '=', limitId)
      .where('revision', '=', revision)
    const gone = [...before.slices.keys()].filter((id) => !after.slices.has(id))
    const statements: Statement[] = [{ query: update, expectRows: 1 }]
    if (gone.length > 0) {
      statements.push({ query: query.deleteFrom('rate_limit_slices').where('limit_id', '=', limitId).where('process_id', 'in', gone) })
    }
    const mine = after.slices.get(processId)
    if (mine) statements.push({ query: upsertSlice(limitId, processId, mine), expectRows: 1 })
    try {
      await orUnavailable(database.commit(statements))
      return true
    } catch (error) {
      if (error instanceof ConflictError) return false
      throw error
    }
  }

  function upsertSlice(limitId: string, processId: string, { held, untilMs }: Slice) {
    const values = { held, until_ms: Math.floor(untilMs) }
    return query
      .insertInto('rate_limit_slices')
      .values({ limit_id: limitId, process_id: processId, ...values })
      .onConflict((conflict) => conflict.columns(['limit_id', 'process_id']).doUpdateSet(values))
  }
}

interface FoundBucket {
  revision: number
  nowMs: number
  bucket: SharedBucket
}

/** Of processes that want the same bucket at the same time, one is served in each round. */
const maxAttempts = 50
const longestPauseMs = 5
