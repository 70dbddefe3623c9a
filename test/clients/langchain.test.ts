import { DallEAPIWrapper } from '@langchain/openai'
import { afterAll, expect, test } from 'vitest'
import { download, startGateway } from '../support/gateway.ts'

const gateway = await startGateway()
afterAll(() => gateway[Symbol.asyncDispose]())

const settings = { apiKey: gateway.apiKey, baseUrl: gateway.baseUrl }

test("gets dall-e-3's image as a link", async () => {
  const prompt = 'a link for LangChain'
  const url: string = await new DallEAPIWrapper(settings).invoke(prompt)
  expect(await download(url)).toEqual(await gateway.upstreamImage({ model: 'dall-e-3', prompt }))
})

test("gets dall-e-3's image as base64", async () => {
  const prompt = 'base64 for LangChain'
  const base64: string = await new DallEAPIWrapper({ ...settings, dallEResponseFormat: 'b64_json' }).invoke(prompt)
  expect(Buffer.from(base64, 'base64')).toEqual(await gateway.upstreamImage({ model: 'dall-e-3', prompt }))
})

test('gets the image of any other model, although it always sends what only dall-e-3 knows', async () => {
  const prompt = 'gpt-image-2 for LangChain'
  const base64: string = await new DallEAPIWrapper({
    ...settings,
    model: 'gpt-image-2',
    quality: 'high',
    dallEResponseFormat: 'b64_json'
  } as never).invoke(prompt)
  const { body } = gateway.openai.requests.find((request) => request.body?.prompt === prompt) ?? {}
  expect(body).toEqual({ model: 'gpt-image-2', prompt, n: 1, size: '1024x1024', quality: 'high' })
  expect(base64.startsWith('iVBORw0KGgo')).toBe(true)
})

test.each([
  [400, 'content_policy_violation', '[moderated]', {}],
  [404, 'model_not_found', 'a cat', { model: 'dall-e-9' }],
  [401, 'invalid_api_key', 'a cat', { apiKey: 'sk-wrong-key-of-a-stranger' }],
  [500, 'provider_failed', '[server-error] for LangChain', {}]
])('throws %i with the code %s', async (status, code, prompt, fields) => {
  await expect(new DallEAPIWrapper({ ...settings, ...fields }).invoke(prompt)).rejects.toMatchObject({ status, code })
})

test('does not send again what the provider may have billed', () => {
  expect(gateway.upstreamCalls('[server-error] for LangChain')).toBe(1)
})
