import { Code, type ConnectError } from '@connectrpc/connect'
import { describe, expect, test } from 'vitest'
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from '../../gen/google/rpc/error_details_pb.ts'
import { errorTable, GatewayError, gatewayError, type Reason } from '../../src/errors.ts'
import { toConnectError, toEnvelopedError, toRestError } from '../../src/wire/error-response.ts'

describe('on REST', () => {
  const bodyOf = (thrown: unknown, writtenModel?: string) => JSON.parse(toRestError(thrown, 'req_1', writtenModel).body)

  test('an error has its status and all four keys', () => {
    const { status, headers, body } = toRestError(gatewayError('INVALID_PARAMETER', { param: 'n', problem: 'must be at least 1' }), 'req_1')
    expect({ status, headers, body }).toEqual({
      status: 400,
      headers: { 'x-request-id': 'req_1' },
      body: '{"error":{"message":"n: must be at least 1","type":"invalid_request_error","param":"n","code":"invalid_value"}}'
    })
  })

  test.each(Object.keys(errorTable) as Reason[])('%s states its entry in the table', (reason) => {
    const { http, type, code } = errorTable[reason]
    const { status, body } = toRestError(new GatewayError(reason, {}, {}), 'req_1')
    expect({ status, error: JSON.parse(body).error }).toEqual({
      status: http,
      error: { message: expect.any(String), type, code, param: null }
    })
  })

  test('a value that is no GatewayError tells nothing of itself', () => {
    for (const thrown of [new Error('secret'), 'secret', undefined, null]) {
      expect(toRestError(thrown, 'req_1')).toEqual({
        status: 500,
        headers: { 'x-request-id': 'req_1', 'x-should-retry': 'false', 'x-portkey-gateway-exception': 'true' },
        body: '{"error":{"message":"internal error; the request id finds it in the log","type":"server_error","param":null,"code":"internal_error"}}'
      })
    }
  })

  test.each([
    [1, '1', '1'],
    [1500, '2', '1500'],
    [3_600_000, '60', '60000'],
    [0, '1', '1']
  ])('a wait of %i ms is told as %s s and %s ms', (retryAfterMs, seconds, ms) => {
    const { headers } = toRestError(gatewayError('OVERLOADED', { limit: 1 }, { retryAfterMs }), 'req_1')
    expect(headers).toEqual({ 'x-request-id': 'req_1', 'retry-after': seconds, 'retry-after-ms': ms })
  })

  test('SDKs are told not to send again what may have been billed, and to try what was not', () => {
    const shouldRetry = (error: GatewayError) => toRestError(error, 'req_1').headers['x-should-retry']
    const provider = { provider: 'openai', problem: 'it hung up' }
    expect({
      outcomeUnknown: shouldRetry(gatewayError('OUTCOME_UNKNOWN', provider, { outcome: 'unknown' })),
      failed: shouldRetry(gatewayError('PROVIDER_FAILED', provider)),
      keyMissing: shouldRetry(gatewayError('PROVIDER_KEY_MISSING', { provider: 'openai', model: 'dall-e-3' })),
      unknownAnd429: shouldRetry(gatewayError('PROVIDER_RATE_LIMITED', provider, { outcome: 'unknown' })),
      rateLimited: shouldRetry(gatewayError('PROVIDER_RATE_LIMITED', provider, { outcome: 'rejected' })),
      unreachable: shouldRetry(gatewayError('PROVIDER_UNREACHABLE', provider, { outcome: 'not_sent' })),
      invalid: shouldRetry(gatewayError('MISSING_PARAMETER', { param: 'prompt' }))
    }).toEqual({ outcomeUnknown: 'false', failed: 'false', keyMissing: 'false', unknownAnd429: 'false' })
  })

  test('405 says which methods are allowed, and 401 how to authenticate', () => {
    expect(
      toRestError(gatewayError('METHOD_NOT_ALLOWED', { path: '/v1/models', method: 'PUT', allowed: 'GET, HEAD' }), 'req_1').headers
    ).toEqual({
      'x-request-id': 'req_1',
      allow: 'GET, HEAD'
    })
    expect(toRestError(gatewayError('INVALID_API_KEY', {}), 'req_1').headers).toEqual({
      'x-request-id': 'req_1',
      'www-authenticate': 'Bearer'
    })
  })

  test.each(['gpt-image-1', 'chatgpt-image-latest', 'openai/gpt-image-2'])(
    'a refusal for %s is told in the words of GPT Image',
    (model) => {
      const error = gatewayError(
        'CONTENT_POLICY_VIOLATION',
        { problem: 'no' },
        { moderation: { stage: 'input', categories: ['violence'] } }
      )
      expect(bodyOf(error, model)).toEqual({
        error: {
          message: 'no',
          type: 'image_generation_user_error',
          param: null,
          code: 'moderation_blocked',
          moderation_details: { moderation_stage: 'input', categories: ['violence'] }
        }
      })
    }
  )

  test.each(['dall-e-3', 'nano-banana', 'my-gpt-image-model', undefined])('a refusal for %s is told in the words of DALL·E', (model) => {
    const error = gatewayError('CONTENT_POLICY_VIOLATION', { problem: 'no' }, { moderation: { stage: 'input', categories: ['violence'] } })
    expect(bodyOf(error, model)).toEqual({
      error: { message: 'no', type: 'invalid_request_error', param: null, code: 'content_policy_violation' }
    })
  })

  test('GPT Image words are for refusals only', () => {
    expect(bodyOf(gatewayError('MISSING_PARAMETER', { param: 'prompt' }), 'gpt-image-1').error.code).toBe('missing_required_parameter')
  })
})

