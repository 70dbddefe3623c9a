import { randomBytes } from 'node:crypto'
import { Agent, get, type IncomingMessage, type ServerResponse } from 'node:http'
import { type ClientHttp2Session, type ClientHttp2Stream, connect as connectHttp2, constants } from 'node:http2'
import { request as requestHttps } from 'node:https'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect as connectTls } from 'node:tls'
import { describe, expect, onTestFinished, test } from 'vitest'
import { createLog } from '../../src/log.ts'
import { createListener, type ListenerOptions } from '../../src/wire/listener.ts'
import { connectRaw, type RawClient, sendByteByByte } from '../support/raw-client.ts'
import { testCertificate } from '../support/test-certificate.ts'

/** What both versions of HTTP have in common. */
type Handler = (req: IncomingMessage, res: ServerResponse) => void

/** Answers with the HTTP version and the body that it read. */
const echo: Handler = async (req, res) => {
  const body = await text(req).catch(() => 'cut off')
  res.writeHead(200, { 'content-type': 'text/plain' })
  res.end(`${req.httpVersion} ${req.method} ${body}`)
}

const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
const frameType = { headers: 1, settings: 4 }
const acknowledged = 1
const endOfStreamAndHeaders = 5
/** `GET http://here/` in HPACK: three static entries, then `:authority` with a literal value. */
const getHere = Buffer.from([0x82, 0x86, 0x84, 0x41, 4, ...Buffer.from('here')])

function frame(type: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  return Buffer.concat([Buffer.of(0, 0, payload.length, type, flags, 0, 0, 0, stream), payload])
}

async function start(handler: Handler, options: Partial<ListenerOptions> = {}) {
  const log = createLog({ level: 'silent' })
  const listener = createListener({ host: '127.0.0.1', port: 0, maxConnections: 100, log, checkIntervalMs: 50, ...options }, (...pair) =>
    handler(...(pair as [IncomingMessage, ServerResponse]))
  )
  onTestFinished(() => listener[Symbol.asyncDispose]())
  return { listener, ...(await listener.listen()) }
}

function openSession(port: number): ClientHttp2Session {
  const session = connectHttp2(`http://127.0.0.1:${port}`)
  session.on('error', () => {})
  onTestFinished(() => session.destroy())
  return session
}

async function answerOf(stream: ClientHttp2Stream): Promise<{ status: number | undefined; body: string }> {
  const headers = await new Promise<Record<string, unknown>>((resolve, reject) => {
    stream.once('response', resolve).once('error', reject)
  })
  return { status: headers[':status'] as number | undefined, body: await text(stream) }
}

async function keepSending(client: RawClient, chunk: Buffer): Promise<void> {
  for (let i = 0; i < 20 && client.socket.writable; i++) {
    client.send(chunk)
    await sleep(1)
  }
}

function closeOf(emitter: { once(event: 'close', listener: () => void): unknown }): Promise<void> {
  return new Promise((resolve) => emitter.once('close', resolve))
}

describe('one port', () => {
  test('serves HTTP/1.1', async () => {
    const { port } = await start(echo)
    const response = await fetch(`http://127.0.0.1:${port}/`, { method: 'POST', body: 'hello' })
    expect(await response.text()).toBe('1.1 POST hello')
  })

  test('serves HTTP/2 with prior knowledge', async () => {
    const { port } = await start(echo)
    const stream = openSession(port).request({ ':method': 'POST', ':path': '/' })
    stream.end('hello')
    expect(await answerOf(stream)).toEqual({ status: 200, body: '2.0 POST hello' })
  })

  test('serves a POST that arrives byte by byte', async () => {
    const { port } = await start(echo)
    using client = await connectRaw({ port })
    await sendByteByByte(client, 'POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello')
    expect(await client.closed()).toMatch(/^HTTP\/1\.1 200 OK\r\n[\s\S]*1\.1 POST hello/)
  })

  test('recognizes an HTTP/2 preface that arrives byte by byte', async () => {
    const { port } = await start(echo)
    using client = await connectRaw({ port })
    await sendByteByByte(client, Buffer.concat([preface, frame(frameType.settings, 0, 0)]))
    await client.received(frame(frameType.settings, acknowledged, 0).toString('latin1'))
  })

  test('takes a method that begins like the HTTP/2 preface for HTTP/1.1', async () => {
    const { port } = await start(echo)
    using client = await connectRaw({ port })
    client.send('PROPFIND / HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n')
    expect(await client.closed()).toContain('1.1 PROPFIND ')
  })

  test('serves pipelined requests in order', async () => {
    const { port } = await start(echo)
    using client = await connectRaw({ port })
    client.send('POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 1\r\n\r\naGET / HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n')
    expect((await client.closed()).match(/1\.1 (POST a|GET )/g)).toEqual(['1.1 POST a', '1.1 GET '])
  })

  test('refuses connections above its limit', async () => {
    const { port } = await start(echo, { maxConnections: 1 })
    using first = await connectRaw({ port })
    using second = await connectRaw({ port })
    expect(await second.closed()).toBe('')
    first.send('GET / HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n')
    expect(await first.closed()).toContain('1.1 GET ')
  })

  test('says why it cannot listen on a port that is taken', async () => {
    const { port } = await start(echo)
    await expect(start(echo, { port })).rejects.toThrow(/EADDRINUSE/)
  })
})

