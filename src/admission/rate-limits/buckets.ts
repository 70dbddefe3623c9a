import type { RateLimit } from './rate-limit.ts'

/** What a request takes of a limit. */
export interface Taking {
  limit: RateLimit
  /** A whole number, no more than the capacity. */
  units: number
}

/** Why nothing was taken: the first limit of which too little is left. */
export interface Shortage {
  limit: RateLimit
  /** When there will be enough, as far as nobody else takes it; undefined where nobody can know. */
  waitMs: number | undefined
}

/** What is left of a limit, as far as this process knows. */
export interface BucketLevel {
  remaining: number
  /** Until the bucket is full, if nothing is taken; undefined where nobody can know. */
  fullInMs: number | undefined
}

/**
 * One bucket for each limit, full at first. Together all processes never take more out of one than its capacity and what has flowed in since,
 * at `capacity / windowMs`; of a limit without a window, no more than its capacity at a time.
 */
export interface Buckets extends AsyncDisposable {
  /** Takes from every bucket and gives back undefined, or takes from none. Throws DATABASE_UNAVAILABLE where it has to ask the database. */
  take(takings: readonly Taking[]): undefined | Shortage | Promise<undefined | Shortage>
  /** Gives back what was taken of a limit without a window. */
  giveBack(taking: Taking): void
  levelOf(limit: RateLimit): BucketLevel
}
