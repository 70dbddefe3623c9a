import { createClient } from '@connectrpc/connect'
import { createGrpcTransport } from '@connectrpc/connect-node'
import OpenAI7 from 'openai'
import OpenAI6 from 'openai-6'
import { afterAll, describe, expect, test } from 'vitest'
import { ResponseFormat } from '../../gen/atelier/v1/image_pb.ts'
import { ImageService, type StreamGenerateImagesResponse } from '../../gen/atelier/v1/image_service_pb.ts'
import { startGateway } from '../support/gateway.ts'

const gateway = await startGateway()
afterAll(() => gateway[Symbol.asyncDispose]())

const versions = [
  ['openai 7', OpenAI7],
  ['openai 6', OpenAI6 as unknown as typeof OpenAI7]
] as const

describe.each(versions)('%s', (version, OpenAI) => {
  const client = new OpenAI({ apiKey: gateway.apiKey, baseURL: gateway.baseUrl, maxRetries: 0 })

  test('reads partial images and the image of a model that streams by itself', async () => {
    const prompt = `partial images for ${version}`
    const stream = await client.images.generate({ model: 'gpt-image-2', prompt, stream: true, partial_images: 2 })
    const events = await Array.fromAsync(stream)
    expect(events.map((event) => [event.type, 'partial_image_index' in event ? event.partial_image_index : undefined])).toEqual([
      ['image_generation.partial_image', 0],
      ['image_generation.partial_image', 1],
      ['image_generation.completed', undefined]
    ])
    expect(events.at(-1)).toMatchObject({
      size: '1024x1024',
      quality: 'medium',
      background: 'opaque',
      output_format: 'png',
      usage: { input_tokens_details: { image_tokens: 0 } }
    })
    expect(Buffer.from(events.at(-1)?.b64_json ?? '', 'base64')).toEqual(await gateway.upstreamImage({ model: 'gpt-image-2', prompt }))
  })

  test('reads the image of a model that cannot stream', async () => {
    const prompt = `no partial images for ${version}`
    const events = await Array.fromAsync(await client.images.generate({ model: 'dall-e-3', prompt, stream: true }))
    expect(events.map(({ type }) => type)).toEqual(['image_generation.completed'])
    expect(Buffer.from(events[0]?.b64_json ?? '', 'base64')).toEqual(await gateway.upstreamImage({ model: 'dall-e-3', prompt }))
  })

  test('throws where the provider fails in the middle', async () => {
    const request = { model: 'gpt-image-2', prompt: `[stream-error] ${version}`, stream: true, partial_images: 1 } as const
    const seen: string[] = []
    const read = async () => {
      for await (const { type } of await client.images.generate(request)) seen.push(type)
    }
    await expect(read()).rejects.toMatchObject({ code: expect.any(String), message: expect.stringContaining('Image generation failed.') })
    expect(seen).toEqual(['image_generation.partial_image'])
  })

  test('throws where the image breaks off', async () => {
    const request = { model: 'gpt-image-2', prompt: `[short] ${version}`, stream: true } as const
    const read = async () => Array.fromAsync(await client.images.generate(request))
    await expect(read()).rejects.toThrow()
  })

  test('gets an early refusal as an HTTP error', async () => {
    const request = { model: 'gpt-image-2', prompt: `[moderated] ${version}`, stream: true } as const
    await expect(client.images.generate(request)).rejects.toMatchObject({ status: 400, code: 'moderation_blocked' })
  })
})

describe('gRPC', () => {
  const images = createClient(ImageService, createGrpcTransport({ baseUrl: gateway.url }))
  const headers = { authorization: `Bearer ${gateway.apiKey}` }
  const named = (value: string) => ({ case: 'modelName', value }) as const

  test('streams typed events, and an image of any size in chunks of at most 1 MiB', async () => {
    const prompt = '[large] over gRPC'
    const request = { prompt, modelSelector: named('gpt-image-2'), partialImages: 1 }
    const events = (await Array.fromAsync(images.streamGenerateImages({ request }, { headers }))).map(({ event }) => event)
    expect(compact(events.map(({ case: kind }) => kind))).toEqual(['accepted', 'chunk', 'image', 'completed'])
    expect(events[0]).toMatchObject({ value: { provider: 'openai', model: 'gpt-image-2' } })
    const chunks = events.flatMap((event) => (event.case === 'chunk' ? [event.value] : []))
    expect(Math.max(...chunks.map(({ data }) => data.length))).toBe(1024 * 1024)
    const whole = Buffer.concat(chunks.filter(({ previewIndex }) => previewIndex === undefined).map(({ data }) => data))
    expect(whole.equals(await gateway.upstreamImage({ model: 'gpt-image-2', prompt }))).toBe(true)
    expect(events.at(-1)).toMatchObject({ value: { usage: { outputTokens: 1756n } } })
  })

  test('gives links where they are asked for', async () => {
    const request = { prompt: 'a link over gRPC', modelSelector: named('sketch'), responseFormat: ResponseFormat.URL }
    const events = await Array.fromAsync(images.streamGenerateImages({ request }, { headers }))
    const image = events.map(({ event }) => event).find((event) => event.case === 'image')
    expect(image?.value).toMatchObject({ content: { case: 'url', value: expect.stringMatching(/\.png$/) }, mediaType: 'image/png' })
  })

  test('stops the provider when the caller cancels', async () => {
    const prompt = '[slow] cancelled over gRPC'
    const cancel = new AbortController()
    const request = { prompt, modelSelector: named('gpt-image-2'), partialImages: 3 }
    const read = async () => {
      for await (const { event } of images.streamGenerateImages({ request }, { headers, signal: cancel.signal })) {
        if (event.case === 'chunk') cancel.abort()
      }
    }
    await expect(read()).rejects.toMatchObject({ code: 1 })
    expect(await gateway.upstreamEnd(prompt)).toBe('abandoned')
  })
})

test('refuses partial images where nothing is streamed', async () => {
  const response = await gateway.post('/v1/images/generations', { model: 'gpt-image-2', prompt: 'a cat', partial_images: 2 })
  expect([response.status, await response.json()]).toMatchObject([400, { error: { param: 'partial_images' } }])
})

test('ends a stream whose image broke off with an error object in the same event and an error event of its own', async () => {
  const body = { model: 'sketch', prompt: 'cut off', stream: true, fail: 'cut_off' }
  const text = await (await gateway.post('/v1/images/generations', body)).text()
  const events = text.split('\n\n').filter((event) => event !== '')
  expect(events.map((event) => event.split('\n')[0])).toEqual(['event: image_generation.completed', 'event: error'])
  const data = events.map((event) => JSON.parse(event.split('\ndata: ')[1] ?? ''))
  expect(data[0].error).toEqual({ message: expect.any(String), type: 'provider_error', param: null, code: 'outcome_unknown' })
  expect(data[1]).toEqual({ type: 'error', error: data[0].error })
})

function compact(kinds: (StreamGenerateImagesResponse['event']['case'] | undefined)[]) {
  return kinds.filter((kind, index) => kind !== kinds[index - 1])
}