describe('TLS', () => {
  const tls = { certificate: testCertificate.cert, key: testCertificate.key }

  test.each(['h2', 'http/1.1'])('negotiates %s', async (protocol) => {
    const { port } = await start(echo, { tls })
    const socket = connectTls({ host: '127.0.0.1', port, ca: testCertificate.cert, ALPNProtocols: [protocol] })
    onTestFinished(() => void socket.destroy())
    await new Promise((resolve) => socket.once('secureConnect', resolve))
    expect(socket.alpnProtocol).toBe(protocol)
  })

  test('serves HTTP/2', async () => {
    const { port } = await start(echo, { tls })
    const session = connectHttp2(`https://127.0.0.1:${port}`, { ca: testCertificate.cert })
    onTestFinished(() => session.destroy())
    const stream = session.request({ ':method': 'POST', ':path': '/' })
    stream.end('hello')
    expect(await answerOf(stream)).toEqual({ status: 200, body: '2.0 POST hello' })
  })

  test('serves HTTP/1.1', async () => {
    const { port } = await start(echo, { tls })
    const body = await new Promise<string>((resolve, reject) => {
      const req = requestHttps({ host: '127.0.0.1', port, method: 'POST', ca: testCertificate.cert, agent: false }, (res) =>
        resolve(text(res))
      )
      req.on('error', reject)
      req.end('hello')
    })
    expect(body).toBe('1.1 POST hello')
  })

  test('outlives a client that speaks cleartext', async () => {
    const { port } = await start(echo, { tls })
    using client = await connectRaw({ port })
    client.send('GET / HTTP/1.1\r\nhost: here\r\n\r\n')
    await client.closed()
    const stream = connectHttp2(`https://127.0.0.1:${port}`, { ca: testCertificate.cert })
    onTestFinished(() => stream.destroy())
    expect((await answerOf(stream.request({ ':path': '/' }))).status).toBe(200)
  })
})

