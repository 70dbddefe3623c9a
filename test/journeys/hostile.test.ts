import { createCipheriv } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { connect as connectHttp2, constants } from 'node:http2'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { connectRaw, type RawClient } from '../support/raw-client.ts'
import { startProgram } from '../support/run-atelier.ts'
import { createTemporaryDirectory } from '../support/temporary-directory.ts'

const apiKey = 'key-of-every-caller-here'
const directory = await createTemporaryDirectory()
const run = startProgram([], {
  directory: directory.path,
  environment: { ATELIER_LISTEN: '127.0.0.1:0', ATELIER_API_KEY: apiKey, OPENAI_BASE_URL: 'http://127.0.0.1:9/v1' }
})
const url = String((await run.logged('listening')).url)
const port = Number(new URL(url).port)
const path = '/v1/images/generations'

afterAll(async () => {
  await run[Symbol.asyncDispose]()
  await directory[Symbol.asyncDispose]()
})
afterEach(async () => {
  const response = await post(JSON.stringify({ model: 'sketch', prompt: 'still there', size: '64x64' }))
  expect([response.status, run.process.exitCode, run.stdout.includes('"level":60')]).toEqual([200, null, false])
})

const shape = (code: string, param: string | null = null) => ({
  error: { message: expect.stringMatching(/./), type: 'invalid_request_error', param, code }
})

describe('bytes that are no HTTP', () => {
  test.each([
    ['a megabyte of noise', noise(1_000_000, 1)],
    ['another megabyte of noise', noise(1_000_000, 2)],
    ['a TLS greeting', Buffer.from('16030100c8010000c403031234', 'hex')],
    ['zeros', Buffer.alloc(1_000_000)],
    ['one endless line', Buffer.alloc(1_000_000, 'A')],
    ['a greeting of SMTP', Buffer.from('EHLO example.com\r\n\r\n')]
  ])('%s are refused', async (_, bytes) => {
    using client = await connectRaw({ port })
    client.send(bytes)
    const { status, body } = parseAnswer(await client.closed())
    expect([status, body]).toEqual([expect.toBeOneOf([400, 431]), shape('malformed_request')])
  })

  test('noise after the greeting of HTTP/2 ends the connection', async () => {
    using client = await connectRaw({ port })
    client.send(Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), noise(1_000_000, 3)]))
    await client.closed()
  })
})

