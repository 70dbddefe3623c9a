import type { BucketStore } from './bucket-store.ts'
import type { BucketLevel, Shortage } from './buckets.ts'
import type { RateLimit } from './rate-limit.ts'
import { timeToFill } from './token-bucket.ts'

/** What this process holds of one bucket. */
export interface SliceHolder {
  /** As it is now: its amount may be changed while it is used. */
  limit: RateLimit
  /** Whether so many units can be taken at once. */
  has(units: number): boolean
  take(units: number): void
  /** Gives back what was taken of a limit without a window. */
  giveBack(units: number): void
  /** Why so many units cannot be had; undefined where that is not known lately. */
  shortageOf(units: number): Pick<Shortage, 'waitMs'> | undefined
  /** Asks the bucket for so many units; afterwards `has` or `shortageOf` knows more. Throws DATABASE_UNAVAILABLE. */
  ask(units: number): Promise<void>
  level(): BucketLevel
  /** Gives back what has not been used since the last time, and renews the lease of the rest. Tells whether there is nothing to look after. */
  tidy(): 'used' | 'unused'
  /** Gives everything back. Never rejects: where that fails, the lease runs out. */
  surrender(): Promise<void>
}

export function createSliceHolder(
  options: { processId: string; leaseMs: number },
  first: RateLimit,
  deps: { store: BucketStore; now: () => number }
): SliceHolder {
  const { processId, leaseMs } = options
  const { store, now } = deps
  let limit = first
  /** What may be taken, and for a limit without a window what was taken and not given back. */
  let left = 0
  let taken = 0
  /** What the bucket takes this process to hold. */
  let reported = 0
  let validUntilMs = Number.NEGATIVE_INFINITY
  /** What was left for everybody, when that was last told. */
  let seen = { level: 0, atMs: Number.NEGATIVE_INFINITY }
  let isUsed = false
  let isGone = false
  let wanted: { units: number; least: number } | undefined
  let latest: Promise<void> = Promise.resolve()
  let next: Promise<void> | undefined
  let running = 0

  const holder: SliceHolder = {
    get limit() {
      return limit
    },
    set limit(current) {
      limit = current
    },
    has: (units) => isGone || usable() >= units,
    take(units) {
      isUsed = true
      if (isGone) return
      left -= units
      if (limit.windowMs === 0) taken += units
    },
    giveBack(units) {
      if (isGone) return
      taken = Math.max(0, taken - units)
      left += units
    },
    shortageOf(units) {
      const missing = units - usable() - bucketLevel()
      if (missing <= 0 || now() - seen.atMs > trustedMs) return undefined
      return { waitMs: limit.windowMs === 0 ? undefined : timeToFill(limit, missing) }
    },
    ask(units) {
      wanted = { units: (wanted?.units ?? 0) + units, least: Math.min(wanted?.least ?? units, units) }
      next ??= inTurn(() => {
        next = undefined
        const { units: all, least } = wanted ?? { units: 0, least: 0 }
        wanted = undefined
        const missing = all - usable()
        return missing <= 0 ? Promise.resolve() : trade({ want: Math.max(missing, sliceOf(limit)), least: least - usable() })
      })
      return next
    },
    level() {
      const remaining = Math.min(limit.capacity, Math.max(0, Math.floor(usable() + bucketLevel())))
      return { remaining, fullInMs: limit.windowMs === 0 ? undefined : timeToFill(limit, limit.capacity - remaining) }
    },
    tidy() {
      if (running > 0) return 'used'
      const wasUsed = isUsed
      isUsed = false
      if (isGone || (!wasUsed && reported === 0 && taken === 0)) return 'unused'
      const isIdle = !wasUsed && (usable() > 0 || reported !== taken)
      // What fails here is tried again the next time.
      if (isIdle) void inTurn(() => trade({ giveBackAll: true })).catch(() => undefined)
      else if (reported > 0 && validUntilMs - now() < leaseMs * renewBelow) void inTurn(() => trade({})).catch(() => undefined)
      return 'used'
    },
    surrender: () => inTurn(async () => (reported > 0 ? trade({ giveBackAll: true }) : undefined)).catch(() => undefined)
  }
  return holder

  /** Exchanges are made one after the other, each on what the one before has left. */
  function inTurn(work: () => Promise<void>): Promise<void> {
    running += 1
    const turn = latest.catch(() => undefined).then(work)
    latest = turn.finally(() => {
      running -= 1
    })
    return latest
  }

  /** What runs out of time is nobody's, and what was taken of a limit without a window goes on. */
  function usable(): number {
    if (now() >= validUntilMs) left = 0
    return left
  }

  /** What has flowed in since it was last seen is there, unless somebody else was faster. */
  function bucketLevel(): number {
    if (limit.windowMs === 0 || seen.atMs === Number.NEGATIVE_INFINITY) return seen.level
    return Math.min(limit.capacity, seen.level + ((now() - seen.atMs) * limit.capacity) / limit.windowMs)
  }

  async function trade({
    want = 0,
    least = 0,
    giveBackAll = false
  }: {
    want?: number
    least?: number
    giveBackAll?: boolean
  }): Promise<void> {
    const begunAtMs = now()
    const giveBack = giveBackAll ? usable() : 0
    left -= giveBack
    const free = usable()
    const held = free + taken
    const exchanged = await store.exchange(limit, { processId, held, giveBack, want, least })
    if (!exchanged) {
      isGone = true
      return
    }
    // Some of it may have been used up meanwhile.
    left = Math.max(0, left - (held - exchanged.kept)) + exchanged.granted
    reported = exchanged.kept + exchanged.granted
    validUntilMs = begunAtMs + leaseMs
    seen = { level: exchanged.level, atMs: now() }
  }
}

/** Few enough that what one process keeps from the others is no matter, enough to ask seldom. */
function sliceOf({ capacity }: RateLimit): number {
  return Math.max(1, Math.floor(capacity / 20))
}

/** For how long the bucket is not asked again after it had too little: refusals must not cost a query each. */
const trustedMs = 200
const renewBelow = 2 / 3
