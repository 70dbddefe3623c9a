import tls from 'node:tls'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createUntrustedUrlFetcher, UntrustedUrlError, type UntrustedUrlOptions } from '../../src/upstream/untrusted-url.ts'
import { startRawServer } from '../support/raw-server.ts'
import { createResolver } from '../support/resolver.ts'
import { testCertificate } from '../support/test-certificate.ts'
import { startUpstreamServer } from '../support/upstream-server.ts'
import { watchConnections } from '../support/watch-connections.ts'

const standardAuthorities = tls.getCACertificates('default')
beforeAll(() => tls.setDefaultCACertificates([...standardAuthorities, testCertificate.cert]))
afterAll(() => tls.setDefaultCACertificates(standardAuthorities))

const signal = new AbortController().signal

test('posts the body with the headers given and nothing that gives the server away', async () => {
  const requests: unknown[] = []
  await using server = await startUpstreamServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk) => chunks.push(chunk))
    request.on('end', () => {
      requests.push([request.method, request.url, request.headers, Buffer.concat(chunks).toString()])
      response.writeHead(202, { 'set-cookie': 'a=b' }).end()
    })
  })
  const headers = { 'content-type': 'text/plain', 'x-one': '1' }
  const options = { signal, body: 'grüße', headers }
  await using fetcher = createUntrustedUrlFetcher({ allow: [`127.0.0.1:${server.port}`] })
  expect(await fetcher.post(`${server.origin}/a?b=c`, options)).toEqual({ status: 202, body: Buffer.from('') })
  expect(await fetcher.post(`${server.origin}/a?b=c`, options)).toEqual({ status: 202, body: Buffer.from('') })
  const host = `127.0.0.1:${server.port}`
  const sent = ['POST', '/a?b=c', { host, connection: 'close', 'content-length': '7', ...headers }, 'grüße']
  expect(requests).toEqual([sent, sent])
})

test('posts over TLS to a name that an entry covers, at the address that was checked', async () => {
  await using server = await startUpstreamServer((_, response) => response.end('hello'), { tls: true })
  const resolver = createResolver({ 'cdn.example': [['127.0.0.1'], ['127.0.0.2']] })
  const options = { allow: [`127.0.0.1:${server.port}`], lookup: resolver.lookup }
  expect(await post(options, `https://cdn.example:${server.port}/`)).toEqual({ status: 200, body: Buffer.from('hello') })
  expect(resolver.asked).toEqual(['cdn.example'])
})

test('tells the status and what it is asked to wait for, whatever the status', async () => {
  await using server = await startUpstreamServer((_, response) => response.writeHead(503, { 'retry-after': '120' }).end('busy'))
  expect(await post({ allow: [`127.0.0.1:${server.port}`] }, server.origin)).toEqual({
    status: 503,
    retryAfter: '120',
    body: Buffer.from('busy')
  })
})

test.each([301, 302, 307, 308])('does not follow a redirect of status %i', async (status) => {
  await using inside = await startUpstreamServer((_, response) => response.end('secret'))
  await using server = await startUpstreamServer((_, response) => response.writeHead(status, { location: inside.origin }).end())
  expect(await post({ allow: [`127.0.0.1:${server.port}`, `127.0.0.1:${inside.port}`] }, server.origin)).toMatchObject({ status })
  expect(inside.connections.accepted).toBe(0)
})

