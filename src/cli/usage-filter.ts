import type { MessageInitShape } from '@bufbuild/protobuf'
import type { UsageFilterSchema } from '../../gen/atelier/v1/usage_pb.ts'
import { parseDuration } from './duration.ts'
import { parseDay } from './expiry.ts'
import { keyIdOf } from './key-id.ts'
import type { Given } from './read-arguments.ts'
import { UsageError } from './usage-error.ts'

/** Which bookings the options of a command choose. Throws UsageError for a time that is none. */
export function readFilter({ values }: Given, nowMs: number): MessageInitShape<typeof UsageFilterSchema> {
  const { org = '', key = '', provider = '', model = '', user, from, to } = values
  const range = { from: readTime('--from', from, nowMs), to: readTime('--to', to, nowMs) }
  if (range.from !== undefined && range.to !== undefined && range.from >= range.to)
    throw new UsageError('--from must be before --to', 'usage')
  return {
    organizationId: org,
    apiKeyId: keyIdOf(key),
    provider,
    model,
    ...(user !== undefined && { user }),
    ...(range.from !== undefined && { from: range.from }),
    ...(range.to !== undefined && { to: range.to })
  }
}

/** Unix seconds of the beginning of a day or month in UTC, or of so long ago. */
function readTime(option: string, text: string | undefined, nowMs: number): bigint | undefined {
  if (text === undefined) return undefined
  const seconds = parseDuration(text, ['h', 'd', 'w'])
  const at = seconds === undefined ? parseDay(/^\d{4}-\d{2}$/.test(text) ? `${text}-01` : text) : Math.floor(nowMs / 1000) - seconds
  if (at !== undefined && at >= 0) return BigInt(at)
  throw new UsageError(
    `${option} must be a day such as 2026-11-30, a month such as 2026-11, or 12h, 30d or 4w for so long ago, not ${text}`,
    'usage'
  )
}