describe('requests that are malformed', () => {
  test.each([
    ['a Host that is no host', 'Host: a b['],
    ['a Host with a path', 'Host: example.com/v1'],
    ['a Host with a user', 'Host: user@example.com'],
    ['a Host with half an address', 'Host: [::1'],
    ['a Host with a port too many', 'Host: example.com:1:2'],
    ['an empty Host', 'Host:'],
    ['no Host', 'X-Host: here'],
    ['two lengths', 'Host: here\r\nContent-Length: 5\r\nContent-Length: 6'],
    ['a length and chunks', 'Host: here\r\nContent-Length: 5\r\nTransfer-Encoding: chunked'],
    ['a length that is no number', 'Host: here\r\nContent-Length: five'],
    ['a negative length', 'Host: here\r\nContent-Length: -1'],
    ['a header without a name', 'Host: here\r\n: value'],
    ['a header with a space in its name', 'Host: here\r\nX Header: value'],
    ['a header with a control character', 'Host: here\r\nX-Header: \u0001\u0000'],
    ['a folded header', 'Host: here\r\nX-Header: one\r\n two']
  ])('%s', async (_, headers) => {
    for (const target of [`POST ${path}`, 'POST /atelier.v1.ImageService/GenerateImages']) {
      const { status, body } = await raw(`${target} HTTP/1.1\r\n${headers}\r\n\r\n`)
      expect([status, body]).toEqual([400, shape('malformed_request')])
    }
  })

  test.each([
    ['one of 20 KB', `X-Large: ${'a'.repeat(20_000)}`],
    ['thousands of them', Array.from({ length: 2000 }, (_, index) => `X-Header-${index}: value`).join('\r\n')]
  ])('headers above the limit: %s', async (_, headers) => {
    const { status, body } = await raw(`GET /healthz HTTP/1.1\r\nHost: here\r\n${headers}\r\n\r\n`)
    expect([status, body]).toEqual([431, shape('malformed_request')])
  })

  test('a path of 20 KB', async () => {
    const { status, body } = await raw(`GET /${'a'.repeat(20_000)} HTTP/1.1\r\nHost: here\r\n\r\n`)
    expect([status, body]).toEqual([431, shape('malformed_request')])
  })

  test.each([
    ['GET', '/v1/models/%zz', 400, 'malformed_request'],
    ['GET', '/v1/models/%ff%fe', 400, 'malformed_request'],
    ['GET', '/v1/models/..%2f..%2fetc%2fpasswd', 404, 'model_not_found'],
    ['GET', '/v1/models/__proto__', 404, 'model_not_found'],
    ['GET', `/v1/models/${'a'.repeat(5000)}`, 400, 'invalid_value'],
    ['GET', '/images/../../etc/passwd', 404, 'image_not_found'],
    ['GET', '/v1/images/generations/', 404, 'route_not_found'],
    ['GET', '//v1/models', 404, 'route_not_found'],
    ['GET', '/no/such/route', 404, 'route_not_found'],
    ['POST', '/no.such.Service/Method', 404, 'route_not_found'],
    ['GET', path, 405, 'method_not_allowed'],
    ['DELETE', '/v1/models', 405, 'method_not_allowed'],
    ['TRACE', path, 405, 'method_not_allowed'],
    ['PROPFIND', path, 405, 'method_not_allowed']
  ])('%s %s is answered with %i %s', async (method, target, status, code) => {
    const answer = await raw(`${method} ${target} HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer ${apiKey}\r\nConnection: close\r\n\r\n`)
    expect([answer.status, answer.body?.error.code]).toEqual([status, code])
    expect(/^allow: (.*)\r$/im.exec(answer.head)?.[1]).toBe(status !== 405 ? undefined : target === path ? 'POST' : 'GET, HEAD')
  })
})

