/** The time, and what is to happen later. */
export interface Clock {
  /** Unix milliseconds. */
  now(): number
  /** Calls back after so many milliseconds, 24 days at most. Returns what cancels it. */
  after(delayMs: number, callback: () => void): () => void
}

export const systemClock: Clock = {
  now: Date.now,
  after(delayMs, callback) {
    const timer = setTimeout(callback, delayMs)
    return () => clearTimeout(timer)
  }
}
