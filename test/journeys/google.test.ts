import sharp from 'sharp'
import { afterEach, expect, test } from 'vitest'
import { startAtelier } from '../support/atelier.ts'
import { startFakeGoogle } from '../support/fake-google.ts'
import { download } from '../support/gateway.ts'

let opened = new AsyncDisposableStack()
afterEach(async () => {
  await opened.disposeAsync()
  opened = new AsyncDisposableStack()
})

interface ImagesAnswer {
  created: number
  data: { url?: string; b64_json?: string; revised_prompt?: string }[]
  usage?: { input_tokens: number; output_tokens: number }
  error?: { message: string; type: string; param: string | null; code: string | null }
}

test('nano-banana-pro takes the size of seed 003 as the ratio next to it, and gives a link', async () => {
  const { atelier, google } = await start()
  const response = await atelier.post('/v1/images/generations', {
    model: 'nano-banana-pro',
    prompt: 'abstract painting',
    size: '1792x1024'
  })
  const { data, usage } = (await response.json()) as ImagesAnswer
  expect(response.status).toBe(200)
  expect(response.headers.get('x-atelier-provider')).toBe('google')
  expect(response.headers.get('x-atelier-model')).toBe('nano-banana-pro')
  expect(response.headers.get('x-atelier-warnings')).toMatch(/^size=converted; message="1792x1024 became 16:9 at 1K: /)
  expect(data).toEqual([{ url: expect.stringMatching(/\/images\/.*\.jpg$/) }])
  const picture = await sharp(await download(data[0]?.url)).metadata()
  expect([picture.format, picture.width, picture.height]).toEqual(['jpeg', 1376, 768])
  expect(usage).toMatchObject({ input_tokens: 5, output_tokens: 1428 })
  expect(google.requests.map(({ path, headers, body }) => [path, headers['x-goog-api-key'], body?.generationConfig])).toEqual([
    [
      '/v1beta/models/gemini-3-pro-image:generateContent',
      providerKey,
      { responseModalities: ['IMAGE'], imageConfig: { aspectRatio: '16:9', imageSize: '1K' } }
    ]
  ])
})

test('nano-banana-pro gives the image itself where it is asked to', async () => {
  const { atelier } = await start()
  const body = { model: 'google/gemini-3-pro-image', prompt: 'a fox [drafts]', size: '1792x1024', response_format: 'b64_json' }
  const response = await atelier.post('/v1/images/generations', body)
  const { data } = (await response.json()) as ImagesAnswer
  const picture = await sharp(Buffer.from(data[0]?.b64_json ?? '', 'base64')).metadata()
  expect([response.status, picture.format, picture.width, picture.height]).toEqual([200, 'jpeg', 1376, 768])
})

test('what the vendor withholds with status 200 is a 400 that nobody sends again', async () => {
  const { atelier, google } = await start()
  const response = await atelier.post('/v1/images/generations', { model: 'nano-banana-pro', prompt: 'a fox [withheld]' })
  const { error } = (await response.json()) as ImagesAnswer
  expect([response.status, error?.code, error?.type]).toEqual([400, 'content_policy_violation', 'invalid_request_error'])
  expect(error?.message).toMatch(/^Unable to show the generated image\./)
  expect(google.requests.length).toBe(1)
})

test('a quota that is used up is a 429 with the wait that the vendor names', async () => {
  const { atelier } = await start()
  const response = await atelier.post('/v1/images/generations', { model: 'nano-banana-pro', prompt: 'a fox [rate-limit]' })
  expect([response.status, response.headers.get('retry-after')]).toEqual([429, '34'])
})

const providerKey = 'AIzaSyFake-0123456789abcdefghijklmnop'

async function start() {
  const google = opened.use(await startFakeGoogle({ apiKey: providerKey }))
  const atelier = opened.use(await startAtelier({ environment: { GEMINI_API_KEY: providerKey, GEMINI_BASE_URL: google.url } }))
  return { google, atelier }
}