describe('bodies', () => {
  test.each([
    ['nothing', ''],
    ['half an object', '{"model": "sketch"'],
    ['a missing value', '{"prompt": }'],
    ['a trailing comma', '{"prompt": "a cat",}'],
    ['single quotes', "{'prompt': 'a cat'}"],
    ['something behind the object', '{"prompt": "a cat"} {}'],
    ['an array', '[]'],
    ['a string', '"a cat"'],
    ['null', 'null'],
    ['NaN', '{"prompt": "a cat", "n": NaN}'],
    ['bytes that are no UTF-8', Buffer.from([...Buffer.from('{"prompt": "'), 0xff, 0xfe, ...Buffer.from('"}')])],
    ['a control character in a string', '{"prompt": "a \u0000 cat"}'],
    ['an escape that does not exist', '{"prompt": "\\x41"}'],
    ['100,000 arrays in each other', `{"prompt": "a cat", "x": ${'['.repeat(100_000)}${']'.repeat(100_000)}}`],
    ['100,000 objects in each other', `${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`],
    ['100,000 arrays that never end', '['.repeat(100_000)],
    ['a __proto__ key', '{"prompt": "a cat", "__proto__": {"n": 5}}'],
    ['a __proto__ key in escapes', '{"prompt": "a cat", "\\u005f_proto__": {"n": 5}}'],
    ['a __proto__ key deeper down', '{"prompt": "a cat", "extra": [{"__proto__": 5}]}']
  ])('%s: 400', async (_, body) => {
    const response = await post(body)
    expect([response.status, await response.json()]).toEqual([400, shape('malformed_body')])
  })

  test('a length of 2 GB is refused before a byte of it is read', async () => {
    using client = await connectRaw({ port })
    client.send(
      `POST ${path} HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer ${apiKey}\r\nContent-Type: application/json\r\nContent-Length: 2147483648\r\n\r\n`
    )
    const { status, body } = parseAnswer(await client.received(/\}\}$/))
    expect([status, body]).toEqual([413, shape('body_too_large')])
  })

  test('chunks without end are refused at the limit', async () => {
    using client = await connectRaw({ port })
    client.send(
      `POST ${path} HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer ${apiKey}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n`
    )
    const chunk = `10000\r\n${' '.repeat(65_536)}\r\n`
    for (let sent = 0; sent < 64 && !client.socket.destroyed; sent++) client.send(chunk)
    const { status, body } = parseAnswer(await client.received(/\}\}$/))
    expect([status, body]).toEqual([413, shape('body_too_large')])
  })

  test.each([
    ['none', undefined],
    ['text', 'text/plain'],
    ['a form', 'application/x-www-form-urlencoded'],
    ['a multipart form', 'multipart/form-data; boundary=x'],
    ['XML', 'application/xml'],
    ['almost JSON', 'application/jsonx'],
    ['JSON in Latin-1', 'application/json; charset=iso-8859-1'],
    ['JSON with rubbish', 'application/json; ; ;'],
    ['an image', 'image/png']
  ])('the content type of %s: 415', async (_, contentType) => {
    const headers: Record<string, string> = contentType === undefined ? {} : { 'content-type': contentType }
    const response = await fetch(url + path, {
      method: 'POST',
      headers: { authorization: `Bearer ${apiKey}`, ...headers },
      body: Buffer.from('{"prompt": "a cat"}')
    })
    expect([response.status, await response.json()]).toEqual([415, shape('unsupported_media_type')])
  })

  test.each(['application/json', 'APPLICATION/JSON', 'application/json; charset=utf-8', 'application/json;charset="UTF-8"'])(
    'the content type %s: 200',
    async (contentType) => {
      const response = await post('{"model": "sketch", "prompt": "a cat", "size": "64x64"}', { 'content-type': contentType })
      expect(response.status).toBe(200)
    }
  )

  test.each(['gzip', 'br', 'deflate, gzip'])('the content encoding %s: 415', async (encoding) => {
    const response = await post('{"prompt": "a cat"}', { 'content-encoding': encoding })
    expect([response.status, await response.json()]).toEqual([415, shape('unsupported_media_type')])
  })
})