describe('hostile clients', () => {
  const still = async (port: number) => expect(await (await fetch(`http://127.0.0.1:${port}/`)).text()).toBe('1.1 GET ')

  test('tells what is no HTTP so, in JSON, and lives on', async () => {
    const { port } = await start(echo)
    using client = await connectRaw({ port })
    client.send(randomBytes(1024 * 1024).fill('\x16\x03\x01', 0, 3))
    await keepSending(client, randomBytes(1024 * 1024))
    const answer = await client.received('"malformed_request"}}')
    expect(answer).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/)
    expect(JSON.parse(answer.slice(answer.indexOf('\r\n\r\n')))).toEqual({
      error: { message: 'this is no HTTP/1.1 request', type: 'invalid_request_error', param: null, code: 'malformed_request' }
    })
    await still(port)
  })

  test.each(['a b[', 'user@host', 'host/path', '[::1', ''])('refuses the Host header "%s"', async (host) => {
    const { port } = await start(echo)
    using client = await connectRaw({ port })
    client.send(`GET / HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n\r\n`)
    const answer = await client.closed()
    expect(answer).toMatch(/^HTTP\/1\.1 400 /)
    expect(answer).toContain('"code":"malformed_request"')
    await still(port)
  })

  test('refuses HTTP/1.1 without a Host header', async () => {
    const { port } = await start(echo)
    using client = await connectRaw({ port })
    client.send('GET / HTTP/1.1\r\nconnection: close\r\n\r\n')
    expect(await client.closed()).toMatch(/^HTTP\/1\.1 400 [\s\S]*the Host header is missing or malformed/)
  })

  test('serves HTTP/1.0 without a Host header', async () => {
    const { port } = await start(echo)
    using client = await connectRaw({ port })
    client.send('GET / HTTP/1.0\r\n\r\n')
    expect(await client.closed()).toMatch(/^HTTP\/1\.1 200 [\s\S]*1\.0 GET /)
  })

  test('refuses a malformed :authority', async () => {
    const { port } = await start(echo)
    const answer = await answerOf(openSession(port).request({ ':path': '/', ':authority': 'here:99999' }))
    expect(answer.status).toBe(400)
    await still(port)
  })

  test('refuses headers above 16 KiB with 431', async () => {
    const { port } = await start(echo)
    using client = await connectRaw({ port })
    client.send(`GET / HTTP/1.1\r\nhost: here\r\nx-long: ${'a'.repeat(20_000)}\r\n\r\n`)
    expect(await client.closed()).toMatch(/^HTTP\/1\.1 431 [\s\S]*the request line and headers exceed 16384 bytes/)
  })

  test('refuses an HTTP/2 stream whose headers exceed 16 KiB', async () => {
    const { port } = await start(echo)
    const session = openSession(port)
    await answerOf(session.request({ ':path': '/' }))
    const stream = session.request({ ':path': '/', 'x-long': 'a'.repeat(40_000) })
    await expect(answerOf(stream)).rejects.toThrow()
    await still(port)
  })

  test.each([
    ['nothing', ''],
    ['half an HTTP/2 preface', 'PRI * HT']
  ])('closes a connection that sends %s', async (_, sent) => {
    const { port } = await start(echo, { headersTimeoutMs: 100 })
    using client = await connectRaw({ port })
    client.send(sent)
    expect(await client.closed()).toBe('')
  })

  test('answers headers that come too slowly with 408', async () => {
    const { port } = await start(echo, { headersTimeoutMs: 200 })
    using client = await connectRaw({ port })
    client.send('GET / HTTP/1.1\r\nhost: he')
    expect(await client.closed()).toMatch(/^HTTP\/1\.1 408 Request Timeout\r\n[\s\S]*"code":"body_too_slow"/)
  })

  test('answers a body that comes too slowly with 408', async () => {
    const { port } = await start(echo, { headersTimeoutMs: 100, requestTimeoutMs: 200 })
    using client = await connectRaw({ port })
    client.send('POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 10\r\n\r\nabc')
    expect(await client.closed()).toMatch(/^HTTP\/1\.1 408 Request Timeout\r\n/)
  })

  test('answers an HTTP/2 body that comes too slowly with 408', async () => {
    const { port } = await start(echo, { headersTimeoutMs: 100, requestTimeoutMs: 200 })
    const stream = openSession(port).request({ ':method': 'POST', ':path': '/' })
    stream.write('abc')
    const answer = await answerOf(stream)
    expect(answer.status).toBe(408)
    expect(answer.body).toContain('"code":"body_too_slow"')
  })

  test('closes 200 connections that send their headers slowly', async () => {
    const { port } = await start(echo, { headersTimeoutMs: 200, maxConnections: 1000 })
    const clients = await Promise.all(Array.from({ length: 200 }, () => connectRaw({ port })))
    for (const client of clients) client.send('GET / HTTP/1.1\r\n')
    const answers = await Promise.all(clients.map((client) => client.closed()))
    expect(answers.every((answer) => answer.startsWith('HTTP/1.1 408 '))).toBe(true)
    await still(port)
  })

  test('cuts off an HTTP/2 client that opens and resets streams without end', async () => {
    const { port } = await start(echo)
    const session = openSession(port)
    const closed = closeOf(session)
    await new Promise((resolve) => session.once('connect', resolve))
    const flood = setInterval(() => {
      for (let i = 0; i < 100 && !session.destroyed; i++) {
        const stream = session.request({ ':path': '/' })
        stream.on('error', () => {})
        stream.close(constants.NGHTTP2_CANCEL)
      }
    }, 1)
    onTestFinished(() => clearInterval(flood))
    await closed
    await still(port)
  })

  test.each([
    'CONNECT here:80 HTTP/1.1\r\nhost: here\r\n\r\n',
    'GET / HTTP/1.1\r\nhost: here\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n',
    'GET / HTTP/1.1\r\nhost: here\r\n__proto__: x\r\nconstructor: y\r\n\r\n',
    'GET http://a b[/ HTTP/1.1\r\nhost: here\r\n\r\n',
    'POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
    'POST / HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n',
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nand then no frames',
    '\0'.repeat(1000)
  ])('outlives %j', async (bytes) => {
    const { port } = await start(echo)
    using client = await connectRaw({ port })
    client.send(bytes)
    await sleep(20)
    client.socket.resetAndDestroy()
    await still(port)
  })

  test('outlives CONNECT over HTTP/2', async () => {
    const { port } = await start(echo)
    const session = openSession(port)
    const stream = session.request({ ':method': 'CONNECT', ':authority': 'here:80' })
    stream.on('error', () => {})
    stream.end()
    await closeOf(stream.resume())
    await still(port)
  })

  test('outlives a handler that throws, and answers 500', async () => {
    const { port } = await start((req, res) => {
      if (req.url === '/throw') throw new Error('secret')
      echo(req, res)
    })
    const response = await fetch(`http://127.0.0.1:${port}/throw`)
    expect([response.status, await response.json()]).toEqual([
      500,
      {
        error: { message: 'internal error; the request id finds it in the log', type: 'server_error', param: null, code: 'internal_error' }
      }
    ])
    await still(port)
  })

  test('lets a client that still sends read the answer that refuses it', async () => {
    const { port } = await start((_, res) => {
      res.writeHead(413, { connection: 'close' })
      res.end('too large')
    })
    using client = await connectRaw({ port })
    client.send('POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 50000000\r\n\r\n')
    await keepSending(client, Buffer.alloc(1024 * 1024))
    expect(await client.received(/too large/)).toMatch(/^HTTP\/1\.1 413 /)
  })
})

