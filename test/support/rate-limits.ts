import { createClient } from '@connectrpc/connect'
import { RateLimitService } from '../../gen/atelier/v1/rate_limit_service_pb.ts'
import { type ExchangeRequest, exchange, type SharedBucket } from '../../src/admission/rate-limits/exchange.ts'
import type { RateLimit } from '../../src/admission/rate-limits/rate-limit.ts'
import { connectWith } from './admin.ts'

/** A limit of the organization acme on requests. */
export function rateLimit(changes: Partial<RateLimit> = {}): RateLimit {
  return {
    id: 'limit_1',
    organizationId: 'acme',
    apiKeyId: undefined,
    metric: 'requests',
    capacity: 10,
    windowMs: 1_000,
    model: '',
    ...changes
  }
}

export function rateLimitsOf({ url, adminKey }: { url: string; adminKey: string }) {
  return createClient(RateLimitService, connectWith(url, adminKey))
}

/** A bucket for one limit that every process of a test shares, as the database would keep it; `delay` is waited for before each exchange. */
export function createBucketInMemory(options: { leaseMs: number; now: () => number; delay?: () => Promise<void> }) {
  let bucket: SharedBucket = { fillingSinceMs: -1e9, slices: new Map() }
  let exchanges = 0
  return {
    get exchanges() {
      return exchanges
    },
    get bucket() {
      return bucket
    },
    async exchange(limit: RateLimit, request: ExchangeRequest) {
      await options.delay?.()
      exchanges += 1
      const after = exchange(bucket, limit, request, { nowMs: options.now(), leaseMs: options.leaseMs })
      bucket = after.bucket
      return after.exchanged
    }
  }
}

/** What was used, when: it must fit into one bucket that was full at first. Gives the most by which it does not. */
export function overuse(limit: Pick<RateLimit, 'capacity' | 'windowMs'>, uses: readonly { atMs: number; units: number }[]): number {
  let worst = 0
  for (const [first, { atMs: fromMs }] of uses.entries()) {
    let used = 0
    for (const { atMs, units } of uses.slice(first)) {
      used += units
      worst = Math.max(worst, used - limit.capacity - ((atMs - fromMs) * limit.capacity) / limit.windowMs)
    }
  }
  return worst
}
