import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import sharp from 'sharp'
import { afterAll, describe, expect, test } from 'vitest'
import { startAtelier } from '../support/atelier.ts'
import { download, startGateway } from '../support/gateway.ts'
import { createTemporaryDirectory } from '../support/temporary-directory.ts'
import { startUpstreamServer } from '../support/upstream-server.ts'

const gateway = await startGateway()
afterAll(() => gateway[Symbol.asyncDispose]())

interface Body {
  data: { url?: string; b64_json?: string }[]
}

const generate = async (body: Record<string, unknown>, headers: Record<string, string> = {}) =>
  (await (await gateway.post('/v1/images/generations', body, headers)).json()) as Body

describe('an image that comes as base64', () => {
  test('is hosted where a link is asked for, and downloads to the letter', async () => {
    const request = { model: 'gpt-image-2', prompt: 'base64 upstream, link downstream' }
    const [image] = (await generate({ ...request, response_format: 'url' })).data
    expect(image).toEqual({ url: expect.stringMatching(new RegExp(`^${gateway.url}/images/[\\w-]{30}/[\\w-]+\\.png$`)) })
    expect(await download(image?.url)).toEqual(await gateway.upstreamImage(request))
  })

  test('is passed on where base64 is asked for', async () => {
    const request = { model: 'gpt-image-2', prompt: 'base64 upstream and downstream' }
    const [image] = (await generate({ ...request, response_format: 'b64_json' })).data
    expect(image).toEqual({ b64_json: (await gateway.upstreamImage(request)).toString('base64') })
  })

  test('gets a link that ends in its real format', async () => {
    for (const format of ['png', 'jpeg', 'webp']) {
      const [image] = (await generate({ model: 'gpt-image-2', prompt: 'formats', output_format: format, response_format: 'url' })).data
      expect(image?.url).toMatch(format === 'jpeg' ? /\.jpe?g$/ : new RegExp(`\\.${format}$`))
      const response = await fetch(image?.url ?? '')
      expect(response.headers.get('content-type')).toBe(`image/${format}`)
      expect((await sharp(await response.arrayBuffer()).metadata()).format).toBe(format)
    }
  })
})

describe('an image that comes as a link', () => {
  test('is passed on as it is where a link is asked for', async () => {
    const [image] = (await generate({ model: 'dall-e-3', prompt: 'link upstream and downstream', response_format: 'url' })).data
    expect(image?.url).toMatch(new RegExp(`^${new URL(gateway.openai.url).origin}/files/img-`))
  })

  test('is asked for as base64 where the provider can choose', async () => {
    const request = { model: 'dall-e-3', prompt: 'the provider can choose' }
    const [image] = (await generate({ ...request, response_format: 'b64_json' })).data
    expect(image?.b64_json).toBe((await gateway.upstreamImage(request)).toString('base64'))
    expect(gateway.openai.requests.find(({ body }) => body?.prompt === request.prompt)?.body?.response_format).toBe('b64_json')
  })

  test('is fetched and inlined where the provider gives nothing but links', async () => {
    await using provider = await startLinkProvider()
    await using atelier = await startAtelier({ environment: { OPENAI_BASE_URL: `${provider.origin}/v1` } })
    const response = await atelier.post('/v1/images/generations', {
      model: 'openai/basement',
      prompt: 'a cat',
      response_format: 'b64_json'
    })
    expect((await response.json()).data).toEqual([{ b64_json: picture.toString('base64') }])
    const raw = await atelier.post('/v1/images/generations', { model: 'openai/basement', prompt: 'a cat' }, { accept: 'image/*' })
    expect([raw.headers.get('content-type'), Buffer.from(await raw.arrayBuffer())]).toEqual(['image/png', picture])
  })

  test('is hosted where its own link is not known to last an hour', async () => {
    await using provider = await startLinkProvider()
    await using atelier = await startAtelier({ environment: { OPENAI_BASE_URL: `${provider.origin}/v1` } })
    const response = await atelier.post('/v1/images/generations', { model: 'openai/basement', prompt: 'a cat' })
    const [image] = ((await response.json()) as Body).data
    expect(image?.url).toMatch(new RegExp(`^${atelier.url}/images/.*\\.png$`))
    expect(await download(image?.url)).toEqual(picture)
  })

  test('is not fetched from a private address that is not the provider’s own', async () => {
    await using elsewhere = await startUpstreamServer((_, response) => response.end(picture))
    await using provider = await startLinkProvider(`${elsewhere.origin}/secret.png`)
    await using atelier = await startAtelier({ environment: { OPENAI_BASE_URL: `${provider.origin}/v1` } })
    const response = await atelier.post('/v1/images/generations', {
      model: 'openai/basement',
      prompt: 'a cat',
      response_format: 'b64_json'
    })
    expect([response.status, (await response.json()).error.type, elsewhere.paths]).toEqual([500, 'provider_error', []])
    expect(response.headers.get('x-should-retry')).toBe('false')
  })
})

