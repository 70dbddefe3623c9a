import type { Buckets, Shortage, Taking } from './buckets.ts'
import type { RateLimit } from './rate-limit.ts'
import { fillingSince, levelAt, timeToFill, tolerance } from './token-bucket.ts'

/** Buckets whose answers come at once. */
export interface LocalBuckets extends Buckets {
  take(takings: readonly Taking[]): undefined | Shortage
}

/** The buckets of a server that shares its limits with nobody: in memory, so that a new start finds them full. */
export function createLocalBuckets(deps: { now: () => number } = { now: () => performance.now() }): LocalBuckets {
  const since = new Map<string, number>()
  const inFlight = new Map<string, number>()

  const remainingOf = (limit: RateLimit, nowMs: number) =>
    limit.windowMs === 0
      ? limit.capacity - (inFlight.get(limit.id) ?? 0)
      : levelAt(limit, since.get(limit.id) ?? Number.NEGATIVE_INFINITY, nowMs)

  return {
    take(takings) {
      const nowMs = deps.now()
      for (const { limit, units } of takings) {
        const missing = units - remainingOf(limit, nowMs)
        if (missing > tolerance) return { limit, waitMs: limit.windowMs === 0 ? undefined : timeToFill(limit, missing) }
      }
      for (const { limit, units } of takings) {
        if (limit.windowMs === 0) inFlight.set(limit.id, (inFlight.get(limit.id) ?? 0) + units)
        else since.set(limit.id, fillingSince(limit, remainingOf(limit, nowMs) - units, nowMs))
      }
      return undefined
    },
    giveBack({ limit, units }) {
      const left = (inFlight.get(limit.id) ?? 0) - units
      if (left > 0) inFlight.set(limit.id, left)
      else inFlight.delete(limit.id)
    },
    levelOf(limit) {
      const remaining = Math.max(0, remainingOf(limit, deps.now()))
      return { remaining, fullInMs: limit.windowMs === 0 ? undefined : timeToFill(limit, limit.capacity - remaining) }
    },
    async [Symbol.asyncDispose]() {}
  }
}