describe('values', () => {
  test.each([
    ['prompt', 5],
    ['prompt', ['a cat']],
    ['prompt', {}],
    ['prompt', true],
    ['prompt', 'x'.repeat(200_000)],
    ['model', 5],
    ['model', ['dall-e-3']],
    ['model', 'x'.repeat(300)],
    ['model', ''],
    ['n', '2'],
    ['n', 1.5],
    ['n', -1],
    ['n', 0],
    ['n', 11],
    ['n', 1e300],
    ['n', true],
    ['n', {}],
    ['size', 1024],
    ['size', {}],
    ['size', '0x0'],
    ['size', '99999x99999'],
    ['size', '1x1'],
    ['quality', 'ultra'],
    ['quality', 3],
    ['style', 'baroque'],
    ['style', ['vivid']],
    ['response_format', 'jpeg'],
    ['response_format', {}],
    ['background', 'pink'],
    ['output_format', 'bmp'],
    ['output_format', 5],
    ['output_compression', 101],
    ['output_compression', -1],
    ['output_compression', '50'],
    ['moderation', 'off'],
    ['seed', -1],
    ['seed', 2 ** 32],
    ['seed', 0.5],
    ['seed', 'one'],
    ['user', {}],
    ['user', 'x'.repeat(600)],
    ['safety_identifier', 5],
    ['negative_prompt', []],
    ['aspect_ratio', 'wide'],
    ['aspect_ratio', '16:0'],
    ['resolution', '9K'],
    ['stream', 'yes'],
    ['delay_ms', 1e9],
    ['delay_ms', 'long'],
    ['fail', 'sometimes']
  ])('%s: %j is refused by its name', async (param, value) => {
    const response = await post(
      JSON.stringify({
        model: 'sketch',
        prompt: 'a cat',
        size: '64x64',
        ...(param === 'aspect_ratio' ? { size: null } : {}),
        [param]: value
      })
    )
    const { error } = await response.json()
    expect([error.param, response.status, error.type]).toEqual([param, 400, 'invalid_request_error'])
    expect(error.message.length).toBeLessThan(500)
  })

  test.each([
    ['size', 'banana', 'invalid_size'],
    ['size', '512x512', 'invalid_size'],
    ['quality', 'ultra', 'invalid_value'],
    ['style', 'baroque', 'invalid_value'],
    ['response_format', 'jpeg', 'invalid_value'],
    ['background', 'pink', 'invalid_value'],
    ['output_format', 'bmp', 'invalid_value'],
    ['moderation', 'off', 'invalid_value']
  ])('%s: %j is refused before a provider is asked', async (param, value, code) => {
    const response = await post(JSON.stringify({ model: 'dall-e-3', prompt: 'a cat', [param]: value }))
    expect([response.status, await response.json()]).toEqual([400, shape(code, param)])
  })

  test.each([
    ['constructor', 'prototype', 'toString', 'hasOwnProperty'],
    ['', ' ', '\n', '💥']
  ])('names such as %j are unknown parameters like any other', async (...names) => {
    const extra = Object.fromEntries(names.map((name) => [name, { deep: [1, 2, 3] }]))
    const response = await post(JSON.stringify({ model: 'sketch', prompt: 'a cat', size: '64x64', ...extra }))
    expect([response.status, response.headers.get('x-atelier-warnings')?.match(/=ignored;/g)?.length]).toEqual([200, names.length])
  })

  test('null is as good as nothing', async () => {
    const nothing = { n: null, quality: null, style: null, seed: null, user: null, extra: null, response_format: null }
    const response = await post(JSON.stringify({ model: 'sketch', prompt: 'a cat', size: '64x64', ...nothing }))
    expect([response.status, response.headers.get('x-atelier-warnings')]).toEqual([200, null])
  })

  test('half a surrogate pair in a prompt is drawn or refused, never a crash', async () => {
    const response = await post('{"model": "sketch", "size": "64x64", "prompt": "a \\ud83d cat"}')
    expect([200, 400]).toContain(response.status)
  })

  test.each([
    'Bearer',
    'Bearer ',
    'Basic dXNlcjpwYXNz',
    'Bearer a b',
    `Bearer ${'x'.repeat(10_000)}`,
    'Bearer \u00e9\u00e9\u00e9\u00e9',
    `bearer${apiKey}`
  ])('the authorization %j is refused', async (authorization) => {
    const { status, body } = await raw(
      `POST ${path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\nAuthorization: ${authorization}\r\nContent-Length: 0\r\n\r\n`
    )
    expect([status, body?.error.type, body?.error.code]).toEqual([401, 'authentication_error', 'invalid_api_key'])
  })
})

describe('HTTP/2', () => {
  test('a thousand streams that are opened and reset end the session, not the process', async () => {
    const session = connectHttp2(url)
    session.on('error', () => {})
    const closed = new Promise((resolve) => session.once('close', resolve))
    for (let opened = 0; opened < 1000 && !session.destroyed; opened++) {
      const stream = session.request({ ':method': 'POST', ':path': path, authorization: `Bearer ${apiKey}` })
      stream.on('error', () => {})
      stream.close(constants.NGHTTP2_CANCEL)
    }
    await closed
  })

  test('a gRPC message that announces 2 GB is refused', async () => {
    const session = connectHttp2(url)
    session.on('error', () => {})
    const stream = session.request({
      ':method': 'POST',
      ':path': '/atelier.v1.ImageService/GenerateImages',
      'content-type': 'application/grpc',
      authorization: `Bearer ${apiKey}`
    })
    stream.write(Buffer.from([0, 0x7f, 0xff, 0xff, 0xff, 1, 2, 3]))
    const headers = await new Promise<Record<string, unknown>>((resolve) => stream.once('response', resolve))
    expect(headers['grpc-status']).toBe('8')
    session.destroy()
  })
})

