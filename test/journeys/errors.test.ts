import { readFileSync } from 'node:fs'
import { Code } from '@connectrpc/connect'
import { afterAll, describe, expect, test } from 'vitest'
import type { ErrorEntry } from '../../src/errors/error-entry.ts'
import { errorTable } from '../../src/errors.ts'
import { startAtelier } from '../support/atelier.ts'
import { startGateway } from '../support/gateway.ts'

const gateway = await startGateway()
afterAll(() => gateway[Symbol.asyncDispose]())

const generate = async (body: unknown, headers: Record<string, string> = {}) => {
  const response = await gateway.post('/v1/images/generations', body, headers)
  return { status: response.status, retry: response.headers.get('x-should-retry'), ...((await response.json()) as { error: RestError }) }
}

interface RestError {
  message: string
  type: string
  param: string | null
  code: string | null
}

describe('seed 000', () => {
  test.each([
    ['a missing prompt', { model: 'dall-e-3' }, "missing required parameter: 'prompt'", 'missing_required_parameter', 'prompt'],
    [
      'an invalid size',
      { model: 'dall-e-3', prompt: 'a cat', size: '640x480' },
      'Invalid size for dall-e-3: must be 1024x1024, 1792x1024, or 1024x1792',
      'invalid_size',
      'size'
    ],
    [
      'an unsupported parameter',
      { model: 'dall-e-3', prompt: 'a cat', colour: 'blue' },
      "Unknown parameter: 'colour'.",
      'unknown_parameter',
      'colour'
    ],
    ['n above 1 for DALL-E 3', { model: 'dall-e-3', prompt: 'a cat', n: 2 }, 'n: must be 1 for dall-e-3, not 2', 'invalid_value', 'n']
  ])('400 invalid_request_error: %s', async (_, body, message, code, param) => {
    expect(await generate(body)).toEqual({ status: 400, retry: null, error: { message, type: 'invalid_request_error', param, code } })
  })

  test.each([
    ['no Bearer token', ''],
    ['an unknown Bearer token', 'Bearer sk-unknown-to-everybody']
  ])('401 authentication_error: %s', async (_, authorization) => {
    expect(await generate({ prompt: 'a cat' }, { authorization })).toEqual({
      status: 401,
      retry: null,
      error: {
        message: 'missing or invalid API key: send it as `Authorization: Bearer <key>`',
        type: 'authentication_error',
        param: null,
        code: 'invalid_api_key'
      }
    })
  })

  test('500 provider_error: no OpenAI API key is configured', async () => {
    await using keyless = await startAtelier()
    const response = await keyless.post('/v1/images/generations', { model: 'dall-e-3', prompt: 'a cat' })
    expect([response.status, response.headers.get('x-should-retry'), await response.json()]).toEqual([
      500,
      'false',
      {
        error: {
          message: 'no openai API key is configured, so dall-e-3 cannot be served',
          type: 'provider_error',
          param: null,
          code: 'provider_key_missing'
        }
      }
    ])
  })

  test('500 provider_error: the configured key is refused, which is not the caller’s 401', async () => {
    await using gateway = await startGateway({ openai: { apiKey: 'sk-another-key-altogether' } })
    const response = await gateway.post('/v1/images/generations', { model: 'dall-e-3', prompt: 'a cat' })
    const { error } = await response.json()
    expect([response.status, response.headers.get('x-should-retry'), error.type, error.code]).toEqual([
      500,
      'false',
      'provider_error',
      'provider_key_refused'
    ])
    expect(error.message).not.toContain('sk-')
  })

  test.each([
    '[server-error]',
    '[bad-gateway]',
    '[reset]',
    '[malformed]',
    '[empty]',
    '[truncated]',
    '[short]',
    '[redirect]',
    '[quota]',
    '[unverified]'
  ])('500 provider_error: upstream error %s', async (prompt) => {
    const { status, retry, error } = await generate({ model: 'dall-e-3', prompt, response_format: 'b64_json' }).catch(() => ({
      // An answer that has begun can only be broken off.
      status: 500,
      retry: 'false',
      error: { type: 'provider_error' } as RestError
    }))
    expect([status, retry, error.type]).toEqual([500, 'false', 'provider_error'])
    expect(gateway.upstreamCalls(prompt)).toBe(1)
  })
})

describe('seed 001', () => {
  test('invalid_size names the model and its sizes, in these words', async () => {
    expect((await generate({ model: 'dall-e-3', prompt: 'a cat', size: '512x512' })).error).toMatchObject({
      message: 'Invalid size for dall-e-3: must be 1024x1024, 1792x1024, or 1024x1792',
      type: 'invalid_request_error',
      code: 'invalid_size'
    })
  })

  test('a prompt that violates the content policy is content_policy_violation, in the words of the provider', async () => {
    expect(await generate({ model: 'dall-e-3', prompt: '[moderated]' })).toEqual({
      status: 400,
      retry: null,
      error: {
        message:
          'Your request was rejected as a result of our safety system. Your prompt may contain text that is not allowed by our safety system.',
        type: 'invalid_request_error',
        param: null,
        code: 'content_policy_violation'
      }
    })
  })

  test('the same name served by another model keeps its own words', async () => {
    await using aliased = await startGateway({ settings: { aliases: { 'dall-e-3': 'openai/gpt-image-2' } } })
    const response = await aliased.post('/v1/images/generations', { model: 'dall-e-3', prompt: '[moderated]' })
    expect((await response.json()).error).toMatchObject({ type: 'invalid_request_error', code: 'content_policy_violation' })
  })
})

test('every error has the four keys of OpenAI and a request id', async () => {
  const answers = [
    await gateway.post('/v1/images/generations', '{'),
    await gateway.post('/v1/images/generations', { model: 'nobody', prompt: 'a cat' }),
    await gateway.get('/v1/images/generations'),
    await gateway.get('/nowhere'),
    await gateway.get('/images/nothing'),
    await fetch(`${gateway.url}/v1/models`)
  ]
  for (const response of answers) {
    expect(response.headers.get('x-request-id')).toMatch(/^req_[0-9a-f]{32}$/)
    const { error } = (await response.json()) as { error: RestError }
    expect(Object.keys(error).sort()).toEqual(['code', 'message', 'param', 'type'])
  }
})

test('docs/errors.md tells what the table says', () => {
  const page = readFileSync(new URL('../../docs/errors.md', import.meta.url), 'utf8')
  const rows = page.split('\n').filter((line) => line.startsWith('| `'))
  const cells = rows.map((row) => row.split('|').slice(1, -1).map(plain))
  const expected = Object.entries<ErrorEntry>(errorTable).map(([reason, { http, type, code, rpc, billed, retryable, meaning }]) => [
    reason,
    String(http),
    type,
    code ?? 'null',
    Code[rpc].replace(/(?<=[a-z])(?=[A-Z])/g, '_').toUpperCase(),
    billed === 'no' ? 'no' : 'possibly',
    retryable ? 'yes' : 'no',
    meaning
  ])
  expect(cells).toEqual(expected)
})

/** A cell without its padding, bold face and code font. */
function plain(cell: string): string {
  return cell
    .trim()
    .replace(/^\*\*|\*\*$/g, '')
    .replace(/^`([^`]*)`$/, '$1')
}
