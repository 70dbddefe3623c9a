import sharp from 'sharp'
import { afterEach, expect, test } from 'vitest'
import { startFakeGoogle } from '../support/fake-google.ts'
import { startGateway } from '../support/gateway.ts'
import { warnedOf } from '../support/warnings.ts'

let opened = new AsyncDisposableStack()
afterEach(async () => {
  await opened.disposeAsync()
  opened = new AsyncDisposableStack()
})

interface ImagesAnswer {
  data: { url?: string; b64_json?: string }[]
  error?: { message: string; type: string; param: string | null; code: string | null }
}

const generations = '/v1/images/generations'

test('what nano-banana has no parameter for is done for it where that is possible, and said where not', async () => {
  const { gateway, google } = await start()
  const response = await gateway.post(generations, {
    model: 'nano-banana-pro',
    prompt: 'a fox',
    n: 2,
    size: '1024x1024',
    response_format: 'b64_json',
    output_format: 'webp',
    output_compression: 50,
    quality: 'hd',
    style: 'vivid',
    background: 'transparent',
    negative_prompt: 'snow',
    user: 'user-1234',
    steps: 30
  })
  const { data } = (await response.json()) as ImagesAnswer
  expect([response.status, warnedOf(response)]).toEqual([
    200,
    [
      'steps=ignored',
      'user=ignored',
      'quality=ignored',
      'style=ignored',
      'background=ignored',
      'output_format=emulated',
      'output_compression=emulated',
      'negative_prompt=ignored',
      'n=emulated'
    ]
  ])
  const pictures = await Promise.all(data.map(({ b64_json = '' }) => sharp(Buffer.from(b64_json, 'base64')).metadata()))
  expect(pictures.map(({ format, width, height }) => [format, width, height])).toEqual([
    ['webp', 1024, 1024],
    ['webp', 1024, 1024]
  ])
  const [first, second] = google.requests.map(({ body }) => body)
  expect(first).toEqual({
    contents: [{ role: 'user', parts: [{ text: 'a fox' }] }],
    generationConfig: { responseModalities: ['IMAGE'], imageConfig: { aspectRatio: '1:1', imageSize: '1K' } }
  })
  expect(second).toEqual(first)
})

test.each([
  ['n', 2, 'n: 2 images are made by 2 calls, each billed on its own: nano-banana-pro makes fewer per call'],
  ['size', '1792x1024', 'size: 1792x1024 became 16:9 at 1K: the sizes of nano-banana-pro are '],
  ['output_format', 'png', 'output_format: nano-banana-pro makes no png files: converted'],
  ['quality', 'hd', 'quality: nano-banana-pro does not distinguish qualities such as hd'],
  ['style', 'natural', 'style: nano-banana-pro has no style natural'],
  ['background', 'opaque', 'background: nano-banana-pro has no background opaque'],
  ['moderation', 'low', 'moderation: nano-banana-pro has no moderation level low'],
  ['negative_prompt', 'snow', 'negative_prompt: nano-banana-pro takes no negative prompt'],
  ['steps', 30, 'steps: nano-banana-pro has no such parameter']
])('strict refuses %s %s, and sends nothing', async (param, value, message) => {
  const { gateway, google } = await start()
  const response = await gateway.post(
    generations,
    { model: 'nano-banana-pro', prompt: 'a fox', [param]: value },
    { 'x-atelier-strict': 'true' }
  )
  const { error } = (await response.json()) as ImagesAnswer
  expect([response.status, error]).toEqual([
    400,
    { message: expect.stringContaining(message), type: 'invalid_request_error', param, code: 'unsupported_parameter' }
  ])
  expect(google.requests).toEqual([])
})

test('strict has nothing against defaults, nor against what is done here for every model', async () => {
  const { gateway } = await start()
  for (const body of [
    {},
    { model: 'dall-e-3' },
    { model: 'nano-banana-pro', response_format: 'b64_json', quality: 'auto', size: 'auto' },
    { model: 'gpt-image-2', response_format: 'url', background: 'auto', moderation: 'auto', output_compression: 100 }
  ]) {
    const response = await gateway.post(generations, { ...body, prompt: 'a fox' }, { 'x-atelier-strict': 'true' })
    await response.arrayBuffer()
    expect({ body, status: response.status }).toEqual({ body, status: 200 })
  }
})

test.each([
  [{ size: '1254x1254' }, '1024x1024', ['size=converted']],
  [{ aspect_ratio: '16:9', resolution: '4K' }, '3840x2160', []],
  [{ aspect_ratio: '4:3' }, '1536x1024', ['aspect_ratio=converted']],
  [{ resolution: '2K' }, '2048x2048', []],
  [{ size: '1792x1024' }, '1792x1024', []]
])('gpt-image-2 is asked for %o as %s', async (asked, size, warnings) => {
  const { gateway } = await start()
  const response = await gateway.post(generations, { model: 'gpt-image-2', prompt: 'a fox', ...asked })
  await response.arrayBuffer()
  expect([response.status, warnedOf(response)]).toEqual([200, warnings])
  expect(gateway.openai.requests.map(({ body }) => body)).toEqual([{ model: 'gpt-image-2', prompt: 'a fox', size, n: 1 }])
})

test('a size outside the rule of gpt-image-2 is refused with the rule, before anything is sent', async () => {
  const { gateway } = await start()
  const response = await gateway.post(generations, { model: 'gpt-image-2', prompt: 'a fox', size: '800x600' })
  const { error } = (await response.json()) as ImagesAnswer
  expect([response.status, error]).toEqual([
    400,
    {
      message:
        'Invalid size for gpt-image-2: must be WIDTHxHEIGHT with both edges multiples of 16, the longer at most 3840, 655360 to 8294400 pixels, ratio at most 3:1, or auto',
      type: 'invalid_request_error',
      param: 'size',
      code: 'invalid_size'
    }
  ])
  expect(gateway.openai.requests).toEqual([])
})

async function start() {
  const google = opened.use(await startFakeGoogle())
  const environment = { GEMINI_API_KEY: 'a-key-for-gemini', GEMINI_BASE_URL: google.url }
  return { google, gateway: opened.use(await startGateway({ environment })) }
}
