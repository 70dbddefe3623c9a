import type { Clock } from '../../src/tasks/callbacks/clock.ts'

export interface ManualClock extends Clock {
  /** Lets time pass, and calls what falls due on the way. */
  advance(ms: number): void
}

/** A clock that stands still until it is told to go on. */
export function createManualClock(startMs = 1_700_000_000_000): ManualClock {
  const timers = new Set<{ atMs: number; callback: () => void }>()
  let nowMs = startMs
  return {
    now: () => nowMs,
    after(delayMs, callback) {
      const timer = { atMs: nowMs + delayMs, callback }
      timers.add(timer)
      return () => timers.delete(timer)
    },
    advance(ms) {
      const untilMs = nowMs + ms
      for (;;) {
        const [next] = [...timers].sort((one, other) => one.atMs - other.atMs)
        if (next === undefined || next.atMs > untilMs) break
        nowMs = next.atMs
        timers.delete(next)
        next.callback()
      }
      nowMs = untilMs
    }
  }
}
