import type { JsonObject, JsonValue } from '@bufbuild/protobuf'
import { isObject } from '../contract/json-object.ts'
import { type GatewayError, gatewayError, type Moderation, type Outcome } from '../errors.ts'
import { parseJson } from '../images/read-json.ts'
import { describeRedirect, type ErrorContext, scrub } from './error-answer.ts'
import { retryAfterMs, type UpstreamHeaders } from './retry-after.ts'

/** What an OpenAI-shaped upstream's error answer means. Reads every body: JSON of the known shapes, text, HTML, nothing. */
export function toProviderError(
  answer: { status: number; headers: UpstreamHeaders; body: Uint8Array },
  context: ErrorContext
): GatewayError {
  const { status, headers } = answer
  return toError(status, headers, readBody(answer.body), context)
}

/** What an `error` member in an answer with a success status means; `unknown` unless it says that the request was refused. */
export function toInlineError(error: JsonValue, context: ErrorContext): GatewayError {
  const problem = readProblem(error)
  const message = problem.message || 'it reports an error without a message'
  return toError(impliedStatus(problem), {}, { ...problem, message }, context)
}

interface Problem {
  message: string
  code?: string
  type?: string
  param?: string
  /** HTTP status that the body itself names. */
  status?: number
  moderation?: Moderation
}

function toError(status: number, headers: UpstreamHeaders, problem: Problem, context: ErrorContext): GatewayError {
  const { provider } = context
  const said = scrub(problem.message, context)
  const fields = { provider, problem: said === '' ? `it answered ${status} without a message` : said }
  const outcome: Outcome = status >= 300 && status < 500 && status !== 408 ? 'rejected' : 'unknown'
  const wait = retryAfterMs(headers, Date.now())
  const retry = wait === undefined ? {} : { retryAfterMs: wait }

  const { moderation } = problem
  if (moderation) return gatewayError('CONTENT_POLICY_VIOLATION', { problem: fields.problem }, { outcome, moderation })
  if (status < 400) return gatewayError('PROVIDER_FAILED', { provider, problem: describeRedirect(status, headers) }, { outcome })
  if (status === 401 || status === 402 || status === 403 || (status < 500 && hasCode(problem, accountCodes))) {
    return gatewayError('PROVIDER_KEY_REFUSED', fields, { outcome })
  }
  if (status === 429) return gatewayError('PROVIDER_RATE_LIMITED', fields, { outcome, ...retry })
  if (status === 529 || (status === 503 && hasCode(problem, overloadCodes))) {
    return gatewayError('PROVIDER_OVERLOADED', fields, { outcome: 'rejected', ...retry })
  }
  // A 408 says that somebody waited too long for the model as often as that the request came too slowly: it may have been made.
  if (status >= 500 || status === 408) return gatewayError('PROVIDER_FAILED', fields, { outcome })
  const described = status === 400 || status === 422 ? fields.problem : `the provider ${provider} answered ${status}: ${fields.problem}`
  return gatewayError(
    'PROVIDER_REJECTED',
    { problem: said === '' ? `the provider ${provider} answered ${status} without a message` : described },
    {
      outcome,
      ...(problem.param === undefined ? {} : { param: scrub(problem.param, context) }),
      ...(problem.code === undefined ? {} : { code: problem.code })
    }
  )
}

/** Codes or types that no waiting cures: the account has no credit or may not spend more. */
const accountCodes = [
  'insufficient_quota',
  'billing_hard_limit_reached',
  'billing_not_active',
  'credit_balance_exhausted',
  'organization_spend_limit_exceeded',
  'project_spend_limit_exceeded',
  'organization_usage_limit_exceeded',
  'account_deactivated'
]
const overloadCodes = ['server_is_overloaded', 'slow_down']
/** OpenAI's, the Responses API's, Azure's spellings, Seedream's. */
const moderationCodes = [
  'moderation_blocked',
  'content_policy_violation',
  'image_content_policy_violation',
  'content_filter',
  'contentfilter',
  'content_moderation',
  'responsibleaipolicyviolation',
  'inputtextsensitivecontentdetected',
  'inputimagesensitivecontentdetected',
  'outputimagesensitivecontentdetected'
]

function hasCode(problem: Problem, codes: readonly string[]): boolean {
  return [problem.code, problem.type].some((name) => name !== undefined && codes.includes(name.toLowerCase()))
}

