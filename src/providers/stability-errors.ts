import type { JsonValue } from '@bufbuild/protobuf'
import { isObject } from '../contract/json-object.ts'
import { type GatewayError, gatewayError } from '../errors.ts'
import { parseJson } from '../images/read-json.ts'
import { describeRedirect, type ErrorContext, scrub } from './error-answer.ts'
import { retryAfterMs, type UpstreamHeaders } from './retry-after.ts'

/** What an error answer means. Reads every body: both of Stability's shapes, other JSON, text, HTML, nothing. */
export function toProviderError(
  answer: { status: number; headers: UpstreamHeaders; body: Uint8Array },
  context: ErrorContext
): GatewayError {
  const { status, headers } = answer
  const { provider } = context
  const { name, message } = readProblem(answer.body)
  const said = scrub(message, context)
  const fields = { provider, problem: said === '' ? `it answered ${status} without a message` : said }

  if (name !== undefined && moderationNames.includes(name)) {
    const moderation = { stage: 'input', categories: [] as string[] } as const
    return gatewayError('CONTENT_POLICY_VIOLATION', { problem: fields.problem }, { outcome: 'rejected', moderation })
  }
  if (status < 400)
    return gatewayError('PROVIDER_FAILED', { provider, problem: describeRedirect(status, headers) }, { outcome: 'rejected' })
  if (status === 401 || status === 402 || status === 403) return gatewayError('PROVIDER_KEY_REFUSED', fields, { outcome: 'rejected' })
  if (status === 429) {
    const waitMs = retryAfterMs(headers, Date.now()) ?? lockoutMs
    return gatewayError('PROVIDER_RATE_LIMITED', fields, { outcome: 'rejected', retryAfterMs: waitMs })
  }
  // The vendor documents that it charges for successful generations only. A proxy in front of it knows nothing of that.
  if (status >= 500 && name !== undefined) return gatewayError('PROVIDER_FAILED', fields, { outcome: 'rejected', retryable: true })
  if (status >= 500 || status === 408) return gatewayError('PROVIDER_FAILED', fields, { outcome: 'unknown' })
  const isPlain = said !== '' && (status === 400 || status === 422)
  const param = /^([a-z_]{1,100}): /.exec(said)?.[1]
  return gatewayError(
    'PROVIDER_REJECTED',
    { problem: isPlain ? said : `the provider ${provider} answered ${status}${said === '' ? ' without a message' : `: ${said}`}` },
    {
      outcome: 'rejected',
      ...(param === undefined ? {} : { param }),
      ...(name !== undefined && scrub(name, context) === name && { code: name })
    }
  )
}

/** v2beta's 403, and v1's 400 for a prompt with filtered words. Neither is charged. */
const moderationNames = ['content_moderation', 'invalid_prompts']

/** Who exceeds 150 requests in 10 seconds is locked out for 60; no header says so. */
const lockoutMs = 60_000

interface Problem {
  /** The vendor's short name of the error; undefined where somebody else answered. */
  name?: string
  message: string
}

function readProblem(bytes: Uint8Array): Problem {
  try {
    return readJsonProblem(parseJson(bytes))
  } catch {
    // Proxies answer in text or HTML.
    const text = new TextDecoder().decode(bytes).trim()
    return { message: text.startsWith('<') ? '' : text }
  }
}

/** v1 says `{id, name, message}`, v2beta `{id, name, errors: [message]}`, and a refused key may get no more than `{message}`. */
function readJsonProblem(json: JsonValue): Problem {
  if (!isObject(json)) return { message: typeof json === 'string' ? json : '' }
  const { name, message, errors } = json
  const sentences = [message, ...(Array.isArray(errors) ? errors : [])].filter((sentence) => typeof sentence === 'string')
  const isName = typeof name === 'string' && /^[A-Za-z][\w.-]{0,99}$/.test(name)
  return { message: sentences.join('; '), ...(isName ? { name } : {}) }
}
