export type UpstreamHeaders = Record<string, string | string[] | undefined>

/**
 * How long an upstream asks to wait, in milliseconds: `retry-after-ms`, else `retry-after` (seconds or a date), else the longest
 * `x-ratelimit-reset-*` of a limit that is used up. Undefined where it does not say.
 */
export function retryAfterMs(headers: UpstreamHeaders, nowMs: number): number | undefined {
  return (
    wait(Number(header(headers, 'retry-after-ms') || Number.NaN)) ??
    fromRetryAfter(header(headers, 'retry-after'), nowMs) ??
    fromResets(headers)
  )
}

function fromRetryAfter(value: string, nowMs: number): number | undefined {
  if (/^\d+(\.\d+)?$/.test(value)) return wait(Number(value) * 1000)
  const date = /^[a-z]{3}/i.test(value) ? Date.parse(value) : Number.NaN
  return Number.isNaN(date) ? undefined : Math.max(0, date - nowMs)
}

function fromResets(headers: UpstreamHeaders): number | undefined {
  const waits = Object.keys(headers)
    .filter((name) => name.startsWith('x-ratelimit-reset-'))
    .filter((name) => !(Number(header(headers, name.replace('-reset-', '-remaining-'))) > 0))
    .flatMap((name) => durationMs(header(headers, name)) ?? [])
  return waits.length === 0 ? undefined : Math.max(...waits)
}

const unitMs: Readonly<Record<string, number>> = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1000, ms: 1 }

/** "20ms", "1s", "6m0s", "1h2m3.5s" as OpenAI writes them; a bare number is seconds. */
function durationMs(text: string): number | undefined {
  if (/^\d+(\.\d+)?$/.test(text)) return wait(Number(text) * 1000)
  if (!/^(\d+(\.\d+)?(ms|[dhms]))+$/.test(text)) return undefined
  return wait(
    [...text.matchAll(/([\d.]+)(ms|[dhms])/g)].reduce((sum, [, amount, unit]) => sum + Number(amount) * (unitMs[unit ?? ''] ?? 0), 0)
  )
}

function wait(ms: number): number | undefined {
  return Number.isSafeInteger(Math.ceil(ms)) && ms >= 0 ? Math.ceil(ms) : undefined
}

function header(headers: UpstreamHeaders, name: string): string {
  return [headers[name]].flat()[0]?.trim() ?? ''
}