/** The status that fits an error which came without one. */
function impliedStatus(problem: Problem): number {
  if (problem.status !== undefined) return problem.status
  if (hasCode(problem, overloadCodes)) return 503
  if (hasCode(problem, ['rate_limit_exceeded', 'rate_limit_error', ...accountCodes])) return 429
  if (hasCode(problem, ['invalid_api_key', 'authentication_error'])) return 401
  return hasCode(problem, ['invalid_request_error', 'image_generation_user_error', 'badrequesterror']) ? 400 : 500
}

function readBody(bytes: Uint8Array): Problem {
  const text = new TextDecoder().decode(bytes).trim()
  try {
    // Google's OpenAI-shaped endpoint wraps the error in an array.
    const [first] = [parseJson(bytes, { maxDepth: 32 })].flat()
    return readProblem(first ?? null)
  } catch {
    // Proxies answer in text or HTML.
  }
  return { message: text.startsWith('<') ? '' : text }
}

/**
 * `{error: {message, type, param, code}}` and what stands in its place elsewhere: the member alone, `{error: "…"}` (stable-diffusion.cpp,
 * xAI), `{detail: "…" | {error} | [{loc, msg}]}` (FastAPI, DeepInfra), `{message}`.
 */
function readProblem(json: JsonValue): Problem {
  if (!isObject(json)) return { message: typeof json === 'string' ? json : '' }
  const { error, detail } = json
  if (isObject(error)) return readProblem(error)
  if (isObject(detail)) return readProblem(detail)
  if (Array.isArray(detail)) return readValidation(detail)
  // stable-diffusion.cpp: {"error":"server_error","message":"…"}; xAI: {"code":"…","error":"…"}.
  const message = text(json.message) ?? text(error) ?? text(detail) ?? ''
  const code = codeLike(json.code) ?? (text(json.message) === undefined ? undefined : codeLike(error))
  const type = codeLike(json.type)
  const param = text(json.param)
  const status = Number(json.status ?? json.code)
  const problem: Problem = {
    message,
    ...(code === undefined ? {} : { code }),
    ...(type === undefined ? {} : { type }),
    ...(param === undefined ? {} : { param: param.slice(0, 200) }),
    ...(status >= 400 && status <= 599 ? { status } : {})
  }
  const moderation = readModeration(problem, json)
  return moderation ? { ...problem, moderation } : problem
}

function readValidation(detail: JsonValue[]): Problem {
  const problems = detail.filter(isObject)
  const location = problems[0]?.loc
  const param = Array.isArray(location) ? text(location.filter((step) => step !== 'body').join('.')) : undefined
  return {
    message: problems.map((problem) => text(problem.msg) ?? '').join('; '),
    ...(param === undefined ? {} : { param: param.slice(0, 200) })
  }
}

function readModeration(problem: Problem, json: JsonObject): Moderation | undefined {
  const inner = [json.innererror, json.inner_error].find(isObject)
  const details = isObject(json.moderation_details) ? json.moderation_details : undefined
  if (!details && !hasCode(problem, moderationCodes) && !moderationCodes.includes(text(inner?.code)?.toLowerCase() ?? '')) return undefined
  const stage = details?.moderation_stage
  const listed = Array.isArray(details?.categories) ? details.categories.filter((category) => typeof category === 'string') : []
  const filtered = Object.entries([inner?.content_filter_result, inner?.content_filter_results].find(isObject) ?? {}).flatMap(
    ([name, result]) => (isObject(result) && result.filtered === true ? [name] : [])
  )
  const quoted = /safety_violations=\[([^\]]{0,1000})\]/.exec(problem.message)?.[1]?.split(/[,\s]+/) ?? []
  const categories = [listed, filtered, quoted].find((names) => names.length > 0) ?? []
  return {
    stage: stage === 'input' || stage === 'output' ? stage : impliedStage(problem),
    categories: categories.filter((name) => /^[\w/ -]{1,64}$/.test(name)).slice(0, 32)
  }
}

function impliedStage({ code, param, message }: Problem): Moderation['stage'] {
  if (param === 'prompt') return 'input'
  // Azure has one code for both, and says so of images.
  if (/^generated image was filtered/i.test(message)) return 'output'
  return code?.startsWith('Input') ? 'input' : code?.startsWith('Output') ? 'output' : 'unknown'
}

function text(value: JsonValue | undefined): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

/** Provider codes are relayed, so sentences and numbers (Azure's "401", vLLM's 400) are no codes. */
function codeLike(value: JsonValue | undefined): string | undefined {
  return typeof value === 'string' && /^[A-Za-z][\w.-]{0,99}$/.test(value) ? value : undefined
}
