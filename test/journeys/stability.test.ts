import sharp from 'sharp'
import { afterEach, expect, test } from 'vitest'
import { startAtelier } from '../support/atelier.ts'
import { startFakeStability } from '../support/fake-stability.ts'
import { download } from '../support/gateway.ts'

let opened = new AsyncDisposableStack()
afterEach(async () => {
  await opened.disposeAsync()
  opened = new AsyncDisposableStack()
})

interface ImagesAnswer {
  created: number
  data: { url?: string; b64_json?: string; seed?: number }[]
  error?: { message: string; type: string; param: string | null; code: string | null }
}

const generations = '/v1/images/generations'
const forest = 'A magical forest with glowing mushrooms'

test.each(['stability/stable-diffusion-xl-1024-v1-0', 'stability-ai/stable-diffusion-xl-1024-v1-0', 'stable-diffusion-xl-1024-v1-0'])(
  'seed 001 asks %s for an image and gets a link to the very file that the vendor made',
  async (model) => {
    const { atelier, stability } = await start()
    const before = Math.floor(Date.now() / 1000)
    const response = await atelier.post(generations, { model, prompt: forest })
    const answer = (await response.json()) as ImagesAnswer
    expect(response.status).toBe(200)
    expect(answer).toEqual({
      created: expect.any(Number),
      data: [{ url: expect.stringMatching(new RegExp(`^${atelier.url}/images/.*\\.png`)), seed: expect.any(Number) }],
      size: '1024x1024',
      output_format: 'png'
    })
    expect(answer.created).toBeGreaterThanOrEqual(before)
    expect(response.headers.get('x-atelier-provider')).toBe('stability')
    expect(response.headers.get('x-atelier-model')).toBe('stable-diffusion-xl-1024-v1-0')
    expect(response.headers.get('x-atelier-warnings')).toBeNull()
    const file = await download(answer.data[0]?.url)
    const picture = await sharp(file).metadata()
    expect([picture.format, picture.width, picture.height]).toEqual(['png', 1024, 1024])
    expect(file.equals(await vendorsFile(stability.url, { text_prompts: [{ text: forest }], width: 1024, height: 1024 }))).toBe(true)
    expect(stability.requests[0]?.body).toEqual({ text_prompts: [{ text: forest }], width: 1024, height: 1024, samples: 1 })
  }
)

test('the image itself comes where it is asked for, one or several', async () => {
  const { atelier, stability } = await start()
  for (const n of [1, 3]) {
    const body = {
      model: 'stability/stable-diffusion-xl-1024-v1-0',
      prompt: 'a fox',
      n,
      size: '1216x832',
      seed: 11,
      response_format: 'b64_json'
    }
    const { data } = (await (await atelier.post(generations, body)).json()) as ImagesAnswer
    const pictures = await Promise.all(data.map(({ b64_json = '' }) => sharp(Buffer.from(b64_json, 'base64')).metadata()))
    expect(pictures.map(({ format, width, height }) => [format, width, height])).toEqual(Array(n).fill(['png', 1216, 832]))
    expect(data.map(({ seed }) => seed)).toEqual([11, 12, 13].slice(0, n))
  }
  expect(stability.requests.map(({ body }) => body?.samples)).toEqual([1, 3])
})

test('the vendor’s own parameters reach the models that have them, and the others say that they have none', async () => {
  const { atelier, stability } = await start()
  const body = { model: 'stable-image-core', prompt: 'a fox', negative_prompt: 'snow', style_preset: 'anime', steps: 30, user: 'user-1234' }
  const response = await atelier.post(generations, { ...body, output_format: 'webp' })
  const { data } = (await response.json()) as ImagesAnswer
  expect(response.status).toBe(200)
  expect(response.headers.get('x-atelier-warnings')).toBe('steps=ignored; message="stable-image-core has no such parameter"')
  expect((await sharp(await download(data[0]?.url)).metadata()).format).toBe('webp')
  expect(stability.requests.map(({ path, headers, body }) => [path, headers['stability-client-user-id'], body])).toEqual([
    [
      '/v2beta/stable-image/generate/core',
      'user-1234',
      { prompt: 'a fox', negative_prompt: 'snow', style_preset: 'anime', output_format: 'webp' }
    ]
  ])
})

test('a size becomes the ratio next to it, and several images become several calls with seeds of their own', async () => {
  const { atelier, stability } = await start()
  const body = { model: 'stability/stable-image-ultra', prompt: 'a fox', size: '1792x1024', n: 2, seed: 5 }
  const response = await atelier.post(generations, body)
  const { data } = (await response.json()) as ImagesAnswer
  expect([response.status, data.map(({ seed }) => seed)]).toEqual([200, [5, 6]])
  expect(response.headers.get('x-atelier-warnings')).toMatch(/size=converted; message="1792x1024 became 16:9: /)
  expect(response.headers.get('x-atelier-warnings')).toMatch(/n=emulated; /)
  expect(stability.requests.map(({ body }) => body).sort((a, b) => Number(a?.seed) - Number(b?.seed))).toEqual([
    { prompt: 'a fox', aspect_ratio: '16:9', seed: '5' },
    { prompt: 'a fox', aspect_ratio: '16:9', seed: '6' }
  ])
})

test.each(['stability/stable-diffusion-xl-1024-v1-0', 'stability/stable-image-ultra'])(
  'what the moderation of %s refuses or withholds is a 400 that nobody sends again',
  async (model) => {
    const { atelier, stability } = await start()
    for (const word of ['[moderated]', '[all-filtered]']) {
      const response = await atelier.post(generations, { model, prompt: `a fox ${word}` })
      const { error } = (await response.json()) as ImagesAnswer
      expect([response.status, error?.code, error?.type]).toEqual([400, 'content_policy_violation', 'invalid_request_error'])
    }
    expect(stability.requests.length).toBe(2)
  }
)

test('a rate limit is a 429 with the minute that the vendor locks out', async () => {
  const { atelier } = await start()
  const response = await atelier.post(generations, { model: 'sd3.5-large', prompt: 'a fox [rate-limit]' })
  expect([response.status, response.headers.get('retry-after')]).toEqual([429, '60'])
})

test('a refused key is the operator’s trouble, not the caller’s', async () => {
  const { atelier } = await start({ apiKey: 'sk-another-key-0123456789' })
  const response = await atelier.post(generations, { model: 'sd3.5-large', prompt: 'a fox' })
  const { error } = (await response.json()) as ImagesAnswer
  expect([response.status, error?.code, response.headers.get('x-should-retry')]).toEqual([500, 'provider_key_refused', 'false'])
})

const providerKey = 'sk-stability-0123456789abcdef'

async function start({ apiKey = providerKey } = {}) {
  const stability = opened.use(await startFakeStability({ apiKey }))
  const environment = { STABILITY_API_KEY: providerKey, STABILITY_BASE_URL: stability.url }
  return { stability, atelier: opened.use(await startAtelier({ environment })) }
}

/** The image that the vendor makes for this body, taken from it directly. */
async function vendorsFile(url: string, body: unknown): Promise<Buffer> {
  const response = await fetch(`${url}/v1/generation/stable-diffusion-xl-1024-v1-0/text-to-image`, {
    method: 'POST',
    headers: { authorization: `Bearer ${providerKey}`, accept: 'image/png', 'content-type': 'application/json' },
    body: JSON.stringify(body)
  })
  return Buffer.from(await response.arrayBuffer())
}
