import { describe, expect, test } from 'vitest'
import { toProviderError } from '../../src/providers/openai-errors.ts'
import { retryAfterMs } from '../../src/providers/retry-after.ts'
import errors from '../fixtures/openai/errors.json' with { type: 'json' }

type ErrorName = keyof typeof errors

describe('an error answer of an OpenAI-shaped upstream', () => {
  const rejected = { reason: 'PROVIDER_REJECTED', outcome: 'rejected', retryable: false, code: 'provider_rejected' }
  const moderated = { reason: 'CONTENT_POLICY_VIOLATION', outcome: 'rejected', retryable: false, code: 'content_policy_violation' }
  const keyRefused = { reason: 'PROVIDER_KEY_REFUSED', outcome: 'rejected', retryable: false, code: 'provider_key_refused' }
  const overloaded = { reason: 'PROVIDER_OVERLOADED', outcome: 'rejected', retryable: true, code: 'provider_overloaded' }
  const failed = { reason: 'PROVIDER_FAILED', outcome: 'unknown', retryable: false, code: 'provider_failed' }
  const refusedKey = 'the provider paint refused the configured key or its account: '

  const table: Record<ErrorName, Record<string, unknown>> = {
    invalid_size: { ...rejected, code: 'invalid_size', message: 'The size is not supported by this model.' },
    unknown_parameter: {
      ...rejected,
      code: 'unknown_parameter',
      param: 'response_format',
      message: "Unknown parameter: 'response_format'."
    },
    fastapi: { ...rejected, param: 'n', message: 'Input should be less than or equal to 10' },
    vllm: { ...rejected, message: 'The model `x` does not exist.' },
    deepinfra: { ...rejected, message: 'width must be a multiple of 8' },
    'sd-cpp': { ...rejected, message: 'prompt required' },
    'sd-cpp-500': { ...failed, message: 'the provider paint failed: out of memory' },
    xai: { ...rejected, message: 'Argument not supported: size' },
    'message-only': { ...rejected, message: 'no Route matched with those values' },
    gemini: { ...rejected, message: 'Unsupported size' },
    moderation_blocked: {
      ...moderated,
      moderation: { stage: 'output', categories: ['sexual', 'violence/graphic'] },
      message: errors.moderation_blocked.body.error.message
    },
    'moderation_blocked-2025': {
      ...moderated,
      moderation: { stage: 'unknown', categories: ['sexual', 'violence'] },
      message: 'Your request was rejected by the safety system. safety_violations=[sexual, violence].'
    },
    content_policy_violation: {
      ...moderated,
      moderation: { stage: 'unknown', categories: [] },
      message: errors.content_policy_violation.body.error.message
    },
    'azure-content_filter': {
      ...moderated,
      moderation: { stage: 'input', categories: ['sexual'] },
      message: "The response was filtered due to the prompt triggering Azure OpenAI's content management policy."
    },
    'azure-inner': {
      ...moderated,
      moderation: { stage: 'unknown', categories: ['violence'] },
      message: 'Your task failed as a result of our safety system.'
    },
    'azure-banned': {
      ...keyRefused,
      message: `${refusedKey}Your resource has been temporarily blocked because we detected behavior that may violate our content policy.`
    },
    billing_hard_limit: { ...keyRefused, message: `${refusedKey}Billing hard limit has been reached` },
    insufficient_quota: { ...keyRefused, message: `${refusedKey}You have run out of credits.` },
    payment: { ...keyRefused, message: `${refusedKey}Insufficient credits` },
    invalid_api_key: {
      ...keyRefused,
      message: `${refusedKey}Incorrect API key provided: [key]. You can find your API key at https://platform.openai.com/account/api-keys.`
    },
    'echoed-key': { ...keyRefused, message: `${refusedKey}key [key] (header: Bearer [key] id [key], org [key]) is not allowed` },
    model_not_found: {
      ...rejected,
      code: 'model_not_found',
      message: 'the provider paint answered 404: The model `dall-e-3` does not exist or you do not have access to it.'
    },
    'too-large': { ...rejected, message: 'the provider paint answered 413 without a message' },
    'rate-limit': {
      reason: 'PROVIDER_RATE_LIMITED',
      outcome: 'rejected',
      retryable: true,
      code: 'rate_limit_exceeded',
      retryAfterMs: 12_345,
      message: 'the provider paint asks to slow down: Rate limit reached for gpt-image-1. Please try again in 12s.'
    },
    'slow_down-503': { ...overloaded, retryAfterMs: 5000, message: 'the provider paint is overloaded: Slow down.' },
    overloaded: { ...overloaded, message: 'the provider paint is overloaded: The server is currently overloaded.' },
    'overloaded-529': { ...overloaded, message: 'the provider paint is overloaded: it answered 529 without a message' },
    unavailable: { ...failed, message: 'the provider paint failed: upstream connect error or disconnect/reset before headers' },
    'server-error': { ...failed, message: 'the provider paint failed: The server had an error while processing your request.' },
    'bad-gateway': { ...failed, message: 'the provider paint failed: it answered 502 without a message' },
    'request-timeout': { ...failed, message: 'the provider paint failed: The operation was timeout.' },
    empty: { ...rejected, message: 'the provider paint answered 400 without a message' },
    redirect: {
      ...failed,
      outcome: 'rejected',
      message:
        'the provider paint failed: it answered with a redirect (308) to https://api.openai.com, which is not followed: check its base_url'
    }
  }

  test.each(Object.keys(errors) as ErrorName[])('says what it is: %s', (name) => {
    expect(shown(errorFor(errors[name]))).toEqual(table[name])
  })

  test('is cut at 500 characters, on one line', () => {
    const { message } = errorFor({ status: 400, body: { error: { message: `${'é'.repeat(300)}\r\n\u0000${'🦊'.repeat(300)}` } } })
    expect(message).toBe(`${'é'.repeat(300)} ${'🦊'.repeat(198)}…`)
  })

  test('is understood whatever its members are', () => {
    const odd = [
      null,
      7,
      true,
      [],
      {},
      { error: 7 },
      { error: [] },
      { error: { message: 7, code: {}, param: [], type: 1 } },
      { detail: [] },
      { detail: [7] }
    ]
    expect(odd.map((body) => errorFor({ status: 400, body }).message)).toEqual(
      odd.map(() => 'the provider paint answered 400 without a message')
    )
  })

  test('that nests without end is an error without a message', () => {
    const text = '{"error":'.repeat(5000)
    expect(errorFor({ status: 500, text: `${text}1${'}'.repeat(5000)}` }).reason).toBe('PROVIDER_FAILED')
  })
})

