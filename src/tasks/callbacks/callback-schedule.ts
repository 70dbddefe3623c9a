const secondMs = 1_000
const minuteMs = 60 * secondMs
const hourMs = 60 * minuteMs

/** The example of Standard Webhooks 1.0.0: ten tries within 75 h 35 min. */
const waitsMs = [5 * secondMs, 5 * minuteMs, 30 * minuteMs, 2 * hourMs, 5 * hourMs, 10 * hourMs, 14 * hourMs, 20 * hourMs, 24 * hourMs]
const longestWaitMs = 24 * hourMs
const jitter = 0.2

/**
 * How long to wait after the given number of failed tries, in milliseconds, up to 20 % more or less; undefined when that was the last one. A
 * receiver that asks for a longer wait gets it, up to 24 hours.
 */
export function callbackWaitMs(failedTries: number, retryAfterMs = 0, random: () => number = Math.random): number | undefined {
  const waitMs = waitsMs[failedTries - 1]
  if (waitMs === undefined) return undefined
  const jitteredMs = Math.round(waitMs * (1 + jitter * (2 * random() - 1)))
  return Math.max(jitteredMs, Math.min(retryAfterMs, longestWaitMs))
}
