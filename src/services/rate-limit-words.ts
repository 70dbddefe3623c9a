import { pixelsPerMegapixel, type RateLimit } from '../admission/rate-limits/rate-limit.ts'
import { formatUsd } from '../ledger/usd.ts'

/** Whose limit it is. */
export function subjectOf({ organizationId, apiKeyId }: RateLimit): string {
  return apiKeyId === undefined ? `the organization ${organizationId}` : `the API key ${apiKeyId}`
}

/** As in "60 requests per minute for openai/*". */
export function describeLimit({ metric, capacity, windowMs, model }: RateLimit): string {
  const window = windowMs === 0 ? '' : ` per ${describeWindow(windowMs)}`
  return `${describeUnits(metric, capacity)}${window}${model === '' ? '' : ` for ${model}`}`
}

/** As in "1 request", "1.05 megapixels" or "$0.25". */
export function describeUnits(metric: RateLimit['metric'], units: number): string {
  switch (metric) {
    case 'cost':
      return formatUsd(units)
    case 'megapixels':
      return plural(Math.ceil((units / pixelsPerMegapixel) * 100) / 100, 'megapixel')
    case 'in_flight':
      return `${plural(units, 'request')} in flight`
    case 'requests':
      return plural(units, 'request')
    case 'images':
      return plural(units, 'image')
  }
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}

function describeWindow(windowMs: number): string {
  const seconds = windowMs / 1000
  const [length, name] = windows.find(([unit]) => seconds % unit === 0) ?? [1, 'second']
  return seconds === length ? name : plural(seconds / length, name)
}

const windows: readonly (readonly [seconds: number, name: string])[] = [
  [86_400, 'day'],
  [3_600, 'hour'],
  [60, 'minute']
]