describe('the wait that an upstream asks for', () => {
  const now = Date.parse('Fri, 20 Nov 2026 12:00:00 GMT')

  test.each([
    [{ 'retry-after-ms': '1500.4', 'retry-after': '9' }, 1501],
    [{ 'retry-after': '9' }, 9000],
    [{ 'retry-after': '0' }, 0],
    [{ 'retry-after': 'Fri, 20 Nov 2026 12:00:30 GMT' }, 30_000],
    [{ 'retry-after': 'Fri, 20 Nov 2026 11:00:00 GMT' }, 0],
    [{ 'x-ratelimit-reset-requests': '20ms' }, 20],
    [{ 'x-ratelimit-reset-requests': '1s', 'x-ratelimit-reset-tokens': '6m0s' }, 360_000],
    [{ 'x-ratelimit-reset-requests': '1s', 'x-ratelimit-reset-tokens': '6m0s', 'x-ratelimit-remaining-tokens': '4000' }, 1000],
    [{ 'x-ratelimit-reset-images': '1h2m3.5s', 'x-ratelimit-remaining-images': '0' }, 3_723_500],
    [{ 'x-ratelimit-reset-requests': '7' }, 7000],
    [{ 'retry-after': 'soon' }, undefined],
    [{ 'retry-after': '-1' }, undefined],
    [{ 'retry-after': '9'.repeat(400) }, undefined],
    [{ 'x-ratelimit-reset-requests': 'never' }, undefined],
    [{}, undefined]
  ])('%j', (headers, expected) => {
    expect(retryAfterMs(headers, now)).toBe(expected)
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
