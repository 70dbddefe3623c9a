import { Portkey } from 'portkey-ai'
import { afterAll, describe, expect, test } from 'vitest'
import { broughtKey, platformKey, startOpenToKeys } from '../support/brought-keys.ts'
import { download, startGateway } from '../support/gateway.ts'

const gateway = await startGateway()
const open = await startOpenToKeys({ ATELIER_ALLOW_REQUEST_CREDENTIALS: 'true', ATELIER_ALLOW_PROVIDER_KEY_ONLY: 'true' })
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  await open[Symbol.asyncDispose]()
})

const client = new Portkey({ apiKey: gateway.apiKey, provider: 'openai', baseURL: gateway.baseUrl })

test("gets dall-e-3's image as a link, with the revised prompt", async () => {
  const prompt = 'a link through Portkey'
  const { data } = await client.images.generate({ model: 'dall-e-3', prompt, n: 1, size: '1024x1024', quality: 'hd' })
  expect(data?.[0]?.revised_prompt).toBe(`A detailed, high-quality image of the following: ${prompt}`)
  expect(await download(data?.[0]?.url)).toEqual(await gateway.upstreamImage({ model: 'dall-e-3', prompt }))
})

test("gets gpt-image-2's image as base64", async () => {
  const prompt = 'base64 through Portkey'
  const { data } = await client.images.generate({ model: 'gpt-image-2', prompt })
  expect(Buffer.from(data?.[0]?.b64_json ?? '', 'base64')).toEqual(await gateway.upstreamImage({ model: 'gpt-image-2', prompt }))
})

test('sends the key in either place, beside a key of somebody else', async () => {
  const keys = [
    { Authorization: gateway.apiKey },
    { apiKey: gateway.apiKey, Authorization: 'sk-provider-key-of-the-caller' },
    { apiKey: 'portkey-key-of-the-caller', Authorization: `Bearer ${gateway.apiKey}` }
  ]
  for (const key of keys) {
    const { data } = await new Portkey({ ...key, provider: 'openai', baseURL: gateway.baseUrl }).models.list()
    expect(data?.length).toBeGreaterThan(0)
  }
})

test.each([
  [400, 'invalid_request_error', 'invalid_size', 'size', { model: 'dall-e-3', prompt: 'a cat', size: '256x256' }],
  [400, 'invalid_request_error', 'content_policy_violation', null, { model: 'dall-e-3', prompt: '[moderated]' }],
  [404, 'invalid_request_error', 'model_not_found', 'model', { model: 'stable-image-core', prompt: 'a cat' }],
  [429, 'rate_limit_error', 'rate_limit_exceeded', null, { model: 'dall-e-3', prompt: '[rate-limit]' }],
  [500, 'provider_error', 'provider_failed', null, { model: 'dall-e-3', prompt: '[server-error]' }]
])('throws %i with type %s and code %s', async (status, type, code, param, request) => {
  await expect(client.images.generate(request)).rejects.toMatchObject({ status, type, code, param })
})

test('throws 401 for a wrong key', async () => {
  const stranger = new Portkey({ apiKey: 'a-key-of-a-stranger', provider: 'openai', baseURL: gateway.baseUrl })
  await expect(stranger.images.generate({ model: 'dall-e-3', prompt: 'a cat' })).rejects.toMatchObject({
    status: 401,
    type: 'authentication_error',
    code: 'invalid_api_key'
  })
})

test('does not send again what the provider may have billed', async () => {
  const prompt = '[server-error] through Portkey'
  await expect(client.images.generate({ model: 'dall-e-3', prompt })).rejects.toMatchObject({ status: 500 })
  expect(gateway.upstreamCalls(prompt)).toBe(1)
})

test('does not send again through its own request method, which knows no x-should-retry', async () => {
  const prompt = '[server-error] through the request method of Portkey'
  await expect(client.post('/images/generations', { model: 'dall-e-3', prompt })).rejects.toMatchObject({ status: 500 })
  expect(gateway.upstreamCalls(prompt)).toBe(1)
})

