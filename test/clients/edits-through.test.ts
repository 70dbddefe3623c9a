import { createReadStream, readdirSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import OpenAI7, { toFile } from 'openai'
import OpenAI6 from 'openai-6'
import sharp from 'sharp'
import { afterAll, afterEach, describe, expect, test, vi } from 'vitest'
import { startGateway } from '../support/gateway.ts'
import { noise, pixelAt } from '../support/pictures.ts'
import { createTemporaryDirectory } from '../support/temporary-directory.ts'

const gateway = await startGateway()
const directory = await createTemporaryDirectory()
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  await directory[Symbol.asyncDispose]()
})
afterEach(() => vi.waitFor(() => expect(readdirSync(join(gateway.dataDir, 'uploads'))).toEqual([])))

const solid = (background: string, channels: 3 | 4 = 3) => sharp({ create: { width: 256, height: 256, channels, background } })
const red = await solid('#ff0000').png().toBuffer()
const photo = await noise(256, 256).jpeg().toBuffer()
/** Only the left half is to be painted over. */
const mask = await solid('#00000000', 4)
  .composite([{ input: { create: { width: 128, height: 256, channels: 4, background: '#000000ff' } }, left: 128, top: 0 }])
  .png()
  .toBuffer()
await writeFile(join(directory.path, 'red.png'), red)
const dataUrl = (bytes: Buffer, type = 'image/png') => `data:${type};base64,${bytes.toString('base64')}`

describe.each([
  ['openai 7', OpenAI7],
  ['openai 6', OpenAI6 as unknown as typeof OpenAI7]
] as const)('%s', (version, OpenAI) => {
  const client = new OpenAI({ apiKey: gateway.apiKey, baseURL: gateway.baseUrl, maxRetries: 0 })
  const image = () => toFile(red, 'red.png', { type: 'image/png' })

  test('edits with sketch, which changes nothing outside the mask', async () => {
    const request = { model: 'sketch', prompt: 'a hat', size: '256x256', response_format: 'b64_json' } as const
    const { data } = await client.images.edit({ ...request, image: await image(), mask: await toFile(mask, 'mask.png') })
    const edited = Buffer.from(data?.[0]?.b64_json ?? '', 'base64')
    expect((await pixelAt(edited, 200, 128)).slice(0, 3)).toEqual([255, 0, 0])
    expect((await pixelAt(edited, 40, 128)).slice(0, 3)).not.toEqual([255, 0, 0])
  })

  test('edits with a provider, which gets the same files under their real types', async () => {
    const prompt = `files from ${version}`
    const files = [createReadStream(join(directory.path, 'red.png')), await toFile(photo, 'photo')]
    const { data, usage } = await client.images.edit({ model: 'gpt-image-2', prompt, image: files, mask: await toFile(mask, 'mask.png') })
    expect(data?.[0]?.b64_json).toBeDefined()
    expect(usage?.input_tokens_details.image_tokens).toBeGreaterThan(0)
    const sent = gateway.openai.requests.find(({ body }) => body?.prompt === prompt)?.files
    expect(sent?.map(({ name, mediaType }) => [name, mediaType])).toEqual([
      ['image[]', 'image/png'],
      ['image[]', 'image/jpeg'],
      ['mask', 'image/png']
    ])
    expect(sent?.map(({ bytes }) => bytes)).toEqual([red, photo, mask])
  })

  test('reads partial images and the image', async () => {
    const request = { model: 'gpt-image-2', prompt: `events for ${version}`, stream: true, partial_images: 2 } as const
    const events = await Array.fromAsync(await client.images.edit({ ...request, image: await image() }))
    expect(events.map(({ type }) => type)).toEqual(['image_edit.partial_image', 'image_edit.partial_image', 'image_edit.completed'])
  })

  test('gets variations, and is told what they are', async () => {
    const { data, response } = await client.images
      .createVariation({ image: await image(), model: 'sketch' as 'dall-e-2', response_format: 'b64_json', n: 2 })
      .withResponse()
    expect(data.data?.length).toBe(2)
    expect(response.headers.get('x-atelier-warnings')).toContain('image=emulated')
  })

  test('goes away while the provider works, which leaves no file where it wishes that', async () => {
    const prompt = `[hang] ${version} goes away`
    const leave = new AbortController()
    const options = { signal: leave.signal, headers: { 'x-atelier-on-disconnect': 'cancel' } }
    const edit = client.images.edit({ model: 'gpt-image-2', prompt, image: await image() }, options)
    await vi.waitFor(() => expect(gateway.upstreamCalls(prompt)).toBe(1), { timeout: 5000 })
    leave.abort()
    await expect(edit).rejects.toThrow()
    expect(await gateway.upstreamEnd(prompt)).toBe('abandoned')
  })

  test.each([
    ['text', Buffer.from('not an image at all'), /image\[1\]/],
    ['an SVG image', Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"/>'), /image\[1\]/],
    ['half an image', red.subarray(0, red.length / 2), /image\[1\]/]
  ])('is refused %s, and told which file it is', async (_, bytes, message) => {
    const files = [await image(), await toFile(bytes, 'second.png', { type: 'image/png' })]
    await expect(client.images.edit({ model: 'sketch', prompt: 'a hat', image: files })).rejects.toMatchObject({
      status: 400,
      param: 'image[1]',
      message: expect.stringMatching(message)
    })
  })

  test('is refused by a model that cannot edit, and one that is not there', async () => {
    const request = { prompt: 'a hat', image: await image() }
    await expect(client.images.edit({ ...request, model: 'dall-e-9' })).rejects.toMatchObject({ status: 404, param: 'model' })
    await expect(client.images.edit({ ...request, prompt: '', model: 'sketch' })).rejects.toMatchObject({ status: 400, param: 'prompt' })
  })
})

test('edits with JSON, with a data URL, and with the id of an image that was made before', async () => {
  const made = await gateway.post('/v1/images/generations', { model: 'sketch', prompt: 'a cat', size: '256x256' })
  const { data } = (await made.json()) as { data: { url: string }[] }
  const id = /\/images\/([0-9A-Za-z]+)/.exec(data[0]?.url ?? '')?.[1]
  const body = {
    model: 'sketch',
    prompt: 'a hat',
    images: [{ image_url: dataUrl(red) }, { file_id: id }],
    mask: { image_url: dataUrl(mask) }
  }
  const response = await gateway.post('/v1/images/edits', { ...body, size: '256x256', response_format: 'b64_json' })
  const answer = (await response.json()) as { data: { b64_json: string }[] }
  expect(response.status).toBe(200)
  expect((await pixelAt(Buffer.from(answer.data[0]?.b64_json ?? '', 'base64'), 200, 128)).slice(0, 3)).toEqual([255, 0, 0])
})

test.each([
  ['images[0].image_url', { images: [{ image_url: dataUrl(Buffer.from('no image')) }] }],
  ['images[0].image_url', { images: [{ image_url: 'http://169.254.169.254/latest/meta-data' }] }],
  ['images[0].image_url', { images: [{ image_url: 'file:///etc/passwd' }] }],
  ['mask.image_url', { images: [{ image_url: dataUrl(red) }], mask: { image_url: dataUrl(photo, 'image/jpeg') } }]
])('refuses JSON and names %s', async (param, fields) => {
  const response = await gateway.post('/v1/images/edits', { model: 'sketch', prompt: 'a hat', ...fields })
  expect([response.status, await response.json()]).toMatchObject([400, { error: { param } }])
})