test('500 sockets that send slowly are refused in time, while others are served and memory stays flat', { timeout: 90_000 }, async () => {
  await Promise.all(Array.from({ length: 20 }, () => post('{"model": "sketch", "prompt": "warm", "size": "64x64"}')))
  const before = await residentBytes()
  const head = `POST ${path} HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer ${apiKey}\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n`
  const clients = await Promise.all(Array.from({ length: 500 }, () => connectRaw({ port })))
  const inHeaders = clients.slice(0, 400)
  const inBody = clients.slice(400)
  for (const client of inBody) client.send(`${head}\r\n`)
  let at = 0
  const dribble = setInterval(() => {
    for (const client of inHeaders) if (client.socket.writable) client.send(head[at % head.length] ?? '')
    for (const client of inBody) if (client.socket.writable) client.send(' ')
    at++
  }, 250)
  try {
    await sleep(5000)
    const response = await post('{"model": "sketch", "prompt": "in between", "size": "64x64"}')
    expect([response.status, inHeaders.some(({ socket }) => socket.destroyed)]).toEqual([200, false])
    expect((await residentBytes()) - before).toBeLessThan(100_000_000)
    const answers = await Promise.all(inHeaders.map((client) => client.closed()))
    expect(new Set(answers.map((answer) => parseAnswer(answer).status))).toEqual(new Set([408]))
  } finally {
    clearInterval(dribble)
    for (const client of clients) client.socket.destroy()
  }
  expect((await residentBytes()) - before).toBeLessThan(100_000_000)
})

test('memory stays flat over thousands of refused requests', { timeout: 60_000 }, async () => {
  const refuse = async () => {
    const bodies = ['{', '[]', '{"prompt": 5}', 'x'.repeat(500_000), `{"prompt": "a cat", "x": ${'['.repeat(10_000)}`]
    for (const body of bodies) await (await post(body)).arrayBuffer()
  }
  for (let round = 0; round < 100; round++) await refuse()
  const before = await residentBytes()
  await Promise.all(
    Array.from({ length: 8 }, async () => {
      for (let round = 0; round < 50; round++) await refuse()
    })
  )
  expect((await residentBytes()) - before).toBeLessThan(150_000_000)
})

function post(body: string | Uint8Array, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(url + path, {
    method: 'POST',
    headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json', ...headers },
    body: Buffer.from(body)
  })
}

async function raw(request: string): Promise<Answer> {
  using client: RawClient = await connectRaw({ port })
  client.send(Buffer.from(request, 'latin1'))
  return parseAnswer(await client.received(/\r\n\r\n.*\}\}$/s))
}

interface Answer {
  status: number
  head: string
  body: { error: { message: string; type: string; param: string | null; code: string } } | undefined
}

function parseAnswer(text: string): Answer {
  const [head = '', body = ''] = text.split('\r\n\r\n', 2)
  const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(head)?.[1])
  return { status, head: `${head}\r\n`, body: body.startsWith('{') ? JSON.parse(body) : undefined }
}

/** The same bytes for the same seed on every run. */
function noise(sizeBytes: number, seed: number): Buffer {
  return createCipheriv('aes-128-ctr', Buffer.alloc(16, seed), Buffer.alloc(16)).update(Buffer.alloc(sizeBytes))
}

async function residentBytes(): Promise<number> {
  const status = await readFile(`/proc/${run.process.pid}/status`, 'utf8')
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024
}
