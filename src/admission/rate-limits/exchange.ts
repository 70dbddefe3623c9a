import type { RateLimit } from './rate-limit.ts'
import { fillingSince, levelAt, tolerance } from './token-bucket.ts'

/** A bucket that several processes share, and what each of them holds of it. */
export interface SharedBucket {
  /** Unix milliseconds since which it has been filling up, as if it had been empty then. */
  fillingSinceMs: number
  slices: ReadonlyMap<string, Slice>
}

export interface Slice {
  held: number
  /** From then on it is nobody's. */
  untilMs: number
}

/** What a process tells the bucket and wants of it. */
export interface ExchangeRequest {
  processId: string
  /** What it keeps of what it had: for a limit without a window, with the requests that it has in flight. */
  held: number
  /** What it does not need any more. */
  giveBack: number
  /** What it would like to have besides. */
  want: number
  /** With less than this nobody is served. */
  least: number
}

export interface Exchanged {
  granted: number
  /** What it has kept; less than it said where its time was over. */
  kept: number
  /** What is left in the bucket for everybody. */
  level: number
}

/**
 * Gives a process a slice of a bucket, or takes one back. What the bucket and all slices hold together is never more than the capacity and
 * never grows faster than the bucket fills up: hence no process can use more than one bucket alone would give. What a process has used counts
 * as held until it says so, so that while the bucket is full, it may lose up to that much.
 */
export function exchange(
  bucket: SharedBucket,
  limit: Pick<RateLimit, 'capacity' | 'windowMs'>,
  request: ExchangeRequest,
  time: { nowMs: number; leaseMs: number }
): { bucket: SharedBucket; exchanged: Exchanged } {
  const { nowMs, leaseMs } = time
  const mine = bucket.slices.get(request.processId)
  const isMine = mine !== undefined && mine.untilMs > nowMs
  const others = [...bucket.slices].filter(([processId, { untilMs }]) => processId !== request.processId && untilMs > nowMs)
  const isRefilled = limit.windowMs > 0
  // Requests in flight are there, whatever became of the lease.
  const kept = isRefilled ? Math.min(request.held, isMine ? mine.held : 0) : request.held
  const free = isRefilled
    ? levelAt(limit, bucket.fillingSinceMs, nowMs, sumOf(bucket.slices.values())) + givenBack(request, mine, isMine)
    : limit.capacity - sumOf(others.map(([, slice]) => slice)) - kept
  const available = Math.floor(free + tolerance)
  const granted = available >= request.least ? Math.max(0, Math.min(request.want, available)) : 0
  const level = free - granted
  const slices = new Map(others)
  if (kept + granted > 0) slices.set(request.processId, { held: kept + granted, untilMs: nowMs + leaseMs })
  return {
    bucket: { fillingSinceMs: isRefilled ? fillingSince(limit, level, nowMs) : bucket.fillingSinceMs, slices },
    exchanged: { granted, kept, level }
  }
}

/** Only what it still had: what its time ran out for is in nobody's account. */
function givenBack({ held, giveBack }: ExchangeRequest, mine: Slice | undefined, isMine: boolean): number {
  return isMine && mine ? Math.max(0, Math.min(giveBack, mine.held - held)) : 0
}

function sumOf(slices: Iterable<Slice>): number {
  let sum = 0
  for (const { held } of slices) sum += held
  return sum
}
