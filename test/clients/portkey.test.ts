import { Portkey } from 'portkey-ai'
import { afterAll, expect, test } from 'vitest'
import { download, startGateway } from '../support/gateway.ts'

const gateway = await startGateway()
afterAll(() => gateway[Symbol.asyncDispose]())

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
  [404, 'invalid_request_error', 'model_not_found', 'model', { model: 'dall-e-9', prompt: 'a cat' }],
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