describe('a key of the caller’s own', () => {
  const drawn = { model: 'dall-e-3', prompt: 'a cat with a key' }

  test('goes into either place, the gateway’s into the other', async () => {
    for (const keys of [
      { apiKey: open.apiKey, Authorization: broughtKey },
      { apiKey: broughtKey, Authorization: `Bearer ${open.apiKey}` }
    ]) {
      await new Portkey({ ...keys, provider: 'openai', baseURL: `${open.url}/v1` }).images.generate(drawn)
      expect(open.lastKey()).toBe(broughtKey)
    }
  })

  test('is enough where the operator says so, as in the seed’s examples', async () => {
    await new Portkey({ provider: 'openai', Authorization: broughtKey, baseURL: `${open.url}/v1` }).images.generate(drawn)
    expect(open.lastKey()).toBe(broughtKey)
    await new Portkey({ provider: 'openai', apiKey: broughtKey, baseURL: `${open.url}/v1` }).images.generate(drawn)
    expect(open.lastKey()).toBe(broughtKey)
  })

  test('is not what the client repeats of the gateway’s, nor the stand-in for one', async () => {
    await new Portkey({ apiKey: open.apiKey, provider: 'openai', baseURL: `${open.url}/v1` }).images.generate(drawn)
    expect(open.lastKey()).toBe(platformKey)
    const { data } = await new Portkey({ apiKey: open.apiKey, baseURL: `${open.url}/v1` }).images.generate(drawn)
    expect([data?.length, open.lastKey()]).toEqual([1, platformKey])
  })
})

describe('an option of the client', () => {
  const clientWith = (options: Record<string, unknown>) => new Portkey({ apiKey: open.apiKey, baseURL: `${open.url}/v1`, ...options })
  const drawn = { model: 'dall-e-3', prompt: 'a cat with options' }

  test('traceID comes back with what else Portkey says of an answer', async () => {
    const answer = await clientWith({ provider: 'openai', traceID: 'trace-1', metadata: { _user: 'anna', team: 'art' } }).images.generate(
      drawn
    )
    expect((answer as unknown as { getHeaders(): unknown }).getHeaders()).toMatchObject({
      'trace-id': 'trace-1',
      provider: 'openai',
      'retry-attempt-count': '0',
      'last-used-option-index': '0',
      'cache-status': 'DISABLED'
    })
  })

  test('virtualKey and a provider with "@" choose a stored credential', async () => {
    await open.storeCredential({ name: 'art-department', secret: 'sk-art-0123456789abcdef', weight: 0 })
    for (const options of [{ virtualKey: 'art-department' }, { provider: '@art-department' }]) {
      await clientWith(options).images.generate(drawn)
      expect(open.lastKey()).toBe('sk-art-0123456789abcdef')
    }
    await clientWith({}).images.generate({ ...drawn, model: '@art-department/dall-e-3' })
    expect(open.lastKey()).toBe('sk-art-0123456789abcdef')
  })

  test('requestTimeout ends the wait, and nothing is sent again', async () => {
    const prompt = '[slow] a cat that nobody waits for'
    const request = clientWith({ provider: 'openai', requestTimeout: 200 }).images.generate({ ...drawn, prompt })
    await expect(request).rejects.toMatchObject({ status: 504, code: 'deadline_exceeded' })
    expect(open.openai.requests.filter(({ body }) => body?.prompt === prompt).length).toBe(1)
  })

  test.each([
    [{ config: 'pc-of-the-cloud' }, 400, 'x-portkey-config'],
    [{ config: { retry: { attempts: 3 } } }, 400, 'x-portkey-config'],
    [{ provider: 'openai', customHost: 'http://127.0.0.1:1/v1' }, 400, 'x-portkey-custom-host'],
    [{ provider: 'openai', forwardHeaders: ['xSecret'] }, 400, 'x-portkey-forward-headers'],
    [{ provider: 'anthropic' }, 404, null],
    [{ virtualKey: 'nobody' }, 404, null]
  ])('%o is refused with %i', async (options, status, param) => {
    await expect(clientWith(options).images.generate(drawn)).rejects.toMatchObject({ status, param, type: 'invalid_request_error' })
  })
})
