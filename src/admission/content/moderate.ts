import { type GatewayError, gatewayError } from '../../errors.ts'
import { retryAfterMs } from '../../providers/retry-after.ts'
import { UntrustedUrlError, type UntrustedUrlFetcher } from '../../upstream/untrusted-url.ts'

/** An endpoint that judges texts as OpenAI's POST /v1/moderations does. */
export interface ModerationEndpoint {
  url: string
  /** Empty: the endpoint's own choice. */
  model: string
  /** Unset: it needs none. */
  key?: string
  /** For everything from the look-up of its host to the whole answer. */
  timeoutMs: number
}

/** The endpoint's names for what it saw; undefined where it flagged nothing. */
export type Flagged = { categories: string[] } | undefined

/**
 * Asks the endpoint about a text. Throws MODERATION_UNAVAILABLE where it gives no answer, and the signal's reason. Neither text nor key are
 * ever part of an error.
 */
export type Moderate = (text: string, endpoint: ModerationEndpoint, signal: AbortSignal) => Promise<Flagged>

export function createModerate(deps: { fetcher: Pick<UntrustedUrlFetcher, 'post'> }): Moderate {
  return async (text, { url, model, key, timeoutMs }, signal) => {
    const body = JSON.stringify({ ...(model !== '' && { model }), input: text })
    const authorization = key === undefined ? {} : { authorization: `Bearer ${key}` }
    const headers = { 'content-type': 'application/json', accept: 'application/json', ...authorization }
    const answer = await deps.fetcher.post(url, { body, headers, signal, timeoutMs }).catch((error: unknown) => {
      signal.throwIfAborted()
      throw error instanceof UntrustedUrlError ? unreached(error, timeoutMs) : error
    })
    signal.throwIfAborted()
    if (answer.status !== 200) throw refusedBy(answer.status, answer.retryAfter)
    return readFlagged(answer.body)
  }
}

/** The error where there was no answer; one that is not retryable stays until the operator does something. */
export function moderationUnavailable(
  problem: string,
  options: { retryable?: boolean; retryAfterMs?: number; cause?: unknown } = {}
): GatewayError {
  const { retryable = true, ...others } = options
  return gatewayError(
    'MODERATION_UNAVAILABLE',
    { problem },
    { outcome: 'not_sent', retryable, ...(retryable && { retryAfterMs: defaultWaitMs }), ...others }
  )
}

const defaultWaitMs = 1_000
const maxCategories = 32

/** The host stays in the cause, which only the log gets. */
function unreached(cause: UntrustedUrlError, timeoutMs: number): GatewayError {
  if (cause.kind === 'timeout') return moderationUnavailable(`it takes longer than ${timeoutMs / 1000} seconds`, { cause })
  if (cause.kind === 'refused') return moderationUnavailable('its address may not be called', { retryable: false, cause })
  return moderationUnavailable('it cannot be reached', { cause })
}

function refusedBy(status: number, retryAfter: string | undefined): GatewayError {
  const waitMs = retryAfter === undefined ? undefined : retryAfterMs({ 'retry-after': retryAfter }, Date.now())
  return moderationUnavailable(`it answered with status ${status}`, {
    retryable: status >= 500 || status === 429 || status === 408,
    ...(waitMs !== undefined && { retryAfterMs: waitMs })
  })
}

/** `{ results: [{ flagged, categories: { violence: true, … }, … }] }`; other fields are the endpoint's own. */
function readFlagged(body: Buffer): Flagged {
  const answer = parse(body)
  const results = isObject(answer) && Array.isArray(answer.results) ? answer.results.filter(isResult) : []
  if (!isObject(answer) || !Array.isArray(answer.results) || results.length === 0 || results.length < answer.results.length) {
    throw moderationUnavailable('its answer is no moderation result')
  }
  const flagged = results.filter((result) => result.flagged)
  if (flagged.length === 0) return undefined
  const names = flagged.flatMap(({ categories }) =>
    isObject(categories) ? Object.keys(categories).filter((name) => categories[name] === true) : []
  )
  // They end up in answers and in the log.
  return { categories: [...new Set(names)].filter((name) => /^[\w/ .-]{1,64}$/.test(name)).slice(0, maxCategories) }
}

function parse(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString())
  } catch {
    return undefined
  }
}

function isResult(value: unknown): value is { flagged: boolean; categories?: unknown } {
  return isObject(value) && typeof value.flagged === 'boolean'
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