describe('in an envelope', () => {
  const ids = { taskId: '', traceId: 'mine' }

  test.each(Object.keys(errorTable) as Reason[])('%s has the code and the status that the dialect documents', (reason) => {
    const { http } = errorTable[reason]
    const expected =
      reason === 'ROUTE_NOT_FOUND' || reason === 'MODEL_NOT_FOUND'
        ? [400, 'api_not_implemented']
        : http === 401 || http === 403
          ? [401, 'invalid_token']
          : http === 429
            ? [429, 'too_many_requests']
            : http < 500
              ? [400, 'token_mismatched']
              : [500, 'api_error']
    const { status, body } = toEnvelopedError(new GatewayError(reason, {}, {}), 'req_1', ids)
    expect([status, JSON.parse(body)]).toEqual([
      expected[0],
      { success: false, error: { code: expected[1], message: expect.any(String) }, trace_id: 'mine' }
    ])
  })

  test('an error names its task between success and error', () => {
    const { body } = toEnvelopedError(gatewayError('CANCELLED', {}), 'req_1', { ...ids, taskId: 'task_1' })
    expect(body).toBe(
      '{"success":false,"task_id":"task_1","error":{"code":"token_mismatched","message":"the caller cancelled the request"},"trace_id":"mine"}'
    )
  })

  test('an error says how long to wait and whether to send it again', () => {
    const overloaded = toEnvelopedError(gatewayError('OVERLOADED', { limit: 1 }, { retryAfterMs: 1500 }), 'req_1', ids)
    const unknown = toEnvelopedError(gatewayError('PROVIDER_FAILED', { provider: 'openai', problem: 'no' }), 'req_1', ids)
    expect([overloaded.headers, unknown.headers]).toEqual([
      { 'x-request-id': 'req_1', 'retry-after': '2', 'retry-after-ms': '1500' },
      { 'x-request-id': 'req_1', 'x-should-retry': 'false', 'x-portkey-gateway-exception': 'true' }
    ])
  })

  test('a value that is no GatewayError tells nothing of itself', () => {
    expect(toEnvelopedError(new Error('secret'), 'req_1', ids).body).not.toContain('secret')
  })
})

describe('on RPC', () => {
  const details = (error: ConnectError) => ({
    info: error.findDetails(ErrorInfoSchema)[0],
    violations: error.findDetails(BadRequestSchema)[0]?.fieldViolations.map(({ field, description }) => ({ field, description })),
    delay: error.findDetails(RetryInfoSchema)[0]?.retryDelay
  })

  test('an error carries its reason, the parameter and the wait as details', () => {
    const error = toConnectError(gatewayError('OVERLOADED', { limit: 5 }, { param: 'n', retryAfterMs: 1500, outcome: 'not_sent' }), 'req_1')
    expect({ code: error.code, message: error.rawMessage, ...details(error) }).toMatchObject({
      code: Code.Unavailable,
      message: 'the server has 5 requests in flight and accepts no more',
      info: {
        reason: 'OVERLOADED',
        domain: 'atelier.v1',
        metadata: { requestId: 'req_1', param: 'n', outcome: 'not_sent', retryable: 'true' }
      },
      violations: [{ field: 'n', description: 'the server has 5 requests in flight and accepts no more' }],
      delay: { seconds: 1n, nanos: 500_000_000 }
    })
    expect(Object.fromEntries(error.metadata)).toEqual({ 'grpc-retry-pushback-ms': '1500' })
  })

  test('clients with a retry policy are told not to send again what may have been billed', () => {
    const error = toConnectError(
      gatewayError('OUTCOME_UNKNOWN', { provider: 'openai', problem: 'cut off' }, { outcome: 'unknown' }),
      'req_1'
    )
    expect([error.code, error.metadata.get('grpc-retry-pushback-ms')]).toEqual([Code.Unknown, '-1'])
  })

  test('a value that is no GatewayError tells nothing of itself', () => {
    const error = toConnectError(new Error('secret'), 'req_1')
    expect({ code: error.code, message: error.rawMessage, reason: details(error).info?.reason }).toEqual({
      code: Code.Internal,
      message: 'internal error; the request id finds it in the log',
      reason: 'INTERNAL'
    })
  })

  test('text from outside can be put into headers: long text is cut, half a surrogate pair is replaced', () => {
    const error = toConnectError(
      gatewayError('PROVIDER_REJECTED', { problem: `\ud800${'x'.repeat(100_000)}` }, { param: '\udfff' }),
      'req_1'
    )
    expect(error.rawMessage).toBe(`\ufffd${'x'.repeat(997)}…`)
    expect(() => encodeURIComponent(error.rawMessage)).not.toThrow()
    expect(details(error).violations?.[0]?.field).toBe('\ufffd')
  })

  test('a long message in any script leaves room for the rest of the headers', () => {
    const error = toConnectError(gatewayError('PROVIDER_REJECTED', { problem: '猫'.repeat(5000) }), 'req_1')
    expect(error.rawMessage).toBe(`${'猫'.repeat(333)}…`)
  })

  test('what a safety system said is in the metadata', () => {
    const moderation = { stage: 'output' as const, categories: ['violence', 'sexual'] }
    const error = toConnectError(gatewayError('CONTENT_POLICY_VIOLATION', { problem: 'no' }, { moderation }), 'req_1')
    expect(details(error).info?.metadata).toEqual({
      requestId: 'req_1',
      retryable: 'false',
      moderationStage: 'output',
      moderationCategories: 'violence,sexual'
    })
  })
})
