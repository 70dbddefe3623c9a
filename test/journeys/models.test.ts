import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import sharp from 'sharp'
import { afterEach, expect, test } from 'vitest'
import { download, startGateway } from '../support/gateway.ts'
import { createTemporaryDirectory } from '../support/temporary-directory.ts'
import { warnedOf } from '../support/warnings.ts'

let opened = new AsyncDisposableStack()
afterEach(async () => {
  await opened.disposeAsync()
  opened = new AsyncDisposableStack()
})

interface ImagesAnswer {
  data: { url?: string; b64_json?: string; revised_prompt?: string }[]
  error?: { message: string; type: string; param: string | null; code: string | null }
}

const generations = '/v1/images/generations'
const replaced =
  /^model=substituted; message="dall-e-[23] was switched off by its vendor on 2026-05-12, so gpt-image-2 serves in its place"$/

test('code written for dall-e-3 gets its image from the successor, by link, with a prompt that counts as revised', async () => {
  const gateway = await start('replace')
  const response = await gateway.post(generations, { model: 'dall-e-3', prompt: 'a cute baby sea otter' })
  const { data } = (await response.json()) as ImagesAnswer
  expect([response.status, response.headers.get('x-atelier-model')]).toEqual([200, 'gpt-image-2'])
  expect(response.headers.get('x-atelier-warnings')).toMatch(replaced)
  expect(data).toEqual([{ url: expect.stringMatching(`^${gateway.url}/images/.*\\.png`), revised_prompt: 'a cute baby sea otter' }])
  const { width, height } = await sharp(await download(data[0]?.url)).metadata()
  expect([width, height]).toEqual([1024, 1024])
  expect(gateway.openai.requests.map(({ body }) => body)).toEqual([
    { model: 'gpt-image-2', prompt: 'a cute baby sea otter', size: '1024x1024', quality: 'medium', n: 1 }
  ])
})

test('a request that names no model is served like dall-e-3, and told nothing of a replacement', async () => {
  const gateway = await start('replace')
  const response = await gateway.post(generations, { prompt: 'a fox' })
  const { data } = (await response.json()) as ImagesAnswer
  expect([response.status, response.headers.get('x-atelier-warnings')]).toEqual([200, null])
  expect(data).toEqual([{ url: expect.any(String), revised_prompt: 'a fox' }])
})

test('what dall-e-3 was asked with is translated, and said', async () => {
  const gateway = await start('replace')
  const body = {
    model: 'openai/dall-e-3',
    prompt: 'a fox',
    quality: 'hd',
    style: 'natural',
    size: '1792x1024',
    response_format: 'b64_json'
  }
  const response = await gateway.post(generations, body)
  const { data } = (await response.json()) as ImagesAnswer
  const picture = await sharp(Buffer.from(data[0]?.b64_json ?? '', 'base64')).metadata()
  expect([response.status, picture.width, picture.height, data[0]?.revised_prompt]).toEqual([200, 1792, 1024, 'a fox'])
  expect(warnedOf(response)).toEqual(['model=substituted', 'quality=converted', 'style=ignored'])
  expect(gateway.openai.requests.map(({ body }) => body)).toEqual([
    { model: 'gpt-image-2', prompt: 'a fox', size: '1792x1024', quality: 'high', n: 1 }
  ])
})

test.each(['256x256', '512x512'])('images of dall-e-2 at %s have exactly that size', async (size) => {
  const gateway = await start('replace')
  const response = await gateway.post(generations, { model: 'dall-e-2', prompt: 'a logo', n: 2, size })
  const { data } = (await response.json()) as ImagesAnswer
  expect([response.status, warnedOf(response)]).toEqual([200, ['model=substituted', 'size=emulated']])
  expect(data).toEqual([{ url: expect.any(String) }, { url: expect.any(String) }])
  for (const { url } of data) {
    const picture = await sharp(await download(url)).metadata()
    expect([picture.format, `${picture.width}x${picture.height}`]).toEqual(['png', size])
  }
  expect(gateway.openai.requests.map(({ body }) => [body?.model, body?.size, body?.n])).toEqual([['gpt-image-2', '1024x1024', 2]])
})

