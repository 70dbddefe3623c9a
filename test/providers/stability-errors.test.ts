import { describe, expect, test } from 'vitest'
import { toProviderError } from '../../src/providers/stability-errors.ts'
import errors from '../fixtures/stability/errors.json' with { type: 'json' }

type ErrorName = keyof typeof errors

describe('an error answer of Stability', () => {
  const rejected = { reason: 'PROVIDER_REJECTED', outcome: 'rejected', retryable: false, code: 'provider_rejected' }
  const moderated = {
    reason: 'CONTENT_POLICY_VIOLATION',
    outcome: 'rejected',
    retryable: false,
    code: 'content_policy_violation',
    moderation: { stage: 'input', categories: [] }
  }
  const keyRefused = { reason: 'PROVIDER_KEY_REFUSED', outcome: 'rejected', retryable: false, code: 'provider_key_refused' }
  const limited = { reason: 'PROVIDER_RATE_LIMITED', outcome: 'rejected', retryable: true, code: 'rate_limit_exceeded' }
  const free = { reason: 'PROVIDER_FAILED', outcome: 'rejected', retryable: true, code: 'provider_failed' }
  const lost = { reason: 'PROVIDER_FAILED', outcome: 'unknown', retryable: false, code: 'provider_failed' }
  const refusedKey = 'the provider paint refused the configured key or its account: '

  const table: Record<ErrorName, Record<string, unknown>> = {
    'v1-bad_request': { ...rejected, code: 'bad_request', param: 'init_image', message: 'init_image: is required' },
    'v1-dimensions': { ...rejected, code: 'invalid_sdxl_v1_dimensions', message: errors['v1-dimensions'].body.message },
    'v1-invalid_prompts': { ...moderated, message: 'Invalid prompts detected' },
    'v1-unauthorized': { ...keyRefused, message: `${refusedKey}missing authorization header` },
    'v1-permission_denied': { ...keyRefused, message: `${refusedKey}You do not have permission to access this resource` },
    'v1-not_found': {
      ...rejected,
      code: 'not_found',
      message: 'the provider paint answered 404: The specified engine (ID some-fake-engine) was not found.'
    },
    'v1-server_error': { ...free, message: 'the provider paint failed: An unexpected server error occurred, please try again.' },
    'v2-bad_request': { ...rejected, code: 'bad_request', message: 'some-field: is required; another is wrong' },
    'v2-content-type': { ...rejected, code: 'bad_request', message: 'content-type: required' },
    'v2-aspect_ratio': {
      ...rejected,
      code: 'bad_request',
      param: 'aspect_ratio',
      message: "aspect_ratio: invalid enum value. Expected '21:9' | '16:9'"
    },
    'v2-content_moderation': { ...moderated, message: errors['v2-content_moderation'].body.errors[0] },
    'v2-payment_required': { ...keyRefused, message: `${refusedKey}${errors['v2-payment_required'].body.errors[0]}` },
    'incorrect-key': { ...keyRefused, message: `${refusedKey}Incorrect API key provided` },
    'echoed-key': { ...keyRefused, message: `${refusedKey}key [key] (Bearer [key]) for [key]` },
    'v2-too-large': {
      ...rejected,
      code: 'payload_too_large',
      param: 'body',
      message: 'the provider paint answered 413: body: payloads cannot be larger than 10MiB in size'
    },
    'v2-unprocessable': { ...rejected, code: 'unprocessable_entity', param: 'prompt', message: 'prompt: is not understood' },
    'rate-limit': { ...limited, retryAfterMs: 60_000, message: 'the provider paint asks to slow down: You have exceeded the rate limit.' },
    'rate-limit-with-wait': { ...limited, retryAfterMs: 7000, message: 'the provider paint asks to slow down: slow down' },
    'v2-server_error': { ...free, message: 'the provider paint failed: An unexpected server error has occurred, please try again later.' },
    'bad-gateway': { ...lost, message: 'the provider paint failed: it answered 502 without a message' },
    'gateway-timeout': { ...lost, message: 'the provider paint failed: upstream request timeout' },
    'request-timeout': { ...lost, message: 'the provider paint failed: it answered 408 without a message' },
    empty: { ...rejected, message: 'the provider paint answered 400 without a message' },
    redirect: {
      ...lost,
      outcome: 'rejected',
      message:
        'the provider paint failed: it answered with a redirect (308) to https://platform.stability.ai, which is not followed: check its base_url'
    }
  }

  test.each(Object.keys(errors) as ErrorName[])('says what it is: %s', (name) => {
    expect(shown(errorFor(errors[name]))).toEqual(table[name])
  })

  test('is understood whatever its members are', () => {
    const odd = [null, 7, true, [], {}, { errors: 7 }, { errors: [7, null] }, { name: {}, message: [] }]
    expect(odd.map((body) => errorFor({ status: 400, body }).message)).toEqual(
      odd.map(() => 'the provider paint answered 400 without a message')
    )
  })

  test.each(['a sentence of words', 'quiet-credential', 'sk-abcdefghijkl'])('relays no name that is a sentence or a key: %s', (name) => {
    expect(errorFor({ status: 400, body: { name, message: 'no' } }).code).toBe('provider_rejected')
  })

  test('that nests without end is an error without the vendor’s shape', () => {
    expect(errorFor({ status: 500, text: `${'{"errors":'.repeat(5000)}1${'}'.repeat(5000)}` }).outcome).toBe('unknown')
  })
})

function errorFor(answer: { status: number; headers?: Record<string, string>; body?: unknown; text?: string }) {
  const body = Buffer.from(answer.text ?? JSON.stringify(answer.body))
  const secrets = ['quiet-credential', 'hush-header', '']
  return toProviderError({ status: answer.status, headers: answer.headers ?? {}, body }, { provider: 'paint', secrets })
}

function shown(error: ReturnType<typeof errorFor>): Record<string, unknown> {
  const { reason, message, outcome, retryable, code, param, retryAfterMs, moderation } = error
  const set = Object.entries({ param, retryAfterMs, moderation }).filter(([, value]) => value !== undefined)
  return { reason, message, outcome, retryable, code, ...Object.fromEntries(set) }
}
