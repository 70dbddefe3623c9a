import type { JsonObject, JsonValue } from '@bufbuild/protobuf'
import { isObject } from '../contract/json-object.ts'
import { type GatewayError, gatewayError, type Outcome } from '../errors.ts'
import { parseJson } from '../images/read-json.ts'
import { describeRedirect, type ErrorContext, scrub } from './error-answer.ts'
import { retryAfterMs, type UpstreamHeaders } from './retry-after.ts'

/** What an error answer of the Gemini API means, or of a proxy before it. Reads every body: a `google.rpc.Status`, text, HTML, nothing. */
export function toProviderError(
  answer: { status: number; headers: UpstreamHeaders; body: Uint8Array },
  context: ErrorContext
): GatewayError {
  return toError(answer.status, answer.headers, readBody(answer.body), context)
}

/** What an `error` member in an answer with a success status means. */
export function toInlineError(error: JsonValue, context: ErrorContext): GatewayError {
  const problem = readStatus(error)
  return toError(problem.code ?? 500, {}, { ...problem, message: problem.message || 'it reports an error without a message' }, context)
}

/** A `google.rpc.Status`. */
interface Problem {
  message: string
  /** The HTTP status that the body itself names. */
  code?: number
  /** Name of the gRPC code; empty where the body is none of Google's. */
  status: string
  details: JsonObject[]
}

function toError(status: number, headers: UpstreamHeaders, problem: Problem, context: ErrorContext): GatewayError {
  const { provider } = context
  const said = scrub(problem.message, context)
  const fields = { provider, problem: said === '' ? `it answered ${status} without a message` : said }
  // 408 and 499 say that somebody stopped waiting: the image may have been made.
  const outcome: Outcome = status >= 300 && status < 500 && status !== 408 && status !== 499 ? 'rejected' : 'unknown'
  const wait = retryDelayMs(problem) ?? retryAfterMs(headers, Date.now())
  const retry = wait === undefined ? {} : { retryAfterMs: wait }

  if (status < 400) return gatewayError('PROVIDER_FAILED', { provider, problem: describeRedirect(status, headers) }, { outcome })
  if (isAboutAccount(status, problem)) return gatewayError('PROVIDER_KEY_REFUSED', fields, { outcome })
  if (status === 429) return gatewayError('PROVIDER_RATE_LIMITED', fields, { outcome, ...retry })
  if (isOverload(status, problem)) return gatewayError('PROVIDER_OVERLOADED', fields, { outcome: 'rejected', ...retry })
  if (outcome === 'unknown') return gatewayError('PROVIDER_FAILED', fields, { outcome })
  const param = fieldAtFault(problem)
  return gatewayError(
    'PROVIDER_REJECTED',
    {
      problem:
        status === 400 && said !== ''
          ? said
          : `the provider ${provider} answered ${status}${said === '' ? ' without a message' : `: ${said}`}`
    },
    {
      outcome,
      ...(param === undefined ? {} : { param: scrub(param, context) }),
      ...(/^[A-Z][A-Z_]{1,63}$/.test(problem.status) ? { code: problem.status } : {})
    }
  )
}

/**
 * What no waiting cures: a bad key is a 400 with the reason API_KEY_INVALID, a country without free tier one with FAILED_PRECONDITION; a
 * model that the plan does not include is a 429 with the limit 0, and so is an account without credit.
 */
function isAboutAccount(status: number, { message, status: name, details }: Problem): boolean {
  if (status === 401 || status === 402 || status === 403) return true
  if (status === 400) return name === 'FAILED_PRECONDITION' || details.some(({ reason }) => reason === 'API_KEY_INVALID')
  return status === 429 && /\blimit: 0\b(?!\.)|credits are depleted/.test(message)
}

/** The vendor names overload as the meaning of UNAVAILABLE; a call that ran into its deadline was at work. */
function isOverload(status: number, { message, status: name }: Problem): boolean {
  return status === 503 && name === 'UNAVAILABLE' && !/deadline/i.test(message)
}

/** `RetryInfo.retryDelay`, a duration such as "31s" or "0.5s". The vendor sends no header for it. */
function retryDelayMs({ details }: Problem): number | undefined {
  const seconds = details.flatMap(({ retryDelay }) => /^(\d{1,9}(?:\.\d{1,9})?)s$/.exec(String(retryDelay))?.[1] ?? [])[0]
  return seconds === undefined ? undefined : Math.ceil(Number(seconds) * 1000)
}

/** `BadRequest.fieldViolations`. */
function fieldAtFault({ details }: Problem): string | undefined {
  const violations = details.flatMap(({ fieldViolations }) => (Array.isArray(fieldViolations) ? fieldViolations : []))
  const field = violations.filter(isObject)[0]?.field
  return typeof field === 'string' && field !== '' ? field.slice(0, 200) : undefined
}

function readBody(bytes: Uint8Array): Problem {
  try {
    // Streaming methods, and proxies that call them, wrap the error in an array.
    const [first] = [parseJson(bytes, { maxDepth: 32 })].flat()
    const error = isObject(first) ? first.error : undefined
    return readStatus(error ?? first ?? null)
  } catch {
    // Proxies answer in text or HTML.
  }
  const text = new TextDecoder().decode(bytes).trim()
  return { message: text.startsWith('<') ? '' : text, status: '', details: [] }
}

function readStatus(error: JsonValue): Problem {
  if (!isObject(error)) return { message: typeof error === 'string' ? error : '', status: '', details: [] }
  const { code, message, status, details } = error
  return {
    message: typeof message === 'string' ? message : '',
    ...(typeof code === 'number' && code >= 400 && code <= 599 ? { code } : {}),
    status: typeof status === 'string' ? status : '',
    details: Array.isArray(details) ? details.filter(isObject) : []
  }
}