describe('Accept: image/*', () => {
  test.each([
    ['image/*', 'png'],
    ['image/png', 'png'],
    ['image/jpeg', 'jpeg'],
    ['image/webp', 'webp']
  ])('%s gives the image itself as %s', async (accept, format) => {
    const response = await gateway.post('/v1/images/generations', { model: 'sketch', prompt: 'raw', size: '200x100' }, { accept })
    expect([response.status, response.headers.get('content-type')]).toEqual([200, `image/${format}`])
    const { width, height, format: made } = await sharp(await response.arrayBuffer()).metadata()
    expect([width, height, made]).toEqual([200, 100, format])
  })

  test('gives the same bytes as base64 does', async () => {
    const request = { model: 'gpt-image-2', prompt: 'raw and base64' }
    const response = await gateway.post('/v1/images/generations', request, { accept: 'image/*' })
    expect(Buffer.from(await response.arrayBuffer())).toEqual(await gateway.upstreamImage(request))
  })

  test('goes with one image only', async () => {
    const response = await gateway.post('/v1/images/generations', { model: 'sketch', prompt: 'raw', n: 2 }, { accept: 'image/*' })
    expect([response.status, (await response.json()).error]).toEqual([
      400,
      { message: 'n: must be 1 when Accept asks for an image, not 2', type: 'invalid_request_error', param: 'n', code: 'invalid_value' }
    ])
  })

  test('gets an error as JSON', async () => {
    const response = await gateway.post('/v1/images/generations', { model: 'dall-e-3', prompt: '[moderated]' }, { accept: 'image/*' })
    expect([response.status, response.headers.get('content-type'), (await response.json()).error.code]).toEqual([
      400,
      'application/json',
      'content_policy_violation'
    ])
  })
})

