import { parseDuration } from './duration.ts'
import { UsageError } from './usage-error.ts'

/**
 * Reads when something is to expire, in Unix seconds: a time from now (`30m`, `12h`, `90d`, `2w`), or the beginning of a day in UTC
 * (`2027-01-31`); undefined for `never`. Throws UsageError.
 */
export function readExpiry(text: string, nowMs: number): number | undefined {
  if (text === 'never') return undefined
  const seconds = parseDuration(text, ['m', 'h', 'd', 'w'])
  if (seconds !== undefined) return Math.floor(nowMs / 1000) + seconds
  const at = parseDay(text)
  if (at === undefined) {
    throw new UsageError(`--expires must be a time such as 30m, 12h, 90d or 2w, a day such as 2027-01-31, or never, not ${text}`)
  }
  if (at * 1000 <= nowMs) throw new UsageError(`--expires must be in the future, and ${text} is not`)
  return at
}

/** Unix seconds of the beginning of a day in UTC, YYYY-MM-DD; undefined for what is none. */
export function parseDay(text: string): number | undefined {
  const atMs = /^\d{4}-\d{2}-\d{2}$/.test(text) ? Date.parse(`${text}T00:00:00Z`) : Number.NaN
  return !Number.isNaN(atMs) && formatDay(atMs / 1000) === text ? atMs / 1000 : undefined
}

/** A day in UTC, YYYY-MM-DD. */
export function formatDay(seconds: number): string {
  return new Date(seconds * 1000).toISOString().slice(0, 10)
}