describe('answers that take long', () => {
  test('take no room from new HTTP/2 streams: 60 of them with 1 MiB each that the client does not read', async () => {
    const piece = Buffer.alloc(256 * 1024)
    const { port } = await start(async (req, res) => {
      if (req.url !== '/') return void res.end('here')
      for (let i = 0; i < 4; i++) if (!res.write(piece)) await new Promise((resolve) => res.once('drain', resolve).once('close', resolve))
      res.end()
    })
    const session = openSession(port)
    for (let i = 0; i < 60; i++) {
      const stream = session.request({ ':path': '/' })
      stream.on('error', () => {})
      await new Promise((resolve) => stream.once('response', resolve))
    }
    expect((await answerOf(session.request({ ':path': '/new' }))).status).toBe(200)
  })

  test('are not cut off by the limits for requests', async () => {
    const { port } = await start(
      async (req, res) => {
        await text(req)
        await sleep(700)
        res.end('late')
      },
      {
        headersTimeoutMs: 100,
        requestTimeoutMs: 200,
        keepAliveTimeoutMs: 100,
        sessionIdleTimeoutMs: 100,
        pingIntervalMs: 100,
        pingTimeoutMs: 300
      }
    )
    const overHttp1 = fetch(`http://127.0.0.1:${port}/`, { method: 'POST', body: 'hello' }).then((response) => response.text())
    const stream = openSession(port).request({ ':method': 'POST', ':path': '/' })
    stream.end('hello')
    const overHttp2 = answerOf(stream)
    expect([await overHttp1, (await overHttp2).body]).toEqual(['late', 'late'])
  })

  test('are given up when an HTTP/2 client no longer answers pings', async () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    const { port } = await start((_, res) => void res.once('close', resolve), { pingIntervalMs: 100, pingTimeoutMs: 200 })
    using client = await connectRaw({ port })
    client.send(Buffer.concat([preface, frame(frameType.settings, 0, 0), frame(frameType.headers, endOfStreamAndHeaders, 1, getHere)]))
    await promise
  })

  test('find their end noticed by the handler when the client goes away', async () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    const { port } = await start((_, res) => void res.once('close', resolve))
    using client = await connectRaw({ port })
    client.send('GET / HTTP/1.1\r\nhost: here\r\n\r\n')
    await sleep(50)
    client.socket.destroy()
    await promise
  })

  test('let an idle HTTP/2 session be closed', async () => {
    const { port } = await start(echo, { sessionIdleTimeoutMs: 150 })
    const session = openSession(port)
    await answerOf(session.request({ ':path': '/' }))
    await closeOf(session)
  })
})

