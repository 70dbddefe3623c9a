/** How much a bucket holds when it is full, and how long an empty one takes until then. */
export interface Measure {
  capacity: number
  windowMs: number
}

/**
 * What is in a bucket that has been filling up since then, as if it had been empty; no more than fits beside what is `held` of it elsewhere.
 * Less than 0 where more was taken than was there.
 */
export function levelAt({ capacity, windowMs }: Measure, fillingSinceMs: number, nowMs: number, held = 0): number {
  return Math.min(capacity - held, ((nowMs - fillingSinceMs) * capacity) / windowMs)
}

/** Since when a bucket with this level would have been filling up. */
export function fillingSince({ capacity, windowMs }: Measure, level: number, nowMs: number): number {
  return nowMs - (level * windowMs) / capacity
}

/** How long it takes until so many units have flowed in. */
export function timeToFill({ capacity, windowMs }: Measure, units: number): number {
  return Math.max(0, (units * windowMs) / capacity)
}

/** A wait that was told exactly must be enough, whatever was rounded on the way. */
export const tolerance = 1e-6
