import { UsageError } from './usage-error.ts'

/**
 * Reads when something is to expire, in Unix seconds: a time from now (`30m`, `12h`, `90d`, `2w`), or the beginning of a day in UTC
 * (`2027-01-31`); undefined for `never`. Throws UsageError.
 */
export function readExpiry(text: string, nowMs: number): number | undefined {
  if (text === 'never') return undefined
  const [, digits, unit] = /^([1-9][0-9]{0,5})([mhdw])$/.exec(text) ?? []
  if (digits !== undefined && unit !== undefined) return Math.floor(nowMs / 1000) + Number(digits) * (secondsOf[unit] ?? 0)
  const atMs = /^\d{4}-\d{2}-\d{2}$/.test(text) ? Date.parse(`${text}T00:00:00Z`) : Number.NaN
  if (Number.isNaN(atMs) || formatDay(atMs / 1000) !== text) {
    throw new UsageError(`--expires must be a time such as 30m, 12h, 90d or 2w, a day such as 2027-01-31, or never, not ${text}`)
  }
  if (atMs <= nowMs) throw new UsageError(`--expires must be in the future, and ${text} is not`)
  return atMs / 1000
}

/** A day in UTC, YYYY-MM-DD. */
export function formatDay(seconds: number): string {
  return new Date(seconds * 1000).toISOString().slice(0, 10)
}

const secondsOf: Readonly<Record<string, number>> = { m: 60, h: 3_600, d: 86_400, w: 604_800 }
