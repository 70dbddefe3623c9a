import { createOpenAI } from '@ai-sdk/openai'
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { APICallError, generateImage } from 'ai'
import { afterAll, describe, expect, test } from 'vitest'
import { startGateway } from '../support/gateway.ts'

const gateway = await startGateway()
afterAll(() => gateway[Symbol.asyncDispose]())

const settings = { apiKey: gateway.apiKey, baseURL: gateway.baseUrl }
const openai = createOpenAI(settings)
const compatible = createOpenAICompatible({ ...settings, name: 'atelier' })

describe.each([
  ['@ai-sdk/openai', openai],
  ['@ai-sdk/openai-compatible', compatible]
] as const)('%s', (name, provider) => {
  test("gets gpt-image-2's image, with usage", async () => {
    const prompt = `a cat for ${name}`
    const { image, usage, warnings } = await generateImage({ model: provider.imageModel('gpt-image-2'), prompt, size: '1536x1024' })
    expect([image.mediaType, warnings]).toEqual(['image/png', []])
    expect(Buffer.from(image.uint8Array)).toEqual(await gateway.upstreamImage({ model: 'gpt-image-2', prompt, size: '1536x1024' }))
    expect(usage).toMatchObject({ inputTokens: 10, outputTokens: 1372, totalTokens: 1382 })
  })

  test('gets the image of sketch, whose default is a link', async () => {
    const prompt = 'one prompt, one image'
    const { image } = await generateImage({ model: provider.imageModel('sketch'), prompt, size: '256x256' })
    const response = await gateway.post('/v1/images/generations', { model: 'sketch', prompt, size: '256x256' }, { accept: 'image/png' })
    expect(Buffer.from(image.uint8Array)).toEqual(Buffer.from(await response.arrayBuffer()))
  })

  test.each([
    [400, 'invalid_request_error', 'invalid_value', { model: 'gpt-image-1', prompt: 'a cat' }, { output_format: 'png', quality: 'hd' }],
    [400, 'invalid_request_error', 'invalid_size', { model: 'dall-e-3', prompt: 'a cat', size: '256x256' as const }, {}],
    [400, 'image_generation_user_error', 'moderation_blocked', { model: 'gpt-image-2', prompt: '[moderated]' }, {}],
    [404, 'invalid_request_error', 'model_not_found', { model: 'dall-e-9', prompt: 'a cat' }, {}],
    [429, 'rate_limit_error', 'rate_limit_exceeded', { model: 'gpt-image-2', prompt: '[rate-limit]' }, {}],
    [500, 'provider_error', 'provider_failed', { model: 'gpt-image-2', prompt: '[server-error]' }, {}]
  ])('throws APICallError %i with the message, type %s and code %s', async (statusCode, type, code, { model, ...request }, options) => {
    const failure = await generateImage({
      model: provider.imageModel(model),
      ...request,
      maxRetries: 0,
      providerOptions: { [name === '@ai-sdk/openai' ? 'openai' : 'atelier']: options }
    }).catch((error: unknown) => error)
    expect(APICallError.isInstance(failure)).toBe(true)
    const { error } = JSON.parse((failure as APICallError).responseBody ?? '')
    expect(failure).toMatchObject({ statusCode, message: error.message, isRetryable: statusCode === 429 || statusCode === 500 })
    expect(error).toMatchObject({ type, code })
  })

  test('throws APICallError 401 for a wrong key', async () => {
    const wrong = { ...settings, apiKey: 'sk-wrong-key-of-a-stranger' }
    const stranger = name === '@ai-sdk/openai' ? createOpenAI(wrong) : createOpenAICompatible({ ...wrong, name: 'atelier' })
    await expect(generateImage({ model: stranger.imageModel('gpt-image-2'), prompt: 'a cat' })).rejects.toMatchObject({
      statusCode: 401,
      data: { error: { type: 'authentication_error', code: 'invalid_api_key' } }
    })
  })

  test('sends a request that may have been billed only once where it is told not to retry', async () => {
    const prompt = `[server-error] for ${name}`
    await expect(generateImage({ model: provider.imageModel('gpt-image-2'), prompt, maxRetries: 0 })).rejects.toMatchObject({
      statusCode: 500
    })
    expect(gateway.upstreamCalls(prompt)).toBe(1)
  })
})

test("gets dall-e-3's image, as base64 because it asks for that", async () => {
  const prompt = 'a cat for the AI SDK by dall-e-3'
  const { image } = await generateImage({ model: openai.imageModel('dall-e-3'), prompt })
  expect(Buffer.from(image.uint8Array)).toEqual(await gateway.upstreamImage({ model: 'dall-e-3', prompt }))
})

test('gets twelve images in two calls', async () => {
  const { images } = await generateImage({ model: openai.imageModel('gpt-image-2'), prompt: 'twelve cats', n: 12 })
  expect([images.length, gateway.upstreamCalls('twelve cats')]).toEqual([12, 2])
})