describe('draining', () => {
  /** Answers when it is told to. */
  function held() {
    const { promise: begun, resolve: begin } = Promise.withResolvers<void>()
    const { promise: released, resolve: release } = Promise.withResolvers<void>()
    const handler: Handler = async (_, res) => {
      begin()
      await released
      res.end('finished')
    }
    return { handler, begun, release }
  }

  test('finishes an HTTP/1.1 request in flight, tells the client to close, and then ends', async () => {
    const { handler, begun, release } = held()
    const { listener, port } = await start(handler)
    const agent = new Agent({ keepAlive: true })
    const response = new Promise<{ connection: string | undefined; body: string }>((resolve, reject) => {
      get({ host: '127.0.0.1', port, agent }, async (res) => resolve({ connection: res.headers.connection, body: await text(res) })).on(
        'error',
        reject
      )
    })
    await begun
    const drained = listener.drain(10_000)
    release()
    expect(await response).toEqual({ connection: 'close', body: 'finished' })
    await drained
    await expect(connectRaw({ port })).rejects.toThrow('ECONNREFUSED')
  })

  test('finishes an HTTP/2 stream in flight, says GOAWAY, and then ends', async () => {
    const { handler, begun, release } = held()
    const { listener, port } = await start(handler)
    const session = openSession(port)
    const answer = answerOf(session.request({ ':path': '/' }))
    const goaway = new Promise((resolve) => session.once('goaway', resolve))
    await begun
    const drained = listener.drain(10_000)
    expect(await goaway).toBe(constants.NGHTTP2_NO_ERROR)
    release()
    expect(await answer).toEqual({ status: 200, body: 'finished' })
    await drained
  })

  test('closes idle connections at once', async () => {
    const { listener, port } = await start(echo)
    using silent = await connectRaw({ port })
    using kept = await connectRaw({ port })
    kept.send('GET / HTTP/1.1\r\nhost: here\r\n\r\n')
    await kept.received(/1\.1 GET /)
    const session = openSession(port)
    await answerOf(session.request({ ':path': '/' }))
    await listener.drain(60_000)
    await Promise.all([silent.closed(), kept.closed(), session.destroyed || closeOf(session)])
  })

  test('closes a kept connection whose answer had begun before', async () => {
    const { promise: released, resolve: release } = Promise.withResolvers<void>()
    const { listener, port } = await start(async (_, res) => {
      res.writeHead(200, { 'content-length': 2 })
      res.write('o')
      await released
      res.end('k')
    })
    using client = await connectRaw({ port })
    client.send('GET / HTTP/1.1\r\nhost: here\r\n\r\n')
    await client.received(/\r\n\r\no/)
    const drained = listener.drain(60_000)
    release()
    expect(await client.closed()).toMatch(/\r\n\r\nok$/)
    await drained
  })

  test('breaks off what is not finished in time', async () => {
    const { handler, begun } = held()
    const { listener, port } = await start(handler)
    using client = await connectRaw({ port })
    client.send('GET / HTTP/1.1\r\nhost: here\r\n\r\n')
    await begun
    const stream = openSession(port).request({ ':path': '/' })
    stream.on('error', () => {})
    await sleep(50)
    await listener.drain(100)
    expect(await client.closed()).toBe('')
    if (!stream.destroyed) await closeOf(stream)
  })
})
