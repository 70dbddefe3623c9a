import { randomBytes } from 'node:crypto'
import { connect as connectHttp2, constants } from 'node:http2'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { answer, type EditServer, startEditServer } from '../support/edit-server.ts'
import { boundary, type FormPart, formBody } from '../support/form.ts'
import { connectRaw } from '../support/raw-client.ts'

const png = Buffer.concat([Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'), randomBytes(300_000)])
const jpeg = Buffer.concat([Buffer.from('\xff\xd8\xff', 'latin1'), randomBytes(100)])
const webp = Buffer.concat([Buffer.from('RIFF\0\0\0\0WEBP', 'latin1'), randomBytes(100)])
const prompt = { name: 'prompt', content: 'a hat on the cat' }
const image = { name: 'image', content: png, filename: 'cat.png', type: 'image/png' }

let server: EditServer
beforeEach(async () => {
  server = await startEditServer()
})
afterEach(async () => {
  await vi.waitFor(() => expect(server.files()).toEqual([]))
  await server[Symbol.asyncDispose]()
})

describe('a form', () => {
  test('brings one image and every kind of field', async () => {
    const fields = { model: 'gpt-image-2', n: '2', size: '1024x1024', output_compression: '80', input_fidelity: 'high', vendor_option: '7' }
    const response = await send([image, prompt, ...Object.entries(fields).map(([name, content]) => ({ name, content }))])
    expect([response.status, await response.json()]).toEqual([
      200,
      { created: expect.any(Number), data: [{ b64_json: answer.toString('base64') }] }
    ])
    expect(server.received).toEqual([
      {
        operation: 'edit',
        parameters: {
          prompt: prompt.content,
          model: 'gpt-image-2',
          n: 2,
          size: '1024x1024',
          output_compression: 80,
          provider_options: { vendor_option: '7' },
          strict: false
        },
        inputFidelity: 'high',
        images: [{ param: 'image', bytes: png, mediaType: 'image/png' }]
      }
    ])
  })

  test.each([
    ['image[] repeated', ['image[]', 'image[]', 'image[]'], ['image[0]', 'image[1]', 'image[2]']],
    ['image repeated', ['image', 'image', 'image'], ['image', 'image[1]', 'image[2]']],
    ['image[0] and so on', ['image[0]', 'image[1]', 'image[2]'], ['image[0]', 'image[1]', 'image[2]']]
  ])('brings several images as %s, in their order', async (_, names, params) => {
    const files = [png, jpeg, webp].map((content, index) => ({ name: names[index] ?? '', content, filename: 'blob' }))
    expect((await send([...files, prompt])).status).toBe(200)
    expect(server.received[0]?.images).toEqual([
      { param: params[0], bytes: png, mediaType: 'image/png' },
      { param: params[1], bytes: jpeg, mediaType: 'image/jpeg' },
      { param: params[2], bytes: webp, mediaType: 'image/webp' }
    ])
  })

  test('puts numbered images in the order of their numbers', async () => {
    const files = [2, 0, 1].map((index) => ({ name: `image[${index}]`, content: [png, jpeg, webp][index] ?? '', filename: 'blob' }))
    await send([...files, prompt])
    expect(server.received[0]?.images.map((input) => 'bytes' in input && input.bytes)).toEqual([png, jpeg, webp])
  })

  test('brings a mask, before the image and the fields or behind them, whatever type it is said to have', async () => {
    const mask = { name: 'mask', content: png, filename: 'mask', type: 'application/octet-stream' }
    for (const parts of [
      [mask, image, prompt],
      [prompt, image, mask]
    ])
      expect((await send(parts)).status).toBe(200)
    expect(server.received.map((edit) => edit.mask)).toEqual(Array(2).fill({ param: 'mask', bytes: png, mediaType: 'image/png' }))
  })

  test('takes a file without a filename by its type, and leaves out a file that was not chosen', async () => {
    const unchosen = { name: 'mask', content: '', filename: '', type: 'application/octet-stream' }
    const { filename: _, ...nameless } = image
    expect((await send([nameless, unchosen, prompt])).status).toBe(200)
    expect(server.received[0]?.mask).toBeUndefined()
  })

  test('arrives byte by byte, chunked, without a length', async () => {
    const small = formBody([{ ...image, content: jpeg }, prompt])
    using client = await connectRaw(server)
    client.send(head({ 'transfer-encoding': 'chunked' }))
    for (const byte of small) client.send(Buffer.concat([Buffer.from('1\r\n'), Buffer.of(byte), Buffer.from('\r\n')]))
    client.send('0\r\n\r\n')
    expect(await client.received('b64_json')).toContain('HTTP/1.1 200 OK')
    expect(server.received[0]?.images).toEqual([{ param: 'image', bytes: jpeg, mediaType: 'image/jpeg' }])
  })

  test('is answered with events where it asks for them', async () => {
    const response = await send([image, prompt, { name: 'stream', content: 'true' }, { name: 'partial_images', content: '2' }])
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8')
    const text = await response.text()
    expect(text).toMatch(/^event: image_edit\.completed\ndata: \{"type":"image_edit\.completed",/)
    expect(server.received[0]?.parameters).toMatchObject({ partial_images: 2, response_format: 'b64_json' })
  })

  test('is answered with the image itself where Accept asks for it', async () => {
    const response = await send([image, prompt], { accept: 'image/png' })
    expect([response.headers.get('content-type'), Buffer.from(await response.arrayBuffer())]).toEqual(['image/png', answer])
  })

  test.each<[string, FormPart[], string, RegExp]>([
    ['no image', [prompt], 'image', /missing required parameter: 'image'/],
    ['an empty image', [{ ...image, content: '' }, prompt], 'image', /^image: is an empty file/],
    ['text in place of the image', [{ name: 'image', content: 'https://example.com/cat.png' }, prompt], 'image', /must be a file/],
    ['text in place of the mask', [image, { name: 'mask', content: 'none' }, prompt], 'mask', /must be a file/],
    ['two masks', [image, prompt, { ...image, name: 'mask' }, { ...image, name: 'mask' }], 'mask', /was sent twice/],
    [
      'one number twice',
      [
        { ...image, name: 'image[1]' },
        { ...image, name: 'image[1]' }
      ],
      'image[1]',
      /was sent twice/
    ],
    ['17 images', [...Array.from({ length: 17 }, () => ({ ...image, content: jpeg })), prompt], 'image', /at most 16 images/],
    ['a file of another name', [{ ...image, name: 'video' }, image, prompt], 'video', /has no place here/],
    ['a prompt that is a file', [{ ...image, name: 'prompt' }], 'prompt', /has no place here/],
    ['a field twice', [image, prompt, prompt], 'prompt', /was sent twice/],
    ['a number that is none', [image, prompt, { name: 'n', content: 'two' }], 'n', /must be a number/],
    ['a boolean that is none', [image, prompt, { name: 'stream', content: 'maybe' }], 'stream', /must be true or false/],
    ['an unknown fidelity', [image, prompt, { name: 'input_fidelity', content: 'max' }], 'input_fidelity', /must be low or high/],
    ['text that is no UTF-8', [image, { name: 'prompt', content: Buffer.of(0xff, 0xfe) }], 'prompt', /not valid UTF-8/],
    ['a huge field', [image, { name: 'prompt', content: 'x'.repeat(1_100_000) }], 'prompt', /above the limit of 1048576 bytes/],
    [
      'fields that are huge together',
      [image, { name: 'a', content: 'x'.repeat(600_000) }, { name: 'b', content: 'x'.repeat(600_000) }],
      'b',
      /above the limit of 1048576 bytes/
    ],
    ['partial images without a stream', [image, prompt, { name: 'partial_images', content: '1' }], 'partial_images', /must be 0 unless/]
  ])('with %s is refused, and names it', async (_, parts, param, message) => {
    const response = await send(parts)
    expect([response.status, await response.json()]).toEqual([
      400,
      { error: { message: expect.stringMatching(message), type: 'invalid_request_error', param, code: expect.any(String) } }
    ])
    expect(server.received).toEqual([])
  })

  test.each([
    ['multipart/form-data', 400, /names no boundary/],
    ['multipart/form-data; boundary=another', 400, /ends before its last boundary|its boundary does not occur/],
    ['text/plain', 415, /must be multipart\/form-data or application\/json in UTF-8, not "text\/plain"/],
    ['multipart/form-data, multipart/form-data; boundary=x', 415, /must be multipart/]
  ])('of the type %s is refused', async (contentType, status, message) => {
    const response = await post('/v1/images/edits', formBody([image, prompt]), { 'content-type': contentType })
    expect([response.status, await response.json()]).toEqual([
      status,
      { error: { message: expect.stringMatching(message), type: 'invalid_request_error', param: null, code: expect.any(String) } }
    ])
  })

  test('that is compressed is refused', async () => {
    expect((await send([image, prompt], { 'content-encoding': 'gzip' })).status).toBe(415)
  })

  test('of 10,000 parts is refused', async () => {
    const response = await send([image, ...Array.from({ length: 10_000 }, (_, index) => ({ name: `field${index}`, content: 'x' }))])
    expect([response.status, await response.json()]).toMatchObject([400, { error: { code: 'malformed_body' } }])
  })

  test('without its end leaves no file', async () => {
    const whole = formBody([prompt, image])
    const response = await post('/v1/images/edits', whole.subarray(0, -20))
    expect([response.status, await response.json()]).toMatchObject([400, { error: { code: 'malformed_body' } }])
  })

  test.each(['HTTP/1.1', 'HTTP/2'])('that is broken off over %s leaves no file', async (version) => {
    const { cancel } = version === 'HTTP/2' ? await beginOverHttp2() : await beginOverHttp1()
    while (server.files().length === 0) await sleep(5)
    cancel()
    while (server.files().length > 0) await sleep(5)
    expect(server.received).toEqual([])
  })

  test('is refused without a key before it has arrived', async () => {
    using client = await connectRaw(server)
    client.send(head({ 'content-length': '1000000', authorization: 'Bearer wrong' }))
    expect(await client.received('invalid_api_key')).toContain('HTTP/1.1 401')
  })

  test('is refused before it has arrived where its length is above the limit', async () => {
    using client = await connectRaw(server)
    client.send(head({ 'content-length': '900000000' }))
    expect(await client.received('body_too_large')).toContain('HTTP/1.1 413')
  })
})

describe('limits', () => {
  test('a file above the limit is refused while it arrives, and named', async () => {
    await using small = await startEditServer({ uploads: { maxBytesPerFile: 100_000 } })
    const files = [jpeg, png].map((content) => ({ ...image, name: 'image[]', content }))
    const response = await send([...files, prompt], {}, small)
    expect([response.status, await response.json()]).toMatchObject([
      400,
      { error: { param: 'image[1]', message: 'image[1]: must be no larger than 100000 bytes' } }
    ])
    await vi.waitFor(() => expect(small.files()).toEqual([]))
  })

  test('a caller whose files take up too much is told to wait, and gets its turn', async () => {
    const { promise: mayGoOn, resolve: goOn } = Promise.withResolvers<void>()
    await using small = await startEditServer({ uploads: { maxBytesPerCaller: 500_000 }, edit: () => mayGoOn })
    const first = send([image, prompt], {}, small)
    while (small.files().length === 0) await sleep(5)
    const second = await send([image, prompt], {}, small)
    expect([second.status, second.headers.get('retry-after'), await second.json()]).toMatchObject([
      429,
      '5',
      { error: { type: 'rate_limit_error', code: 'too_many_uploads' } }
    ])
    goOn()
    expect((await first).status).toBe(200)
    expect((await send([image, prompt], {}, small)).status).toBe(200)
    await vi.waitFor(() => expect(small.files()).toEqual([]))
  })
})

describe('JSON', () => {
  const dataUrl = `data:image/png;base64,${png.toString('base64')}`

  test('brings data URLs, links, ids and a mask', async () => {
    const response = await sendJson({
      prompt: prompt.content,
      images: [{ image_url: dataUrl }, { image_url: 'https://example.com/ü.png' }, { file_id: 'abc', image_url: null }],
      mask: { image_url: dataUrl },
      input_fidelity: null,
      n: 2,
      stream: null
    })
    expect(response.status).toBe(200)
    expect(server.received).toEqual([
      {
        operation: 'edit',
        parameters: { prompt: prompt.content, n: 2, strict: false },
        images: [
          { param: 'images[0].image_url', bytes: png, mediaType: 'image/png' },
          { param: 'images[1].image_url', url: 'https://example.com/ü.png' },
          { param: 'images[2].file_id', imageId: 'abc' }
        ],
        mask: { param: 'mask.image_url', bytes: png, mediaType: 'image/png' }
      }
    ])
  })

  test('has its data URLs on the disk before it has arrived whole', async () => {
    const text = JSON.stringify({ images: [{ image_url: dataUrl }], prompt: 'a cat' })
    using client = await connectRaw(server)
    client.send(head({ 'content-type': 'application/json', 'content-length': String(text.length) }) + text.slice(0, 300_000))
    while (server.files().length === 0) await sleep(5)
    client.send(text.slice(300_000))
    expect(await client.received('b64_json')).toContain('HTTP/1.1 200 OK')
  })

  test('streams where it asks for that', async () => {
    const response = await sendJson({ prompt: 'a cat', images: [{ image_url: dataUrl }], stream: true })
    expect(await response.text()).toMatch(/^event: image_edit\.completed\n/)
  })

  test.each<[string, unknown, string | null, RegExp]>([
    ['no images', { prompt: 'x' }, 'images', /missing required parameter/],
    ['an empty list', { prompt: 'x', images: [] }, 'images', /missing required parameter/],
    ['an object for the list', { images: { image_url: dataUrl } }, 'images', /must be an array/],
    ['a string for a reference', { images: ['https://example.com'] }, 'images[0]', /must be an object/],
    ['neither URL nor id', { images: [{}] }, 'images[0]', /must have one of/],
    ['both URL and id', { images: [{ image_url: 'https://x', file_id: 'y' }] }, 'images[0]', /must have one of/],
    ['a stranger', { images: [{ image_url: 'https://x', detail: 'high' }] }, 'images[0].detail', /is not known here/],
    ['an empty URL', { images: [{ image_url: '' }] }, 'images[0].image_url', /is empty/],
    ['a number for a URL', { images: [{ image_url: 7 }] }, 'images[0].image_url', /must be a string/],
    ['a number for an id', { images: [{ file_id: 7 }] }, 'images[0].file_id', /must be a string/],
    ['the image of a form', { image: dataUrl, images: [{ image_url: 'https://x' }] }, 'image', /is for forms/],
    ['a data URL that is not in base64', { images: [{ image_url: 'data:image/png,abc' }] }, 'images[0].image_url', /in base64/],
    ['a data URL without data', { images: [{ image_url: 'data:image/png;base64,' }] }, 'images[0].image_url', /is an empty file/],
    ['a data URL without a comma', { images: [{ image_url: 'data:image/png;base64' }] }, 'images[0].image_url', /with a comma/],
    ['broken base64', { mask: { image_url: 'data:image/png;base64,A*' }, images: [] }, 'mask.image_url', /invalid base64|base64/],
    ['a URL without end', { images: [{ image_url: `https://x/${'y'.repeat(9000)}` }] }, 'images[0].image_url', /no longer than 8192/],
    ['17 images', { images: Array(17).fill({ image_url: 'https://x' }) }, 'images', /at most 16 images/],
    ['17 ids', { images: Array(17).fill({ file_id: 'x' }) }, 'images', /at most 16 images/],
    ['a list for a document', [], null, /must be a JSON object/]
  ])('with %s is refused, and names it', async (_, body, param, message) => {
    const response = await sendJson(body)
    expect([response.status, await response.json()]).toEqual([
      400,
      { error: { message: expect.stringMatching(message), type: 'invalid_request_error', param, code: expect.any(String) } }
    ])
  })

  test.each([
    ['a URL twice', `{"images":[{"image_url":"${dataUrl}","image_url":"${dataUrl}"}]}`],
    ['the list twice', `{"images":[{"image_url":"${dataUrl}"}],"images":[]}`],
    ['the mask twice', `{"images":[{"image_url":"${dataUrl}"}],"mask":{"image_url":"${dataUrl}"},"mask":null}`],
    ['a key that attacks', `{"images":[{"image_url":"${dataUrl}"}],"__proto__":{}}`],
    ['no end', `{"images":[{"image_url":"${dataUrl}"}`],
    ['no end within the data', `{"images":[{"image_url":"${dataUrl}`],
    ['too much beside its images', `{"images":[{"image_url":"${dataUrl}"}],"prompt":"${'x'.repeat(1_100_000)}"}`],
    ['too many levels', `{"images":[{"image_url":"${dataUrl}"}],"x":${'['.repeat(100)}`]
  ])('with %s is refused', async (_, text) => {
    const response = await post('/v1/images/edits', text, { 'content-type': 'application/json' })
    expect([response.status, await response.json()]).toMatchObject([400, { error: { type: 'invalid_request_error' } }])
    expect(server.received).toEqual([])
  })
})

describe('variations', () => {
  test('take one image and no prompt', async () => {
    const response = await post(
      '/v1/images/variations',
      formBody([image, { name: 'n', content: '2' }, { name: 'model', content: 'dall-e-2' }])
    )
    expect(response.status).toBe(200)
    expect(server.received).toEqual([
      {
        operation: 'variation',
        parameters: { model: 'dall-e-2', n: 2, strict: false },
        images: [{ param: 'image', bytes: png, mediaType: 'image/png' }]
      }
    ])
  })

  test.each<[string, FormPart[], string]>([
    ['a mask', [image, { ...image, name: 'mask' }], 'mask'],
    ['two images', [image, image], 'image'],
    ['no image', [{ name: 'n', content: '1' }], 'image'],
    ['events', [image, { name: 'stream', content: 'true' }], 'stream']
  ])('do not take %s', async (_, parts, param) => {
    const response = await post('/v1/images/variations', formBody(parts))
    expect([response.status, await response.json()]).toMatchObject([400, { error: { param } }])
  })

  test('do not take JSON', async () => {
    const response = await post('/v1/images/variations', '{}', { 'content-type': 'application/json' })
    expect(response.status).toBe(415)
  })
})

function send(parts: readonly FormPart[], headers: Record<string, string> = {}, to: EditServer = server) {
  return post('/v1/images/edits', formBody(parts), headers, to)
}

function sendJson(body: unknown) {
  return post('/v1/images/edits', JSON.stringify(body), { 'content-type': 'application/json' })
}

function post(path: string, body: BodyInit, headers: Record<string, string> = {}, to: EditServer = server) {
  return fetch(to.url + path, {
    method: 'POST',
    headers: { authorization: `Bearer ${to.apiKey}`, 'content-type': `multipart/form-data; boundary=${boundary}`, ...headers },
    body
  })
}

function head(headers: Record<string, string>): string {
  const all = {
    host: 'here',
    authorization: `Bearer ${server.apiKey}`,
    'content-type': `multipart/form-data; boundary=${boundary}`,
    ...headers
  }
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`)
  return `POST /v1/images/edits HTTP/1.1\r\n${lines.join('')}\r\n`
}

/** Sends the first half of an edit's body. */
async function beginOverHttp1() {
  const client = await connectRaw(server)
  client.send(head({ 'content-length': '600000' }))
  client.send(formBody([prompt, image]).subarray(0, 150_000))
  return { cancel: () => client[Symbol.dispose]() }
}

async function beginOverHttp2() {
  const session = connectHttp2(server.url)
  const stream = session.request({
    ':method': 'POST',
    ':path': '/v1/images/edits',
    authorization: `Bearer ${server.apiKey}`,
    'content-type': `multipart/form-data; boundary=${boundary}`
  })
  stream.on('error', () => {})
  stream.write(formBody([prompt, image]).subarray(0, 150_000))
  return {
    cancel() {
      stream.close(constants.NGHTTP2_CANCEL)
      session.close()
    }
  }
}
