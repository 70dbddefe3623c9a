import { describe, expect, test } from 'vitest'
import { toProviderError } from '../../src/providers/google-errors.ts'
import errors from '../fixtures/google/errors.json' with { type: 'json' }

type ErrorName = keyof typeof errors

const context = { provider: 'paint', secrets: ['quiet-credential'] }

describe('an error answer of the Gemini API', () => {
  const rejected = { reason: 'PROVIDER_REJECTED', outcome: 'rejected', retryable: false }
  const keyRefused = { reason: 'PROVIDER_KEY_REFUSED', outcome: 'rejected', retryable: false, retryAfterMs: undefined }
  const limited = { reason: 'PROVIDER_RATE_LIMITED', outcome: 'rejected', retryable: true, code: 'rate_limit_exceeded' }
  const failed = { reason: 'PROVIDER_FAILED', outcome: 'unknown', retryable: false }

  const table: Record<ErrorName, Record<string, unknown>> = {
    'bad-key': {
      ...keyRefused,
      message: 'the provider paint refused the configured key or its account: API key not valid. Please pass a valid API key.'
    },
    'no-key': keyRefused,
    unauthenticated: keyRefused,
    location: keyRefused,
    'rate-limit': { ...limited, retryAfterMs: 31_500 },
    'rate-limit-bare': { ...limited, retryAfterMs: undefined },
    'no-quota': keyRefused,
    'no-credit': keyRefused,
    'unknown-model': {
      ...rejected,
      code: 'NOT_FOUND',
      message:
        'the provider paint answered 404: models/gemini-9 is not found for API version v1beta, or is not supported for generateContent.'
    },
    'bad-value': {
      ...rejected,
      code: 'INVALID_ARGUMENT',
      param: 'generation_config.seed',
      message: errors['bad-value'].body.error.message
    },
    'bad-ratio': { ...rejected, code: 'INVALID_ARGUMENT', param: undefined, message: 'Aspect ratio 1:4 is not supported for this model' },
    'in-an-array': { ...rejected, code: 'INVALID_ARGUMENT', message: 'Request has empty input.' },
    overloaded: { reason: 'PROVIDER_OVERLOADED', outcome: 'rejected', retryable: true },
    'unavailable-late': failed,
    internal: { ...failed, message: 'the provider paint failed: An internal error has occurred.' },
    late: failed,
    cancelled: failed,
    'echoed-key': { ...rejected, message: 'cannot call https://x.example/?key=[key]&alt=json with [key] or [key]' }
  }

  test.each(Object.keys(table) as ErrorName[])('means what it says: %s', (name) => {
    const { status, body } = errors[name]
    expect(toProviderError({ status, headers: {}, body: Buffer.from(JSON.stringify(body)) }, context)).toMatchObject(table[name])
  })

  test.each([
    [503, '<html>busy</html>', { ...failed, message: 'the provider paint failed: it answered 503 without a message' }],
    [502, 'upstream connect error', { ...failed, message: 'the provider paint failed: upstream connect error' }],
    [408, '', { ...failed, message: 'the provider paint failed: it answered 408 without a message' }],
    [413, '', { ...rejected, code: 'provider_rejected', message: 'the provider paint answered 413 without a message' }],
    [400, '{}', { ...rejected, message: 'the provider paint answered 400 without a message' }],
    [400, '{"error":"no"}', { ...rejected, message: 'no' }],
    [429, '{"error":{"details":[{"retryDelay":"soon"},{"retryDelay":"0.25s"}]}}', { ...limited, retryAfterMs: 250 }],
    [307, '', { reason: 'PROVIDER_FAILED', outcome: 'rejected' }]
  ])('is understood from anybody: %d %s', (status, body, expected) => {
    expect(toProviderError({ status, headers: {}, body: Buffer.from(body) }, context)).toMatchObject(expected)
  })

  test('of a proxy may name its wait in a header', () => {
    const answer = { status: 429, headers: { 'retry-after': '7' }, body: Buffer.from('slow down') }
    expect(toProviderError(answer, context)).toMatchObject({ ...limited, retryAfterMs: 7000 })
  })
})