test('gpt-image-1 is served by its successor with what it was asked for', async () => {
  const gateway = await start('replace')
  const body = {
    model: 'gpt-image-1',
    prompt: 'a fox',
    background: 'transparent',
    quality: 'low',
    size: '1536x1024',
    output_format: 'webp'
  }
  const response = await gateway.post(generations, body)
  const { data } = (await response.json()) as ImagesAnswer
  const picture = await sharp(Buffer.from(data[0]?.b64_json ?? '', 'base64')).metadata()
  expect([response.status, picture.format, picture.width, picture.hasAlpha]).toEqual([200, 'webp', 1536, true])
  expect(response.headers.get('x-atelier-warnings')).toMatch(
    /^model=substituted; message="gpt-image-1 was switched off by its vendor on 2026-10-23/
  )
  expect(gateway.openai.requests.map(({ body }) => body)).toEqual([{ ...body, model: 'gpt-image-2', n: 1 }])
})

test('the rules of dall-e-3 hold although another model serves', async () => {
  const gateway = await start('replace')
  const errors = []
  for (const wrong of [{ n: 2 }, { size: '1536x1024' }, { quality: 'high' }, { prompt: 'x'.repeat(4001) }]) {
    const response = await gateway.post(generations, { model: 'dall-e-3', prompt: 'a fox', ...wrong })
    const { error } = (await response.json()) as ImagesAnswer
    errors.push([response.status, error?.param, error?.code])
  }
  expect(errors).toEqual([
    [400, 'n', 'invalid_value'],
    [400, 'size', 'invalid_size'],
    [400, 'quality', 'invalid_value'],
    [400, 'prompt', 'invalid_value']
  ])
  expect(gateway.openai.requests).toEqual([])
})

test('elsewhere dall-e-3 is asked for itself, and answers with its own revised prompt', async () => {
  const gateway = await start(undefined, [])
  const response = await gateway.post(generations, { model: 'dall-e-3', prompt: 'a fox', quality: 'hd', style: 'natural' })
  const { data } = (await response.json()) as ImagesAnswer
  expect([response.status, response.headers.get('x-atelier-model'), response.headers.get('x-atelier-warnings')]).toEqual([
    200,
    'dall-e-3',
    null
  ])
  expect(data).toEqual([
    {
      url: expect.stringMatching(`^${new URL(gateway.openai.url).origin}/files/`),
      revised_prompt: 'A detailed, high-quality image of the following: a fox'
    }
  ])
  expect(gateway.openai.requests.map(({ body }) => body?.model)).toEqual(['dall-e-3'])
})

test('a retired model that is passed on to its vendor is refused there, in the vendor’s words', async () => {
  const gateway = await start('forward')
  const response = await gateway.post(generations, { model: 'dall-e-3', prompt: 'a fox' })
  const { error } = (await response.json()) as ImagesAnswer
  expect(response.status).toBeGreaterThanOrEqual(400)
  expect(error?.message).toContain('The model `dall-e-3` does not exist')
})

test('where retired models are refused, none is listed, and an error names the successor', async () => {
  const gateway = await start('refuse')
  const response = await gateway.post(generations, { model: 'dall-e-3', prompt: 'a fox' })
  const { error } = (await response.json()) as ImagesAnswer
  expect([response.status, error]).toEqual([
    404,
    {
      message: "the model 'dall-e-3' does not exist here: its vendor switched it off on 2026-05-12; gpt-image-2 is its replacement",
      type: 'invalid_request_error',
      param: 'model',
      code: 'model_not_found'
    }
  ])
  const { data } = (await (await gateway.get('/v1/models')).json()) as { data: { id: string; status: string }[] }
  expect(data.filter(({ status }) => status === 'retired')).toEqual([])
  expect(data.map(({ id }) => id)).toContain('gpt-image-2')
  expect((await gateway.get('/v1/models/dall-e-3')).status).toBe(404)
  expect(gateway.openai.requests).toEqual([])
})

test('a retired model that is served is listed with its successor', async () => {
  const gateway = await start('replace')
  const response = await gateway.get('/v1/models/dall-e-3')
  expect(await response.json()).toMatchObject({
    id: 'dall-e-3',
    status: 'retired',
    shutdown_date: '2026-05-12',
    replacement: 'gpt-image-2'
  })
})

/** A server whose provider `openai` has switched off some models. */
async function start(retired: 'replace' | 'forward' | 'refuse' | undefined, switchedOff = ['dall-e-2', 'dall-e-3', 'gpt-image-1']) {
  const directory = opened.use(await createTemporaryDirectory())
  const file = join(directory.path, 'atelier.yaml')
  await writeFile(file, `providers: { openai: { ${retired === undefined ? '' : `retired: ${retired}`} } }\n`)
  return opened.use(await startGateway({ openai: { retired: switchedOff }, environment: { ATELIER_CONFIG: file } }))
}