describe('refuses without opening a connection', () => {
  test.each([
    ['http to a public address', 'http://8.8.8.8/', 'the url to 8.8.8.8 is not https'],
    ['http to a name', 'http://cdn.example/', 'the url to cdn.example is not https'],
    ['a private address', 'https://10.0.0.1/', '10.0.0.1 is not a public host'],
    ['an odd port', 'https://8.8.8.8:8443/', 'the port of 8.8.8.8:8443 is not allowed'],
    ['a name that resolves to the inside', 'https://inside.example/', 'inside.example is not a public host'],
    ['a name of which one address is inside', 'https://mixed.example/', 'mixed.example is not a public host'],
    ['http to a name that an entry could cover and does not', 'http://cdn.example:8080/', 'cdn.example:8080 is not a public host'],
    ['https to it on that port', 'https://cdn.example:8080/', 'cdn.example:8080 is not a public host'],
    [
      'http on port 80 to a public name although some of that port may be reached',
      'http://cdn.example/',
      'cdn.example is not a public host',
      '10.0.0.0/8:80'
    ],
    ['credentials', 'https://user:secret@cdn.example/', 'the url to cdn.example holds credentials'],
    ['what is no URL', 'nowhere', 'the url is not valid']
  ])('%s', async (_, url, message, entry = '10.1.0.0/16:8080') => {
    using watch = watchConnections()
    const { lookup } = createResolver({
      'cdn.example': [['8.8.8.8']],
      'inside.example': [['169.254.169.254']],
      'mixed.example': [['8.8.8.8', '10.0.0.1']]
    })
    await expect(post({ allow: [entry], lookup }, url)).rejects.toEqual(new UntrustedUrlError('refused', message))
    expect(watch.attempts).toBe(0)
  })
})

test('says before anything is resolved what it would refuse, in the same words', async () => {
  const resolver = createResolver({})
  await using fetcher = createUntrustedUrlFetcher({ allow: ['hooks.inside:8080'], lookup: resolver.lookup })
  const refuse = (message: string) => new UntrustedUrlError('refused', message)
  expect(() => fetcher.checkPost('http://cdn.example/')).toThrow(refuse('the url to cdn.example is not https'))
  expect(() => fetcher.checkPost('https://10.0.0.1/')).toThrow(refuse('10.0.0.1 is not a public host'))
  expect(() => fetcher.checkPost('https://cdn.example/')).not.toThrow()
  expect(() => fetcher.checkPost('http://hooks.inside:8080/')).not.toThrow()
  expect(resolver.asked).toEqual([])
})

test('reads 20 kB of an endless answer and closes the connection', async () => {
  await using server = await startRawServer((socket) => {
    socket.write('HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n')
    const timer = setInterval(() => socket.write('x'.repeat(8192)), 1)
    socket.once('close', () => clearInterval(timer))
  })
  expect(await post({ allow: [`127.0.0.1:${new URL(server.origin).port}`] }, server.origin)).toEqual({
    status: 200,
    body: Buffer.from('x'.repeat(20_000))
  })
  await server.closed()
})

test('gives up what does not answer within its time', async () => {
  await using server = await startUpstreamServer(() => {})
  await expect(post({ allow: [`127.0.0.1:${server.port}`] }, server.origin, { timeoutMs: 100 })).rejects.toEqual(
    new UntrustedUrlError('timeout', 'the url did not answer within 0.1 seconds')
  )
  await server.closed()
})

test('ends with the signal’s reason, and with the fetcher', async () => {
  await using server = await startUpstreamServer(() => {})
  const abort = new AbortController()
  const aborted = post({ allow: [`127.0.0.1:${server.port}`] }, server.origin, { signal: abort.signal })
  const fetcher = createUntrustedUrlFetcher({ allow: [`127.0.0.1:${server.port}`] })
  const ended = fetcher.post(server.origin, { signal, body: '', headers: {} })
  const both = Promise.allSettled([aborted, ended])
  await expect.poll(() => server.connections.open).toBe(2)
  abort.abort(new Error('enough'))
  await fetcher[Symbol.asyncDispose]()
  expect((await both).map((result) => result.status === 'rejected' && result.reason)).toEqual([
    new Error('enough'),
    new UntrustedUrlError('failed', 'the server is shutting down')
  ])
  await server.closed()
})

test('says that nobody listens there', async () => {
  const server = await startUpstreamServer(() => {})
  await server[Symbol.asyncDispose]()
  await expect(post({ allow: [`127.0.0.1:${server.port}`] }, server.origin)).rejects.toEqual(
    new UntrustedUrlError('failed', `127.0.0.1:${server.port} could not be reached (ECONNREFUSED)`)
  )
})

async function post(options: UntrustedUrlOptions, url: string, more: { signal?: AbortSignal; timeoutMs?: number } = {}) {
  await using fetcher = createUntrustedUrlFetcher(options)
  return await fetcher.post(url, { signal, body: 'hello', headers: {}, ...more })
}
