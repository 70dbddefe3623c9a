import { randomBytes } from 'node:crypto'
import { getEventListeners, once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { inspect } from 'node:util'
import { expect, test } from 'vitest'
import { gatewayError } from '../../src/errors.ts'
import { createUpstreamClient, type UpstreamRequest } from '../../src/upstream/client.ts'
import { collect } from '../support/chunks.ts'
import { startRawServer } from '../support/raw-server.ts'
import { startUpstreamServer } from '../support/upstream-server.ts'
import { watchConnections } from '../support/watch-connections.ts'

const never = new AbortController().signal

test('sends method, path, headers and body, and gives status, headers and body of the answer', async () => {
  await using server = await startUpstreamServer(async (request, response) => {
    const body = await collect(request)
    response.writeHead(201, { 'content-type': 'text/plain', 'x-request-id': 'req_1', 'set-cookie': ['a=1', 'b=2'] })
    response.end(`${request.method} ${request.url} ${request.headers.authorization} ${request.headers['accept-encoding']} ${body}`)
  })
  await using client = createUpstreamClient({ provider: 'openai', baseUrl: `${server.origin}/v1/`, maxConnections: 4 })
  const answer = await client.send(
    post({ path: '/images/generations?a=b', headers: { authorization: 'Bearer k' }, body: '{"prompt":"é"}' })
  )
  expect(answer.status).toBe(201)
  expect(answer.headers).toMatchObject({ 'content-type': 'text/plain', 'x-request-id': 'req_1', 'set-cookie': ['a=1', 'b=2'] })
  expect((await collect(answer.body)).toString()).toBe('POST /v1/images/generations?a=b Bearer k identity {"prompt":"é"}')
})

test('sends bytes as they are, and a GET without a body', async () => {
  const body = randomBytes(100_000)
  await using server = await startUpstreamServer(async (request, response) => {
    const sent = await collect(request)
    response.end(sent.equals(body) ? 'the same' : `${request.method} ${request.headers['content-length']} ${sent.length}`)
  })
  await using client = createUpstreamClient({ provider: 'openai', baseUrl: server.origin, maxConnections: 4 })
  expect((await collect((await client.send(post({ body }))).body)).toString()).toBe('the same')
  expect((await collect((await client.send(post({ method: 'GET' }))).body)).toString()).toBe('GET undefined 0')
})

test('uses a connection again after its answer was read', async () => {
  await using server = await startUpstreamServer((_request, response) => void response.end('ok'))
  await using client = createUpstreamClient({ provider: 'openai', baseUrl: server.origin, maxConnections: 1 })
  for (let round = 0; round < 5; round++) expect((await collect((await client.send(post())).body)).toString()).toBe('ok')
  expect(server.connections.accepted).toBe(1)
})

test('keeps requests beyond the number of connections waiting', async () => {
  let running = 0
  let most = 0
  await using server = await startUpstreamServer(async (_request, response) => {
    most = Math.max(most, ++running)
    await sleep(20)
    running--
    response.end('ok')
  })
  await using client = createUpstreamClient({ provider: 'openai', baseUrl: server.origin, maxConnections: 2 })
  const answers = await Promise.all(Array.from({ length: 6 }, async () => collect((await client.send(post())).body)))
  expect(answers.map(String)).toEqual(Array.from({ length: 6 }, () => 'ok'))
  expect(most).toBe(2)
})

test('does not follow redirects', async () => {
  await using server = await startUpstreamServer((_request, response) => void response.writeHead(307, { location: '/elsewhere' }).end())
  await using client = createUpstreamClient({ provider: 'openai', baseUrl: server.origin, maxConnections: 4 })
  const answer = await client.send(post())
  await collect(answer.body)
  expect([answer.status, answer.headers.location, server.paths]).toEqual([307, '/elsewhere', ['/images/generations']])
})

test('says that nothing was sent when the connection is refused', async () => {
  const server = await startUpstreamServer((_request, response) => void response.end())
  await server[Symbol.asyncDispose]()
  await using client = createUpstreamClient({ provider: 'openai', baseUrl: server.origin, maxConnections: 4 })
  await expect(client.send(post())).rejects.toMatchObject({
    reason: 'PROVIDER_UNREACHABLE',
    outcome: 'not_sent',
    retryable: true,
    message: 'the provider openai could not be reached: the connection was refused (ECONNREFUSED)'
  })
})

test('says that nothing was sent when the host name does not resolve', async () => {
  await using client = createUpstreamClient({ provider: 'openai', baseUrl: 'http://no-such-host.invalid', maxConnections: 4 })
  await expect(client.send(post())).rejects.toMatchObject({ reason: 'PROVIDER_UNREACHABLE', outcome: 'not_sent' })
})

test('says that nothing was sent when the certificate is not trusted', async () => {
  await using server = await startUpstreamServer((_request, response) => void response.end(), { tls: true })
  await using client = createUpstreamClient({ provider: 'openai', baseUrl: server.origin, maxConnections: 4 })
  await expect(client.send(post())).rejects.toMatchObject({
    reason: 'PROVIDER_UNREACHABLE',
    outcome: 'not_sent',
    message: 'the provider openai could not be reached: the connection failed (DEPTH_ZERO_SELF_SIGNED_CERT)'
  })
  expect(server.paths).toEqual([])
})

test('says that nothing was sent when a header cannot be written, and shows it nowhere', async () => {
  await using server = await startUpstreamServer((_request, response) => void response.end())
  await using client = createUpstreamClient({ provider: 'openai', baseUrl: server.origin, maxConnections: 4 })
  const error = await client.send(post({ headers: { authorization: 'Bearer sk-secret\nkey' } })).catch((thrown: unknown) => thrown)
  expect(error).toMatchObject({ reason: 'PROVIDER_UNREACHABLE', outcome: 'not_sent', retryable: false })
  expect(inspect(error, { depth: 9 })).not.toContain('secret')
})

test.each([
  ['resets the connection', (socket: { resetAndDestroy(): void }) => void socket.resetAndDestroy()],
  ['closes the connection', (socket: { end(): void }) => void socket.end()]
])('does not know the outcome, and sends nothing again, when the upstream %s before it answers', async (_, answer) => {
  await using server = await startRawServer(answer)
  await using client = createUpstreamClient({ provider: 'openai', baseUrl: server.origin, maxConnections: 4 })
  const error = await client.send(post({ headers: { authorization: 'Bearer sk-secret' } })).catch((thrown: unknown) => thrown)
  expect(error).toMatchObject({ reason: 'OUTCOME_UNKNOWN', outcome: 'unknown', retryable: false })
  expect(inspect(error, { depth: 9 })).not.toContain('secret')
  await sleep(50)
  expect(server.requests).toHaveLength(1)
})

test('does not send again what was lost on a connection that had served before', async () => {
  let answered = 0
  await using server = await startRawServer((socket) => {
    if (answered++ === 0) socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok')
    else socket.destroy()
  })
  await using client = createUpstreamClient({ provider: 'openai', baseUrl: server.origin, maxConnections: 1 })
  await collect((await client.send(post())).body)
  await expect(client.send(post())).rejects.toMatchObject({ reason: 'OUTCOME_UNKNOWN', outcome: 'unknown' })
  await sleep(50)
  expect([server.requests.length, server.accepted]).toEqual([2, 1])
})

test('connects anew where an idle connection has been closed in the meantime', async () => {
  await using server = await startRawServer((socket) => void socket.end('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'))
  await using client = createUpstreamClient({ provider: 'openai', baseUrl: server.origin, maxConnections: 1 })
  await collect((await client.send(post())).body)
  await server.closed()
  expect((await collect((await client.send(post())).body)).toString()).toBe('ok')
  expect(server.accepted).toBe(2)
})

test.each([
  ['shorter than its content-length', 'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf'],
  [
    'shorter than its content-length, on a connection to be closed',
    'HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 10\r\n\r\nhalf'
  ],
  ['chunked and without its last chunk', 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n'],
  [
    'chunked, without its last chunk, on a connection to be closed',
    'HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n'
  ],
  ['chunked and malformed', 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\nxyz\r\n']
])('throws from the body when it is %s', async (_, bytes) => {
  await using server = await startRawServer((socket) => void socket.end(bytes))
  await using client = createUpstreamClient({ provider: 'openai', baseUrl: server.origin, maxConnections: 4 })
  const answer = await client.send(post())
  expect(answer.status).toBe(200)
  await expect(collect(answer.body)).rejects.toMatchObject({ reason: 'OUTCOME_UNKNOWN', outcome: 'unknown' })
})

test('throws from the body when the connection is reset in it', async () => {
  await using server = await startRawServer((socket) => {
    socket.write('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf', () => setTimeout(() => socket.resetAndDestroy(), 20))
  })
  await using client = createUpstreamClient({ provider: 'openai', baseUrl: server.origin, maxConnections: 4 })
  const answer = await client.send(post())
  await expect(collect(answer.body)).rejects.toMatchObject({
    reason: 'OUTCOME_UNKNOWN',
    message: 'the answer of the provider openai was lost: the connection was reset (ECONNRESET)'
  })
})

test('does not know the outcome when the answer is no HTTP, or its headers are too large', async () => {
  const answers = ['SSH-2.0-OpenSSH_9.6\r\n', `HTTP/1.1 200 OK\r\nx: ${'x'.repeat(40_000)}\r\n\r\n`]
  await using server = await startRawServer((socket) => void socket.end(answers.shift() ?? ''))
  await using client = createUpstreamClient({ provider: 'openai', baseUrl: server.origin, maxConnections: 4 })
  await expect(client.send(post())).rejects.toMatchObject({ reason: 'OUTCOME_UNKNOWN', outcome: 'unknown' })
  await expect(client.send(post())).rejects.toMatchObject({ reason: 'OUTCOME_UNKNOWN', outcome: 'unknown' })
})

test('does not know the outcome when the answer is encoded, and names the encoding', async () => {
  await using server = await startUpstreamServer(
    (_request, response) => void response.writeHead(200, { 'content-encoding': 'br' }).end('x')
  )
  await using client = createUpstreamClient({ provider: 'openai', baseUrl: server.origin, maxConnections: 4 })
  await expect(client.send(post())).rejects.toMatchObject({
    reason: 'OUTCOME_UNKNOWN',
    message: 'the answer of the provider openai was lost: the answer has the content-encoding br, although none was accepted'
  })
})

test('waits for the answer behind an informational one', async () => {
  await using server = await startRawServer(
    (socket) => void socket.write('HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok')
  )
  await using client = createUpstreamClient({ provider: 'openai', baseUrl: server.origin, maxConnections: 4 })
  const answer = await client.send(post())
  expect([answer.status, (await collect(answer.body)).toString()]).toEqual([200, 'ok'])
})

test('sends nothing when the signal is aborted already', async () => {
  using watch = watchConnections()
  await using server = await startUpstreamServer((_request, response) => void response.end('ok'))
  await using client = createUpstreamClient({ provider: 'openai', baseUrl: server.origin, maxConnections: 4 })
  await expect(client.send(post({ signal: AbortSignal.abort() }))).rejects.toMatchObject({ reason: 'CANCELLED', outcome: 'not_sent' })
  await sleep(20)
  expect(watch.attempts).toBe(0)
})

test('closes the connection when the signal aborts before the answer', async () => {
  const controller = new AbortController()
  await using server = await startUpstreamServer(() => controller.abort())
  await using client = createUpstreamClient({ provider: 'openai', baseUrl: server.origin, maxConnections: 4 })
  await expect(client.send(post({ signal: controller.signal }))).rejects.toMatchObject({ reason: 'CANCELLED', outcome: 'unknown' })
  await server.closed()
})

test('closes the connection when the signal aborts in the body', async () => {
  const controller = new AbortController()
  await using server = await startUpstreamServer((_request, response) => void response.write('half'))
  await using client = createUpstreamClient({ provider: 'openai', baseUrl: server.origin, maxConnections: 4 })
  const answer = await client.send(post({ signal: controller.signal }))
  setTimeout(() => controller.abort(), 20)
  await expect(collect(answer.body)).rejects.toMatchObject({ reason: 'CANCELLED', outcome: 'unknown' })
  await server.closed()
})

test('leaves no listener on a signal that outlives the request', async () => {
  const controller = new AbortController()
  await using server = await startUpstreamServer((_request, response) => void response.end('ok'))
  await using client = createUpstreamClient({ provider: 'openai', baseUrl: server.origin, maxConnections: 4 })
  const answer = await client.send(post({ signal: controller.signal }))
  await collect(answer.body)
  expect(getEventListeners(controller.signal, 'abort')).toEqual([])
})

test('throws the error that the signal carries, with the outcome', async () => {
  const controller = new AbortController()
  await using server = await startUpstreamServer(() => controller.abort(gatewayError('DEADLINE_EXCEEDED', { limitSeconds: 3 })))
  await using client = createUpstreamClient({ provider: 'openai', baseUrl: server.origin, maxConnections: 4 })
  await expect(client.send(post({ signal: controller.signal }))).rejects.toMatchObject({
    reason: 'DEADLINE_EXCEEDED',
    outcome: 'unknown',
    message: 'the image was not ready within 3 seconds'
  })
})

test('takes a cancelled request out of the line for a connection and leaves the others in it', async () => {
  const controller = new AbortController()
  const gate = Promise.withResolvers<void>()
  await using server = await startUpstreamServer(async (_request, response) => {
    await gate.promise
    response.end('ok')
  })
  await using client = createUpstreamClient({ provider: 'openai', baseUrl: server.origin, maxConnections: 1 })
  const first = client.send(post({ path: '/first' }))
  const second = client.send(post({ path: '/second', signal: controller.signal }))
  const third = client.send(post({ path: '/third' }))
  controller.abort()
  await expect(second).rejects.toMatchObject({ reason: 'CANCELLED', outcome: 'not_sent' })
  gate.resolve()
  for (const answer of [await first, await third]) await collect(answer.body)
  expect(server.paths).toEqual(['/first', '/third'])
  expect(server.connections.accepted).toBe(1)
})

test('keeps the time limit while it waits for the answer, and while the body is read', async () => {
  await using server = await startUpstreamServer((request, response) => {
    if (request.url === '/body') response.write('half')
  })
  await using client = createUpstreamClient({ provider: 'openai', baseUrl: server.origin, maxConnections: 4 })
  const expected = { reason: 'DEADLINE_EXCEEDED', outcome: 'unknown', message: 'the image was not ready within 0.1 seconds' }
  await expect(client.send(post({ timeoutMs: 100 }))).rejects.toMatchObject(expected)
  const answer = await client.send(post({ path: '/body', timeoutMs: 100 }))
  await expect(collect(answer.body)).rejects.toMatchObject(expected)
  await server.closed()
})

test('says that nothing was sent when the time passed in the line for a connection', async () => {
  await using server = await startUpstreamServer(() => {})
  await using client = createUpstreamClient({ provider: 'openai', baseUrl: server.origin, maxConnections: 1 })
  const first = client.send(post({ timeoutMs: 200 })).catch((error: unknown) => error)
  await expect(client.send(post({ timeoutMs: 50 }))).rejects.toMatchObject({ reason: 'DEADLINE_EXCEEDED', outcome: 'not_sent' })
  expect(await first).toMatchObject({ reason: 'DEADLINE_EXCEEDED', outcome: 'unknown' })
})

test('closes the connection when the body is left early', async () => {
  await using server = await startUpstreamServer((_request, response) => void response.write('half'))
  await using client = createUpstreamClient({ provider: 'openai', baseUrl: server.origin, maxConnections: 4 })
  for await (const chunk of (await client.send(post())).body) {
    expect(Buffer.from(chunk).toString()).toBe('half')
    break
  }
  await server.closed()
})

test('stops taking from the upstream while nobody reads, and goes on where it stopped', async () => {
  const block = randomBytes(1_048_576)
  const blocks = 64
  let written = 0
  await using server = await startUpstreamServer(async (_request, response) => {
    for (let index = 0; index < blocks; index++) {
      written += block.length
      if (!response.write(block)) await once(response, 'drain')
    }
    response.end()
  })
  await using client = createUpstreamClient({ provider: 'openai', baseUrl: server.origin, maxConnections: 4 })
  const answer = await client.send(post())
  let before = -1
  while (before !== written) {
    before = written
    await sleep(150)
  }
  expect(written).toBeLessThan(blocks * block.length * 0.5)
  let read = 0
  for await (const chunk of answer.body) {
    const at = read % block.length
    const length = Math.min(chunk.length, block.length - at)
    expect(block.subarray(at, at + length).equals(chunk.subarray(0, length))).toBe(true)
    expect(block.subarray(0, chunk.length - length).equals(chunk.subarray(length))).toBe(true)
    read += chunk.length
  }
  expect(read).toBe(blocks * block.length)
})

test('gives a body that arrived before it was asked for', async () => {
  await using server = await startUpstreamServer((_request, response) => void response.end('ok'))
  await using client = createUpstreamClient({ provider: 'openai', baseUrl: server.origin, maxConnections: 4 })
  const answer = await client.send(post())
  await sleep(30)
  expect((await collect(answer.body)).toString()).toBe('ok')
  expect((await collect(answer.body)).toString()).toBe('')
})

test('fails what is in flight when it is disposed, and takes no more', async () => {
  await using server = await startUpstreamServer(() => {})
  const client = createUpstreamClient({ provider: 'openai', baseUrl: server.origin, maxConnections: 1 })
  const running = client.send(post()).catch((error: unknown) => error)
  const waiting = client.send(post()).catch((error: unknown) => error)
  while (server.paths.length === 0) await sleep(5)
  await client[Symbol.asyncDispose]()
  expect(await running).toMatchObject({ reason: 'OUTCOME_UNKNOWN', outcome: 'unknown' })
  expect(await waiting).toMatchObject({ reason: 'PROVIDER_UNREACHABLE', outcome: 'not_sent' })
  await expect(client.send(post())).rejects.toMatchObject({ reason: 'PROVIDER_UNREACHABLE', outcome: 'not_sent' })
})

function post(overrides: Partial<UpstreamRequest> = {}): UpstreamRequest {
  return { method: 'POST', path: '/images/generations', headers: {}, signal: never, timeoutMs: 10_000, ...overrides }
}
