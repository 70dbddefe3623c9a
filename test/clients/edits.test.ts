import { randomBytes } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createOpenAI } from '@ai-sdk/openai'
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { generateImage } from 'ai'
import OpenAI7, { toFile } from 'openai'
import OpenAI6 from 'openai-6'
import { Portkey } from 'portkey-ai'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { needsFiles } from '../support/debian.ts'
import { answer, type ReceivedEdit, startEditServer } from '../support/edit-server.ts'
import { boundary, formBody } from '../support/form.ts'
import { runCommand } from '../support/run-command.ts'
import { createTemporaryDirectory } from '../support/temporary-directory.ts'

const server = await startEditServer()
const directory = await createTemporaryDirectory()
afterAll(async () => {
  await server[Symbol.asyncDispose]()
  await directory[Symbol.asyncDispose]()
})

const png = (sizeBytes: number) => Buffer.concat([Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'), randomBytes(sizeBytes)])
const files = { cat: png(400_000), hat: png(10), mask: png(2000) }
const path = (name: keyof typeof files | 'large') => join(directory.path, `${name}.png`)
for (const name of Object.keys(files) as (keyof typeof files)[]) await writeFile(path(name), files[name])
await writeFile(path('large'), Buffer.alloc(80_000_000, 'x'))

const prompt = 'a hat on the cat'
const b64_json = answer.toString('base64')
const received = (param: string, name: keyof typeof files) => ({ param, bytes: files[name], mediaType: 'image/png' })
const lastEdit = (): ReceivedEdit | undefined => server.received.at(-1)
beforeEach(() => {
  server.received.length = 0
})

const settings = { apiKey: server.apiKey, baseURL: `${server.url}/v1` }

describe.each([
  ['openai 7', OpenAI7],
  ['openai 6', OpenAI6 as unknown as typeof OpenAI7]
] as const)('%s', (_, OpenAI) => {
  const client = new OpenAI({ ...settings, maxRetries: 0 })
  const file = (name: keyof typeof files) => toFile(files[name], `${name}.png`, { type: 'image/png' })

  test('edits one image', async () => {
    const { data } = await client.images.edit({ image: await file('cat'), prompt, model: 'gpt-image-2', n: 2, quality: 'high' })
    expect(data).toEqual([{ b64_json }])
    expect(lastEdit()).toEqual({
      operation: 'edit',
      parameters: { prompt, model: 'gpt-image-2', n: 2, quality: 'high', strict: false },
      images: [received('image', 'cat')]
    })
  })

  test('edits several images with a mask', async () => {
    const image = [await file('cat'), await file('hat')]
    await client.images.edit({ image, mask: await file('mask'), prompt, input_fidelity: 'high' })
    expect(lastEdit()).toMatchObject({
      inputFidelity: 'high',
      images: [received('image[0]', 'cat'), received('image[1]', 'hat')],
      mask: received('mask', 'mask')
    })
  })

  test('edits files that it reads from the disk, which it sends without length and type', async () => {
    const image = [createReadStream(path('cat')), createReadStream(path('hat'))]
    await client.images.edit({ image, mask: createReadStream(path('mask')), prompt })
    expect(lastEdit()).toMatchObject({ images: [received('image[0]', 'cat'), received('image[1]', 'hat')], mask: received('mask', 'mask') })
    await client.images.edit({ image: createReadStream(path('cat')), prompt })
    expect(lastEdit()?.images).toEqual([received('image', 'cat')])
  })

  test('reads the events of an edit', async () => {
    const stream = await client.images.edit({ image: await file('cat'), prompt, stream: true, partial_images: 1 })
    expect((await Array.fromAsync(stream)).map((event) => [event.type, event.b64_json])).toEqual([['image_edit.completed', b64_json]])
    expect(lastEdit()?.parameters).toMatchObject({ partial_images: 1 })
  })

  test('asks for variations', async () => {
    const { data } = await client.images.createVariation({ image: await file('cat'), n: 2, size: '512x512', response_format: 'b64_json' })
    expect(data).toEqual([{ b64_json }])
    expect(lastEdit()).toEqual({
      operation: 'variation',
      parameters: { n: 2, size: '512x512', response_format: 'b64_json', strict: false },
      images: [received('image', 'cat')]
    })
  })

  test('hears that a file is too large while it still sends it', async () => {
    const large = createReadStream(path('large'))
    await expect(client.images.edit({ image: large, prompt })).rejects.toMatchObject({
      status: 400,
      message: '400 image: must be no larger than 52428800 bytes'
    })
  })

  test('throws what is wrong with a file', async () => {
    const empty = await toFile(Buffer.alloc(0), 'empty.png')
    await expect(client.images.edit({ image: [await file('cat'), empty], prompt })).rejects.toMatchObject({
      status: 400,
      param: 'image[1]',
      message: '400 image[1]: is an empty file'
    })
  })
})

describe('portkey-ai', () => {
  const client = new Portkey({ apiKey: server.apiKey, provider: 'openai', baseURL: settings.baseURL })

  test('edits one image and several, with a mask', async () => {
    const mask = await toFile(files.mask, 'mask.png', { type: 'image/png' })
    await client.images.edit({ image: await toFile(files.cat, 'cat.png', { type: 'image/png' }), prompt })
    expect(lastEdit()?.images).toEqual([received('image', 'cat')])
    const image = await Promise.all([toFile(files.cat, 'cat.png'), toFile(files.hat, 'hat.png')])
    const { data } = await client.images.edit({ image: image as unknown as File, mask, prompt })
    expect(data?.[0]?.b64_json).toBe(b64_json)
    expect(lastEdit()).toMatchObject({ images: [received('image[0]', 'cat'), received('image[1]', 'hat')], mask: received('mask', 'mask') })
  })

  test('edits a file that it reads from the disk', async () => {
    await client.images.edit({ image: createReadStream(path('cat')), prompt })
    expect(lastEdit()).toMatchObject({ parameters: { prompt }, images: [received('image', 'cat')] })
  })
})

describe.each([
  ['@ai-sdk/openai', createOpenAI(settings)],
  ['@ai-sdk/openai-compatible', createOpenAICompatible({ ...settings, name: 'atelier' })]
] as const)('%s', (_, provider) => {
  test('edits one image and several, with a mask', async () => {
    const model = provider.imageModel('gpt-image-2')
    const { image } = await generateImage({ model, prompt: { text: prompt, images: [files.cat] } })
    expect(Buffer.from(image.uint8Array)).toEqual(answer)
    expect(lastEdit()).toMatchObject({ parameters: { prompt, model: 'gpt-image-2', n: 1 }, images: [received('image', 'cat')] })
    await generateImage({ model, prompt: { text: prompt, images: [files.cat, files.hat], mask: files.mask } })
    expect(lastEdit()?.images.map((input) => 'bytes' in input && input.bytes)).toEqual([files.cat, files.hat])
    expect(lastEdit()?.mask).toEqual(received('mask', 'mask'))
  })
})

describe.each(['--http1.1', '--http2-prior-knowledge'])('curl %s', (version) => {
  beforeEach((context) => needsFiles(context, { '/usr/bin/curl': 'curl' }))

  test('edits with -F', async () => {
    const form = [`image[]=@${path('cat')}`, `image[]=@${path('hat')};type=application/octet-stream`, `mask=@${path('mask')}`]
    const result = await curl([...form, `prompt=${prompt}`, 'n=1', 'stream=false'].flatMap((field) => ['-F', field]))
    expect(JSON.parse(result).data).toEqual([{ b64_json }])
    expect(lastEdit()).toMatchObject({
      parameters: { prompt, n: 1 },
      images: [received('image[0]', 'cat'), received('image[1]', 'hat')],
      mask: received('mask', 'mask')
    })
  })

  test('hears that a file is too large while it still sends it', async () => {
    const result = await curl(['-F', `image=@${path('large')}`, '-F', `prompt=${prompt}`])
    expect(JSON.parse(result).error).toMatchObject({ param: 'image', message: 'image: must be no larger than 52428800 bytes' })
  })

  test('edits with JSON', async () => {
    const body = { prompt, images: [{ image_url: `data:image/png;base64,${files.cat.toString('base64')}` }, { file_id: 'abc' }] }
    const bodyPath = join(directory.path, 'body.json')
    await writeFile(bodyPath, JSON.stringify(body))
    expect(JSON.parse(await curl(['-H', 'content-type: application/json', '-d', `@${bodyPath}`])).data).toEqual([{ b64_json }])
    expect(lastEdit()?.images).toEqual([received('images[0].image_url', 'cat'), { param: 'images[1].file_id', imageId: 'abc' }])
  })

  async function curl(args: string[]): Promise<string> {
    const authorization = `authorization: Bearer ${server.apiKey}`
    const { code, stdout, stderr } = await runCommand('curl', [
      '-sS',
      version,
      '-H',
      authorization,
      `${settings.baseURL}/images/edits`,
      ...args
    ])
    expect([code, stderr]).toEqual([0, ''])
    return stdout.toString()
  }
})

test('Python, whose fields come before its files, edits', async () => {
  const body = formBody([
    { name: 'prompt', content: prompt },
    { name: 'model', content: 'gpt-image-2' },
    { name: 'n', content: '2' },
    { name: 'stream', content: 'false' },
    { name: 'image[]', content: files.cat, filename: 'cat.png', type: 'image/png' },
    { name: 'image[]', content: files.hat, filename: 'hat.png', type: 'image/png' },
    { name: 'mask', content: files.mask, filename: 'mask.png', type: 'image/png' }
  ])
  const response = await fetch(`${settings.baseURL}/images/edits`, {
    method: 'POST',
    headers: {
      accept: 'application/json',
      'content-type': `multipart/form-data; boundary=${boundary}`,
      'user-agent': 'OpenAI/Python 3.22.1',
      authorization: `Bearer ${server.apiKey}`,
      'x-stainless-lang': 'python',
      'x-stainless-read-timeout': '600'
    },
    body
  })
  expect(await response.json()).toMatchObject({ data: [{ b64_json }] })
  expect(lastEdit()).toEqual({
    operation: 'edit',
    parameters: { prompt, model: 'gpt-image-2', n: 2, strict: false },
    images: [received('image[0]', 'cat'), received('image[1]', 'hat')],
    mask: received('mask', 'mask')
  })
})
