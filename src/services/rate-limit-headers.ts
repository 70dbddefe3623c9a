import type { BucketLevel, Buckets } from '../admission/rate-limits/buckets.ts'
import type { RateLimit } from '../admission/rate-limits/rate-limit.ts'
import type { Call } from '../call.ts'

/**
 * Says on the answer what is left of the limits, as OpenAI's does: `x-ratelimit-limit-requests`, `-remaining-requests` and `-reset-requests`,
 * and the same for images. Of several limits that count the same, it is the one of which least is left.
 */
export function tellRateLimits(limits: readonly RateLimit[], buckets: Pick<Buckets, 'levelOf'>, call: Pick<Call, 'tell'>): void {
  const { tell } = call
  if (!tell) return
  for (const metric of toldMetrics) {
    let tightest: { limit: RateLimit; level: BucketLevel } | undefined
    for (const limit of limits) {
      if (limit.metric !== metric) continue
      const level = buckets.levelOf(limit)
      if (tightest === undefined || level.remaining < tightest.level.remaining) tightest = { limit, level }
    }
    if (!tightest) continue
    tell(`x-ratelimit-limit-${metric}`, String(tightest.limit.capacity))
    tell(`x-ratelimit-remaining-${metric}`, String(Math.floor(tightest.level.remaining)))
    tell(`x-ratelimit-reset-${metric}`, formatDuration(tightest.level.fullInMs ?? 0))
  }
}

const toldMetrics = ['requests', 'images'] as const

/** As in "20ms", "1.5s", "6m0s" or "1h0m0s". Rounded up, so that whoever waits that long has waited long enough. */
export function formatDuration(durationMs: number): string {
  const ms = Math.ceil(durationMs)
  if (ms === 0) return '0s'
  if (ms < 1000) return `${ms}ms`
  const hours = Math.floor(ms / 3_600_000)
  const minutes = Math.floor((ms % 3_600_000) / 60_000)
  const seconds = `${(ms % 60_000) / 1000}s`
  if (hours > 0) return `${hours}h${minutes}m${seconds}`
  return minutes > 0 ? `${minutes}m${seconds}` : seconds
}