describe('a link to a hosted image', () => {
  const linked = async (body: Record<string, unknown> = {}) =>
    (await generate({ model: 'sketch', prompt: 'hosted', size: '100x100', ...body })).data[0]?.url ?? ''

  test('needs no key, is immutable and cannot run as a page', async () => {
    const response = await fetch(await linked())
    expect(response.status).toBe(200)
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'content-type': 'image/png',
      'content-disposition': 'inline',
      'accept-ranges': 'bytes',
      'x-content-type-options': 'nosniff',
      'content-security-policy': "default-src 'none'; sandbox",
      etag: expect.any(String)
    })
  })

  test('answers HEAD with the same headers and no body', async () => {
    const url = await linked()
    const [head, get] = [await fetch(url, { method: 'HEAD' }), await fetch(url)]
    const image = await get.arrayBuffer()
    const fixed = (response: Response) =>
      [...response.headers].filter(([name]) => !['x-request-id', 'date', 'connection', 'keep-alive'].includes(name))
    expect([head.status, await head.text(), fixed(head)]).toEqual([200, '', fixed(get)])
    expect(Number(head.headers.get('content-length'))).toBe(image.byteLength)
  })

  test.each([
    ['bytes=0-9', 206, (size: number) => [0, 9, size]],
    ['bytes=10-', 206, (size: number) => [10, size - 1, size]],
    ['bytes=-10', 206, (size: number) => [size - 10, size - 1, size]],
    ['bytes=5-999999999', 206, (size: number) => [5, size - 1, size]]
  ])('answers the range %s', async (range, status, expected) => {
    const url = await linked()
    const whole = await download(url)
    const response = await fetch(url, { headers: { range } })
    const [start = 0, end = 0, size = 0] = expected(whole.length)
    expect([response.status, response.headers.get('content-range')]).toEqual([status, `bytes ${start}-${end}/${size}`])
    expect(Buffer.from(await response.arrayBuffer())).toEqual(whole.subarray(start, end + 1))
  })

  test('refuses a range behind its end, and answers malformed and several ranges whole', async () => {
    const url = await linked()
    const whole = await download(url)
    const behind = await fetch(url, { headers: { range: 'bytes=999999999-' } })
    expect([behind.status, behind.headers.get('content-range')]).toEqual([416, `bytes */${whole.length}`])
    for (const range of ['bytes=0-1,5-6', 'bytes=a-b', 'lines=0-1']) {
      const response = await fetch(url, { headers: { range } })
      expect([response.status, (await response.arrayBuffer()).byteLength]).toEqual([200, whole.length])
    }
  })

  test('is not sent again to who has it', async () => {
    const url = await linked()
    const etag = (await fetch(url)).headers.get('etag') ?? ''
    const response = await fetch(url, { headers: { 'if-none-match': etag } })
    expect([response.status, await response.text()]).toEqual([304, ''])
  })

  test('does not work when any part of it is altered', async () => {
    const url = await linked()
    const { origin, pathname } = new URL(url)
    const [, folder, id = '', file = ''] = pathname.split('/')
    const [, expiry = '', signature = ''] = /^(\d+)-(.{24})\.png$/.exec(file) ?? []
    const altered = [
      `${origin}/${folder}/${flip(id)}/${file}`,
      `${origin}/${folder}/${id}/${Number(expiry) + 1}-${signature}.png`,
      `${origin}/${folder}/${id}/${expiry}-${flip(signature)}.png`,
      `${origin}/${folder}/${id}/${expiry}-.png`,
      `${origin}/${folder}/${id}/${signature}.png`,
      `${origin}/${folder}/${id}/`,
      `${origin}/${folder}/..%2f..%2fatelier.db`,
      `${origin}/${folder}/%00`
    ]
    for (const link of altered) {
      const response = await fetch(link)
      expect([link, response.status, (await response.json()).error.code]).toEqual([link, 404, 'image_not_found'])
    }
  })

  test('stops working when its time is over', async () => {
    await using atelier = await startAtelier({ settings: { linkLifetimeSeconds: 1 } })
    const response = await atelier.post('/v1/images/generations', { model: 'sketch', prompt: 'for a second', size: '64x64' })
    const [image] = ((await response.json()) as Body).data
    expect((await fetch(image?.url ?? '')).status).toBe(200)
    await expect.poll(async () => (await fetch(image?.url ?? '')).status, { timeout: 5000 }).toBe(404)
  })

  test('begins with the public URL', async () => {
    await using atelier = await startAtelier({ environment: { ATELIER_PUBLIC_URL: 'https://images.example.com/' } })
    const response = await atelier.post('/v1/images/generations', { model: 'sketch', prompt: 'public', size: '64x64' })
    const [image] = ((await response.json()) as Body).data
    expect(image?.url).toMatch(/^https:\/\/images\.example\.com\/images\/[\w-]+\/[\w-]+\.png$/)
    expect((await fetch(atelier.url + new URL(image?.url ?? '').pathname)).status).toBe(200)
  })

  test('works after a restart with the same data', async () => {
    await using data = await createTemporaryDirectory()
    const environment = { ATELIER_DATA_DIR: data.path }
    const first = await startAtelier({ environment })
    const response = await first.post('/v1/images/generations', { model: 'sketch', prompt: 'kept', size: '64x64' })
    const { pathname } = new URL(((await response.json()) as Body).data[0]?.url ?? '')
    const image = await download(first.url + pathname)
    await first[Symbol.asyncDispose]()
    await using second = await startAtelier({ environment })
    expect(await download(second.url + pathname)).toEqual(image)
  })
})

test('with tasks: off nothing is stored of images that were not asked for as links', async () => {
  await using atelier = await startAtelier({ settings: { tasks: 'off' } })
  await atelier
    .post('/v1/images/generations', { model: 'sketch', prompt: 'inline', size: '64x64', response_format: 'b64_json' })
    .then((r) => r.text())
  await atelier
    .post('/v1/images/generations', { model: 'sketch', prompt: 'raw', size: '64x64' }, { accept: 'image/*' })
    .then((r) => r.arrayBuffer())
  const files = await readdir(join(atelier.dataDir, 'images'), { recursive: true, withFileTypes: true })
  expect(files.filter((entry) => entry.isFile())).toEqual([])
})

const picture = await sharp({ create: { width: 64, height: 64, channels: 3, background: '#8040c0' } })
  .png()
  .toBuffer()

/** A provider that answers every request with a link, its own unless told. */
async function startLinkProvider(link?: string) {
  const server = await startUpstreamServer((request, response) => {
    if (request.method === 'GET') {
      response.setHeader('content-type', 'image/png').end(picture)
      return
    }
    request.resume().once('end', () => {
      const answer = { created: 1_763_600_000, data: [{ url: link ?? `${server.origin}/files/one.png` }] }
      response.setHeader('content-type', 'application/json').end(JSON.stringify(answer))
    })
  })
  return server
}

/** The same text with another first character. */
function flip(text: string): string {
  return (text.startsWith('A') ? 'B' : 'A') + text.slice(1)
}
