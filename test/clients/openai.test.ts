import OpenAI7 from 'openai'
import OpenAI6 from 'openai-6'
import sharp from 'sharp'
import { afterAll, describe, expect, test } from 'vitest'
import { createBusyUpstream, download, startGateway } from '../support/gateway.ts'

const gateway = await startGateway({ openai: { answer: createBusyUpstream() } })
afterAll(() => gateway[Symbol.asyncDispose]())

const versions = [
  ['openai 7', OpenAI7],
  ['openai 6', OpenAI6 as unknown as typeof OpenAI7]
] as const

describe.each(versions)('%s', (version, OpenAI) => {
  const client = new OpenAI({ apiKey: gateway.apiKey, baseURL: gateway.baseUrl })
  const impatient = client.withOptions({ maxRetries: 0 })

  test("gets dall-e-3's image as a link, with the revised prompt", async () => {
    const request = { model: 'dall-e-3', prompt: `a link for ${version}`, size: '1792x1024', style: 'natural', quality: 'hd' } as const
    const { data, created } = await client.images.generate(request)
    expect(data).toEqual([
      { url: expect.any(String), revised_prompt: `A detailed, high-quality image of the following: ${request.prompt}` }
    ])
    expect(Math.abs(created - Date.now() / 1000)).toBeLessThan(60)
    expect(await download(data?.[0]?.url)).toEqual(
      await gateway.upstreamImage({ model: 'dall-e-3', prompt: request.prompt, size: '1792x1024' })
    )
  })

  test("gets gpt-image-2's image as base64, with usage and what was made", async () => {
    const prompt = `base64 for ${version}`
    const answer = await client.images.generate({ model: 'gpt-image-2', prompt })
    const { data, created: _, ...rest } = answer
    expect(Buffer.from(data?.[0]?.b64_json ?? '', 'base64')).toEqual(await gateway.upstreamImage({ model: 'gpt-image-2', prompt }))
    expect(rest).toEqual({
      size: '1024x1024',
      quality: 'medium',
      output_format: 'png',
      background: 'opaque',
      usage: {
        input_tokens: 10,
        output_tokens: 1756,
        total_tokens: 1766,
        input_tokens_details: { text_tokens: 10, image_tokens: 0 }
      }
    })
  })

  test('gets the same image from sketch as a link and as base64', async () => {
    const request = { model: 'sketch', prompt: 'one seed, one image', size: '512x512', seed: 7 } as const
    const linked = await client.images.generate(request as OpenAI7.ImageGenerateParamsNonStreaming)
    const inlined = await client.images.generate({ ...request, response_format: 'b64_json' } as OpenAI7.ImageGenerateParamsNonStreaming)
    expect(linked.data?.[0]?.url).toMatch(/\.png$/)
    expect(Buffer.from(inlined.data?.[0]?.b64_json ?? '', 'base64')).toEqual(await download(linked.data?.[0]?.url))
  })

  test('gets several images in their order', async () => {
    const { data } = await client.images.generate({
      model: 'dall-e-2',
      prompt: `four for ${version}`,
      n: 4,
      size: '256x256',
      response_format: 'b64_json'
    })
    const images = data?.map(({ b64_json }) => b64_json)
    expect([images?.length, new Set(images).size]).toEqual([4, 4])
  })

  test('learns who served it from the headers', async () => {
    const { data, response, request_id } = await client.images.generate({ model: 'openai/dall-e-3', prompt: 'who' }).withResponse()
    expect(
      Object.fromEntries(['x-atelier-provider', 'x-atelier-model', 'x-request-id'].map((name) => [name, response.headers.get(name)]))
    ).toEqual({
      'x-atelier-provider': 'openai',
      'x-atelier-model': 'dall-e-3',
      'x-request-id': request_id
    })
    expect(data).toMatchObject({ _request_id: request_id })
  })

  test('lists models and finds one whose name has a slash', async () => {
    const ids: string[] = []
    for await (const model of client.models.list()) ids.push(model.id)
    expect(ids).toEqual(expect.arrayContaining(['gpt-image-2', 'dall-e-3', 'sketch']))
    expect(await client.models.retrieve('openai/dall-e-3')).toMatchObject({
      id: 'dall-e-3',
      object: 'model',
      owned_by: 'openai',
      shutdown_date: '2026-05-12'
    })
    await expect(client.models.retrieve('nobody/nothing')).rejects.toMatchObject({ status: 404, code: 'model_not_found', param: 'model' })
  })

  test.each([
    [400, OpenAI.BadRequestError, 'invalid_request_error', 'invalid_size', 'size', { model: 'dall-e-3', prompt: 'a cat', size: '256x256' }],
    [400, OpenAI.BadRequestError, 'invalid_request_error', 'missing_required_parameter', 'prompt', { model: 'dall-e-3', prompt: '' }],
    [400, OpenAI.BadRequestError, 'invalid_request_error', 'content_policy_violation', null, { model: 'dall-e-3', prompt: '[moderated]' }],
    [
      400,
      OpenAI.BadRequestError,
      'image_generation_user_error',
      'moderation_blocked',
      null,
      { model: 'gpt-image-2', prompt: '[moderated]' }
    ],
    [404, OpenAI.NotFoundError, 'invalid_request_error', 'model_not_found', 'model', { model: 'dall-e-9', prompt: 'a cat' }],
    [429, OpenAI.RateLimitError, 'rate_limit_error', 'rate_limit_exceeded', null, { model: 'dall-e-3', prompt: '[rate-limit]' }],
    [500, OpenAI.InternalServerError, 'provider_error', 'provider_failed', null, { model: 'dall-e-3', prompt: '[server-error]' }],
    [500, OpenAI.InternalServerError, 'provider_error', 'provider_key_missing', null, { model: 'sd3.5-large', prompt: 'a cat' }]
  ])('throws the class of %i with type, code and param (%o)', async (status, type, errorType, code, param, request) => {
    const error = await failureOf(impatient.images.generate(request as OpenAI7.ImageGenerateParamsNonStreaming))
    expect(error).toBeInstanceOf(type)
    expect(error).toMatchObject({ status, type: errorType, code, param, requestID: expect.stringMatching(/^req_[0-9a-f]{32}$/) })
  })

  test('throws AuthenticationError for a wrong key', async () => {
    const stranger = new OpenAI({ apiKey: 'sk-wrong-key-of-a-stranger', baseURL: gateway.baseUrl })
    const error = await failureOf(stranger.images.generate({ model: 'dall-e-3', prompt: 'a cat' }))
    expect(error).toBeInstanceOf(OpenAI.AuthenticationError)
    expect(error).toMatchObject({ status: 401, type: 'authentication_error', code: 'invalid_api_key', param: null })
  })

  test('does not send again what the provider may have billed', async () => {
    const prompt = `[server-error] for ${version}`
    await expect(client.images.generate({ model: 'dall-e-3', prompt })).rejects.toMatchObject({ status: 500 })
    expect(gateway.upstreamCalls(prompt)).toBe(1)
  })

  test('does not have an image made again that broke off on its way from the provider', async () => {
    const prompt = `[short] for ${version}`
    await expect(client.images.generate({ model: 'gpt-image-2', prompt })).rejects.toThrow()
    expect(gateway.upstreamCalls(prompt)).toBe(1)
  })

  test('gets an image whole behind which the answer of the provider broke off', async () => {
    const prompt = `[truncated] for ${version}`
    const { data } = await client.images.generate({ model: 'gpt-image-2', prompt })
    expect(await sharp(Buffer.from(data?.[0]?.b64_json ?? '', 'base64')).stats()).toMatchObject({ isOpaque: true })
    expect(gateway.upstreamCalls(prompt)).toBe(1)
  })

  test('waits as long as the provider asks and sends it again', async () => {
    const prompt = `busy at first, for ${version}`
    const { data } = await client.images.generate({ model: 'dall-e-3', prompt, response_format: 'b64_json' })
    expect(Buffer.from(data?.[0]?.b64_json ?? '', 'base64')).toEqual(await gateway.upstreamImage({ model: 'dall-e-3', prompt }))
    expect(gateway.upstreamCalls(prompt)).toBe(3)
  })

  test('gives up at its timeout, of which the provider is told by a closed connection where that is wished', async () => {
    const prompt = `[hang] for ${version}`
    const options = { timeout: 1000, maxRetries: 0, headers: { 'x-atelier-on-disconnect': 'cancel' } }
    await expect(client.images.generate({ model: 'dall-e-3', prompt }, options)).rejects.toThrow(/timed out|504/)
    expect(await gateway.upstreamEnd(prompt)).toBe('abandoned')
  })
})

async function failureOf(run: Promise<unknown>): Promise<unknown> {
  return run.then(
    () => undefined,
    (error: unknown) => error
  )
}
