import { getEventListeners, once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import tls from 'node:tls'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createPinnedClient } from '../../src/upstream/pinned-client.ts'
import { createUntrustedUrlFetcher, UntrustedUrlError, type UntrustedUrlOptions } from '../../src/upstream/untrusted-url.ts'
import { createResolver } from '../support/resolver.ts'
import { testCertificate } from '../support/test-certificate.ts'
import { startUpstreamServer } from '../support/upstream-server.ts'
import { watchConnections } from '../support/watch-connections.ts'

const standardAuthorities = tls.getCACertificates('default')
beforeAll(() => tls.setDefaultCACertificates([...standardAuthorities, testCertificate.cert]))
afterAll(() => tls.setDefaultCACertificates(standardAuthorities))

const signal = new AbortController().signal
const loopback = { allow: ['127.0.0.0/8:1'] }

describe('refuses without opening a connection', () => {
  test.each([
    // Spellings of 127.0.0.1 that the URL standard knows.
    'http://127.0.0.1/',
    'http://127.0.0.1:80/',
    'https://127.0.0.1:443/',
    'http://127.1/',
    'http://127.0.1/',
    'http://127.0.0.1./',
    'http://2130706433/',
    'http://0x7f000001/',
    'http://0x7f.0x0.0x0.0x1/',
    'http://0x7f.1/',
    'http://0177.0.0.1/',
    'http://017700000001/',
    'http://0177.0x0.0.1/',
    'http://127.0.0.0x01/',
    'http://１２７.０.０.１/',
    'http://①②⑦.⓪.⓪.①/',
    'http://127。0。0。1/',
    'http://127%2e0%2e0%2e1/',
    'http://%31%32%37.0.0.1/',
    'http:127.0.0.1/',
    'http:/127.0.0.1/',
    'http:\\\\127.0.0.1\\',
    'http:////127.0.0.1/',
    ' \t\nhttp://127.0.0.1/ ',
    'ht\ntp://127.0\t.0.1/',
    'HTTP://127.0.0.1/',
    'http://127.0.0.1#@example.com/',
    'http://127.0.0.1?@example.com/',
    'http://127.0.0.1\\@example.com/',
    'http://127.0.0.2/',
    'http://127.255.255.254/',
    'http://0/',
    'http://0.0.0.0/',
    'http://0.0.0.1/',
    // IPv6, and the ways to put an IPv4 address into it.
    'http://[::1]/',
    'http://[0:0:0:0:0:0:0:1]/',
    'http://[0000:0000:0000:0000:0000:0000:0000:0001]/',
    'http://[::]/',
    'http://[::127.0.0.1]/',
    'http://[::7f00:1]/',
    'http://[::ffff:127.0.0.1]/',
    'http://[::ffff:7f00:1]/',
    'http://[0:0:0:0:0:ffff:127.0.0.1]/',
    'http://[::ffff:0:127.0.0.1]/',
    'http://[64:ff9b::127.0.0.1]/',
    'http://[64:ff9b::a9fe:a9fe]/',
    'http://[64:ff9b:1::7f00:1]/',
    'http://[2002:7f00:1::]/',
    'http://[2002:a9fe:a9fe::1]/',
    'http://[2001:0:7f00:1::]/',
    'http://[2606:4700::5efe:7f00:1]/',
    'http://[fe80::1]/',
    'http://[fe80::1%25eth0]/',
    'http://[fec0::1]/',
    'http://[fc00::1]/',
    'http://[fd00:ec2::254]/latest/meta-data/',
    'http://[ff02::1]/',
    'http://[100::1]/',
    'http://[2001:db8::1]/',
    'http://[3fff::1]/',
    'http://[5f00::1]/',
    // Networks that are nobody's or somebody's inside.
    'http://10.0.0.1/',
    'http://172.16.0.1/',
    'http://192.168.1.1/',
    'http://100.64.0.1/',
    'http://100.100.100.200/latest/meta-data/',
    'http://169.254.169.254/latest/meta-data/',
    'http://0xa9fea9fe/latest/meta-data/',
    'http://2852039166/latest/meta-data/',
    'http://169.254.170.2/v2/credentials',
    'http://168.63.129.16/machine',
    'http://192.0.0.192/opc/v2/instance/',
    'http://192.0.2.1/',
    'http://192.88.99.1/',
    'http://198.18.0.1/',
    'http://198.51.100.1/',
    'http://203.0.113.1/',
    'http://224.0.0.1/',
    'http://240.0.0.1/',
    'http://255.255.255.255/',
    // Ports, schemes, credentials, and what is no URL.
    'http://8.8.8.8:22/',
    'http://8.8.8.8:443/',
    'https://8.8.8.8:80/',
    'https://8.8.8.8:8443/',
    'http://8.8.8.8:6379/',
    'http://user@8.8.8.8/',
    'http://user:secret@8.8.8.8/',
    'http://:secret@8.8.8.8/',
    'ftp://8.8.8.8/',
    'file:///etc/passwd',
    'gopher://8.8.8.8/',
    'ws://8.8.8.8/',
    'data:image/png;base64,iVBORw0KGgo=',
    'blob:https://8.8.8.8/1',
    'javascript:alert(1)',
    'unix:/var/run/docker.sock',
    '//8.8.8.8/',
    '8.8.8.8/',
    '',
    'http://',
    'http://8.8.8.8:99999/',
    'http://256.256.256.256/',
    'http://08.8.8.8/',
    'http://1.2.3.4.5/',
    'http://a b/',
    'http://a%00b/',
    'http://[::1/',
    'http://[1.2.3.4]/',
    `http://${'a'.repeat(300)}.example/`,
    `http://8.8.8.8/${'a'.repeat(8192)}`
  ])('%j', async (url) => {
    using watch = watchConnections()
    const resolver = createResolver({})
    await using fetcher = createUntrustedUrlFetcher({ ...loopback, lookup: resolver.lookup })
    await expect(fetcher.fetch(url, { signal })).rejects.toMatchObject({ name: 'UntrustedUrlError', kind: 'refused' })
    expect(watch.attempts).toBe(0)
    expect(resolver.asked).toEqual([])
  })

  test.each([
    [['127.0.0.1']],
    [['10.0.0.1']],
    [['169.254.169.254']],
    [['::1']],
    [['::ffff:127.0.0.1']],
    [['::7f00:1']],
    [['64:ff9b::7f00:1']],
    [['fe80::1%eth0']],
    [['8.8.8.8', '10.0.0.1']],
    [['2606:4700:4700::1111', '::1']],
    [['8.8.8.8', 'no address']]
  ])('a name that resolves to %j', async (addresses) => {
    using watch = watchConnections()
    const resolver = createResolver({ 'cdn.example': [addresses] })
    await using fetcher = createUntrustedUrlFetcher({ allow: [], lookup: resolver.lookup })
    await expect(fetcher.fetch('https://cdn.example/a.png?signature=secret', { signal })).rejects.toEqual(
      new UntrustedUrlError('refused', 'cdn.example is not a public host')
    )
    expect(watch.attempts).toBe(0)
  })

  test('a name on a port that nothing allows, without asking the resolver', async () => {
    using watch = watchConnections()
    const resolver = createResolver({ 'cdn.example': [['8.8.8.8']] })
    await using fetcher = createUntrustedUrlFetcher({ allow: ['other.example:8443'], lookup: resolver.lookup })
    const refusal = new UntrustedUrlError('refused', 'the port of cdn.example:9000 is not allowed')
    await expect(fetcher.fetch('https://cdn.example:9000/', { signal })).rejects.toEqual(refusal)
    expect([watch.attempts, resolver.asked]).toEqual([0, []])
  })

  test('a public address on a port that is allowed for another one', async () => {
    using watch = watchConnections()
    await using fetcher = createUntrustedUrlFetcher({ allow: ['10.0.0.0/8:8443', 'other.example:8443'] })
    await expect(fetcher.fetch('https://8.8.8.8:8443/', { signal })).rejects.toMatchObject({ kind: 'refused' })
    expect(watch.attempts).toBe(0)
  })

  test('localhost as the system resolves it', async () => {
    await using server = await startUpstreamServer((_, response) => response.end('secret'))
    using watch = watchConnections()
    await using fetcher = createUntrustedUrlFetcher({ allow: [`10.0.0.0/8:${server.port}`] })
    for (const host of ['localhost', 'LOCALHOST', 'localhost.']) {
      await expect(fetcher.fetch(`http://${host}:${server.port}/`, { signal })).rejects.toMatchObject({ kind: 'refused' })
    }
    expect([watch.attempts, server.connections.accepted]).toEqual([0, 0])
  })
})

test('tells a name that does not resolve and one that resolves to the inside in the same words', async () => {
  const resolver = createResolver({ 'inside.example': [['10.0.0.1']], 'empty.example': [[]] })
  await using fetcher = createUntrustedUrlFetcher({ allow: [], lookup: resolver.lookup })
  const messages = ['inside', 'nowhere', 'empty'].map((name) =>
    fetcher.fetch(`https://${name}.example/`, { signal }).catch((error) => error.message.replace(name, '…'))
  )
  expect(new Set(await Promise.all(messages))).toEqual(new Set(['….example is not a public host']))
})

describe('fetches', () => {
  test('a URL of a trusted origin, although it is private and on an odd port', async () => {
    await using server = await startUpstreamServer((_, response) => {
      response.writeHead(200, { 'content-type': 'Image/PNG; charset=binary', 'content-length': 5 }).end('hello')
    })
    using watch = watchConnections()
    const { mediaType, sizeBytes, text } = await fetchAll({ allow: [] }, `${server.origin}/a.png?x=1#fragment`, [server.origin])
    expect({ mediaType, sizeBytes, text }).toEqual({ mediaType: 'image/png', sizeBytes: 5, text: 'hello' })
    expect([server.paths, watch.attempts]).toEqual([['/a.png?x=1'], 1])
  })

  test.each([
    ['an address', '127.0.0.1'],
    ['a network', '127.0.0.0/8'],
    ['a host', 'cdn.example']
  ])('a private target that an entry allows as %s', async (_, target) => {
    await using server = await startUpstreamServer((_, response) => response.end('hello'))
    const { lookup } = createResolver({ 'cdn.example': [['127.0.0.1']] })
    const result = await fetchAll({ allow: [`${target}:${server.port}`], lookup }, `http://cdn.example:${server.port}/`)
    expect(result).toEqual({ mediaType: '', sizeBytes: 5, text: 'hello' })
  })

  test('a name that the system resolves', async () => {
    await using server = await startUpstreamServer((_, response) => response.end('hello'))
    expect((await fetchAll({ allow: [`localhost:${server.port}`] }, `http://LOCALHOST:${server.port}/`)).text).toBe('hello')
  })

  test('over IPv6', async () => {
    await using server = await startUpstreamServer((_, response) => response.end('hello'), { host: '::1' })
    expect((await fetchAll({ allow: [`[::1]:${server.port}`] }, `${server.origin}/`)).text).toBe('hello')
  })

  test('with the host of the URL in the host header and nothing that gives the caller away', async () => {
    const seen: unknown[] = []
    await using server = await startUpstreamServer((request, response) => {
      seen.push(request.headers)
      response.end('hello')
    })
    const { lookup } = createResolver({ 'cdn.example': [['127.0.0.1']] })
    await using fetcher = createUntrustedUrlFetcher({ allow: [`cdn.example:${server.port}`], lookup })
    await read(await fetcher.fetch(`http://cdn.example:${server.port}/`, { signal, accept: 'image/*' }))
    expect(seen).toEqual([
      {
        host: `cdn.example:${server.port}`,
        connection: 'close',
        accept: 'image/*',
        'accept-encoding': 'identity',
        'user-agent': 'atelier'
      }
    ])
  })

  test('over TLS, with the certificate checked against the name', async () => {
    const names: unknown[] = []
    await using server = await startUpstreamServer(
      (request, response) => {
        names.push((request.socket as tls.TLSSocket & { servername: unknown }).servername)
        response.end('hello')
      },
      { tls: true }
    )
    const { lookup } = createResolver({ 'cdn.example': [['127.0.0.1']], 'other.example': [['127.0.0.1']] })
    const options = { allow: [`127.0.0.1:${server.port}`], lookup }
    expect((await fetchAll(options, `https://cdn.example:${server.port}/`)).text).toBe('hello')
    expect((await fetchAll(options, `https://cdn.example.:${server.port}/`)).text).toBe('hello')
    expect((await fetchAll(options, `https://127.0.0.1:${server.port}/`)).text).toBe('hello')
    expect(names).toEqual(['cdn.example', 'cdn.example', false])
    await expect(fetchAll(options, `https://other.example:${server.port}/`)).rejects.toEqual(
      new UntrustedUrlError('failed', `other.example:${server.port} could not be reached (ERR_TLS_CERT_ALTNAME_INVALID)`)
    )
  })

  test('without asking the resolver again, so that its second answer changes nothing', async () => {
    await using server = await startUpstreamServer((_, response) => response.end('hello'))
    await using inside = await startUpstreamServer((_, response) => response.end('secret'), { host: '127.0.0.2' })
    const resolver = createResolver({ 'cdn.example': [['127.0.0.1'], ['127.0.0.2']] })
    expect(
      (await fetchAll({ allow: [`127.0.0.1:${server.port}`], lookup: resolver.lookup }, `http://cdn.example:${server.port}/`)).text
    ).toBe('hello')
    expect([resolver.asked, inside.connections.accepted]).toEqual([['cdn.example'], 0])
  })

  test('from the second address when the first does not answer', async () => {
    await using server = await startUpstreamServer((_, response) => response.end('hello'))
    const { lookup } = createResolver({ 'cdn.example': [['127.0.0.3', '127.0.0.1']] })
    expect((await fetchAll({ allow: [`127.0.0.0/8:${server.port}`], lookup }, `http://cdn.example:${server.port}/`)).text).toBe('hello')
  })

  test('over a connection of its own each time, closed at the end', async () => {
    await using server = await startUpstreamServer((_, response) => response.end('hello'))
    await using fetcher = createUntrustedUrlFetcher({ allow: [`127.0.0.1:${server.port}`] })
    await read(await fetcher.fetch(`${server.origin}/1`, { signal }))
    await read(await fetcher.fetch(`${server.origin}/2`, { signal }))
    await server.closed()
    expect(server.connections).toEqual({ accepted: 2, open: 0 })
  })
})

test('drops a connection that ends at another address than the one that was checked', async () => {
  await using server = await startUpstreamServer((_, response) => response.end('secret'))
  const client = createPinnedClient(new URL(server.origin), ['127.0.0.2'], signal)
  await expect(client.request({ method: 'GET', path: '/' })).rejects.toThrow('connected to an address that was not checked')
  await client.destroy()
  expect(server.paths).toEqual([])
})

describe('follows redirects by the same rules', () => {
  test.each([301, 302, 303, 307, 308])('status %i, relative to the URL before', async (status) => {
    await using server = await startUpstreamServer((request, response) => {
      if (request.url === '/a/one?x=1') response.writeHead(status, { location: 'two?y=2' }).end('moved')
      else response.end('hello')
    })
    expect((await fetchAll({ allow: [`127.0.0.1:${server.port}`] }, `${server.origin}/a/one?x=1`)).text).toBe('hello')
    expect(server.paths).toEqual(['/a/one?x=1', '/a/two?y=2'])
  })

  test('3 of them and not 4', async () => {
    await using server = await startUpstreamServer((request, response) => {
      const left = Number(request.url?.slice(1))
      if (left > 0) response.writeHead(302, { location: `/${left - 1}` }).end()
      else response.end('hello')
    })
    const options = { allow: [`127.0.0.1:${server.port}`] }
    expect((await fetchAll(options, `${server.origin}/3`)).text).toBe('hello')
    await expect(fetchAll(options, `${server.origin}/4`)).rejects.toEqual(
      new UntrustedUrlError('failed', `127.0.0.1:${server.port} is reached only after more than 3 redirects`)
    )
    await server.closed()
    expect(server.paths).toEqual(['/3', '/2', '/1', '/0', '/4', '/3', '/2', '/1'])
  })

  test.each([
    'http://127.0.0.2:{port}/',
    'http://0x7f000002:{port}/',
    '//127.0.0.2:{port}/',
    'http://[::ffff:127.0.0.1]:{port}/',
    'http://169.254.169.254/latest/meta-data/',
    'http://user:secret@127.0.0.1:{port}/',
    'file:///etc/passwd',
    'http://[',
    'http://127.0.0.1:22/'
  ])('not to %s', async (location) => {
    await using server = await startUpstreamServer((_, response) => {
      response.writeHead(302, { location: location.replace('{port}', String(server.port)) }).end()
    })
    await using inside = await startUpstreamServer((_, response) => response.end('secret'), { host: '127.0.0.2' })
    using watch = watchConnections()
    await expect(fetchAll({ allow: [`127.0.0.1:${server.port}`] }, `${server.origin}/`)).rejects.toMatchObject({ kind: 'refused' })
    await server.closed()
    expect([watch.attempts, server.paths, inside.connections.accepted]).toEqual([1, ['/'], 0])
  })

  test('not from https to http', async () => {
    await using plain = await startUpstreamServer((_, response) => response.end('secret'))
    await using server = await startUpstreamServer((_, response) => response.writeHead(302, { location: plain.origin }).end(), {
      tls: true
    })
    await expect(fetchAll({ allow: [`127.0.0.1:${server.port}`, `127.0.0.1:${plain.port}`] }, server.origin)).rejects.toEqual(
      new UntrustedUrlError('refused', `127.0.0.1:${server.port} redirects from https to http`)
    )
    expect(plain.connections.accepted).toBe(0)
  })

  test('not from elsewhere to a trusted origin that is private', async () => {
    await using provider = await startUpstreamServer((_, response) => response.end('secret'))
    await using elsewhere = await startUpstreamServer((_, response) => response.writeHead(302, { location: provider.origin }).end())
    await expect(fetchAll({ allow: [`127.0.0.1:${elsewhere.port}`] }, elsewhere.origin, [provider.origin])).rejects.toMatchObject({
      kind: 'refused'
    })
    expect([elsewhere.paths, provider.connections.accepted]).toEqual([['/'], 0])
  })

  test('not from a trusted origin to another private one', async () => {
    await using inside = await startUpstreamServer((_, response) => response.end('secret'))
    await using provider = await startUpstreamServer((_, response) => response.writeHead(302, { location: inside.origin }).end())
    await expect(fetchAll({ allow: [] }, provider.origin, [provider.origin])).rejects.toMatchObject({ kind: 'refused' })
    expect(inside.connections.accepted).toBe(0)
  })

  test('not without a location', async () => {
    await using server = await startUpstreamServer((_, response) => response.writeHead(302).end())
    await expect(fetchAll({ allow: [] }, server.origin, [server.origin])).rejects.toEqual(
      new UntrustedUrlError('failed', `127.0.0.1:${server.port} redirects without saying where`)
    )
  })
})

test('trusts an origin by scheme, host and port', async () => {
  await using server = await startUpstreamServer((_, response) => response.end('secret'))
  await using fetcher = createUntrustedUrlFetcher({ allow: [] })
  const near = [
    `https://127.0.0.1:${server.port}`,
    `http://127.0.0.1`,
    `http://localhost:${server.port}`,
    `${server.origin}/`,
    `${server.origin}1`
  ]
  await expect(fetcher.fetch(server.origin, { signal, trustedOrigins: near })).rejects.toMatchObject({ kind: 'refused' })
  expect(server.connections.accepted).toBe(0)
})

describe('fails', () => {
  test.each([201, 204, 206, 304, 400, 401, 403, 404, 410, 429, 500, 503])('on status %i', async (status) => {
    await using server = await startUpstreamServer((_, response) => response.writeHead(status).end())
    await expect(fetchAll({ allow: [] }, `${server.origin}/a.png?signature=secret`, [server.origin])).rejects.toEqual(
      new UntrustedUrlError('failed', `127.0.0.1:${server.port} answered with status ${status}`)
    )
    await server.closed()
  })

  test('on an answer in a content encoding, however small it is', async () => {
    const bomb = gzipSync(Buffer.alloc(1_000_000))
    for (const encoding of ['gzip', 'br', 'GZIP', 'identity, gzip', 'x-unheard-of']) {
      await using server = await startUpstreamServer((_, response) => response.writeHead(200, { 'content-encoding': encoding }).end(bomb))
      await expect(fetchAll({ allow: [] }, server.origin, [server.origin])).rejects.toEqual(
        new UntrustedUrlError('failed', `127.0.0.1:${server.port} answered in a content encoding that was not asked for`)
      )
    }
  })

  test('when nobody listens, without saying at which address', async () => {
    const server = await startUpstreamServer(() => {})
    await server[Symbol.asyncDispose]()
    const { lookup } = createResolver({ 'cdn.example': [['127.0.0.1']] })
    await expect(fetchAll({ allow: [`127.0.0.1:${server.port}`], lookup }, `http://cdn.example:${server.port}/`)).rejects.toEqual(
      new UntrustedUrlError('failed', `cdn.example:${server.port} could not be reached (ECONNREFUSED)`)
    )
  })

  test('when the answer is not HTTP', async () => {
    await using server = await startUpstreamServer((request) => request.socket.end('220 mail.example ESMTP\r\n'))
    await expect(fetchAll({ allow: [] }, server.origin, [server.origin])).rejects.toMatchObject({ kind: 'failed' })
  })

  test('when the headers are larger than 16 KiB', async () => {
    await using server = await startUpstreamServer((_, response) =>
      response.writeHead(200, { 'x-filler': 'a'.repeat(20_000) }).end('hello')
    )
    await expect(fetchAll({ allow: [] }, server.origin, [server.origin])).rejects.toMatchObject({ kind: 'failed' })
  })

  test.each([
    ['a declared length', { 'content-length': '10' }],
    ['chunks', {}]
  ])('when a body in %s ends too early', async (_, headers) => {
    await using server = await startUpstreamServer((_, response) => {
      response.writeHead(200, headers).write('hello')
      setTimeout(() => response.socket?.destroy(), 20)
    })
    await expect(fetchAll({ allow: [] }, server.origin, [server.origin])).rejects.toEqual(
      new UntrustedUrlError('failed', `127.0.0.1:${server.port} broke off its answer`)
    )
  })
})

test('survives a server that breaks off a body which nobody reads', async () => {
  await using server = await startUpstreamServer((_, response) => {
    response.write('hello')
    setTimeout(() => response.socket?.resetAndDestroy(), 20)
  })
  await using fetcher = createUntrustedUrlFetcher({ allow: [] })
  const { body } = await fetcher.fetch(server.origin, { signal, trustedOrigins: [server.origin] })
  await server.closed()
  await wait(50)
  await expect(read({ body })).rejects.toMatchObject({ kind: 'failed' })
})

describe('reads no more than the limit', () => {
  const tooLarge = (port: number) =>
    new UntrustedUrlError('too_large', `127.0.0.1:${port} answered with more than the 1000 bytes that are read`)

  test('and takes a body of exactly that size', async () => {
    await using server = await startUpstreamServer((_, response) => response.end('a'.repeat(1000)))
    expect((await fetchAll({ allow: [], maxBytes: 1000 }, server.origin, [server.origin])).text).toBe('a'.repeat(1000))
  })

  test('and refuses a declared size beyond it before the body comes', async () => {
    await using server = await startUpstreamServer((_, response) => response.writeHead(200, { 'content-length': 1001 }).flushHeaders())
    await using fetcher = createUntrustedUrlFetcher({ allow: [], maxBytes: 1000 })
    await expect(fetcher.fetch(server.origin, { signal, trustedOrigins: [server.origin] })).rejects.toEqual(tooLarge(server.port))
    await server.closed()
  })

  test('and breaks off an endless body', async () => {
    await using server = await startUpstreamServer((_, response) => {
      const write = () => {
        while (!response.destroyed && response.write('a'.repeat(100)));
      }
      response.on('drain', write)
      write()
    })
    await expect(fetchAll({ allow: [], maxBytes: 1000 }, server.origin, [server.origin])).rejects.toEqual(tooLarge(server.port))
    await server.closed()
  })
})

describe('ends within the time limit', () => {
  const late = new UntrustedUrlError('timeout', 'the url was not fetched within 0.2 seconds')

  test('when the resolver does not answer', async () => {
    await expect(fetchAll({ allow: [], timeoutMs: 200, lookup: () => new Promise(() => {}) }, 'https://cdn.example/')).rejects.toEqual(late)
  })

  test('when no headers come', async () => {
    await using server = await startUpstreamServer(() => {})
    await expect(fetchAll({ allow: [], timeoutMs: 200 }, server.origin, [server.origin])).rejects.toEqual(late)
    await server.closed()
  })

  test('when the TLS handshake stalls', async () => {
    await using server = createServer((socket) => socket.resume()).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const origin = `https://127.0.0.1:${(server.address() as AddressInfo).port}`
    await expect(fetchAll({ allow: [], timeoutMs: 200 }, origin, [origin])).rejects.toEqual(late)
  })

  test('when the body drips', async () => {
    await using server = await startUpstreamServer((_, response) => {
      response.flushHeaders()
      const drip = setInterval(() => response.write('a'), 10)
      response.on('close', () => clearInterval(drip))
    })
    await expect(fetchAll({ allow: [], timeoutMs: 200 }, server.origin, [server.origin])).rejects.toEqual(late)
    await server.closed()
  })

  test('when redirects use it up', async () => {
    await using server = await startUpstreamServer((_, response) => {
      setTimeout(() => response.writeHead(302, { location: '/' }).end(), 90)
    })
    await expect(fetchAll({ allow: [], timeoutMs: 200 }, server.origin, [server.origin])).rejects.toEqual(late)
  })

  test('when nobody reads the body, and closes the connection', async () => {
    await using server = await startUpstreamServer((_, response) => response.end('a'.repeat(10_000_000)))
    await using fetcher = createUntrustedUrlFetcher({ allow: [], timeoutMs: 1500 })
    const { body } = await fetcher.fetch(server.origin, { signal, trustedOrigins: [server.origin] })
    await server.closed()
    await expect(read({ body })).rejects.toEqual(new UntrustedUrlError('timeout', 'the url was not fetched within 1.5 seconds'))
  })
})

describe('stops', () => {
  test.each([
    ['before it begins', 0],
    ['while the headers are awaited', 1],
    ['while the body comes', 2]
  ])('with the reason of the signal %s', async (_, phase) => {
    const stop = new AbortController()
    const reason = new Error('the caller left')
    await using server = await startUpstreamServer((_, response) => {
      if (phase === 2) response.write('hello')
      setTimeout(() => stop.abort(reason), 20)
    })
    await using fetcher = createUntrustedUrlFetcher({ allow: [] })
    if (phase === 0) stop.abort(reason)
    const fetched = fetcher.fetch(server.origin, { signal: stop.signal, trustedOrigins: [server.origin] }).then(read)
    await expect(fetched).rejects.toBe(reason)
    await server.closed()
    expect(server.connections.accepted).toBe(phase === 0 ? 0 : 1)
  })

  test('when the body is left early, and closes the connection', async () => {
    await using server = await startUpstreamServer((_, response) => {
      response.write('hello')
    })
    await using fetcher = createUntrustedUrlFetcher({ allow: [] })
    const { body } = await fetcher.fetch(server.origin, { signal, trustedOrigins: [server.origin] })
    for await (const chunk of body) {
      expect(Buffer.from(chunk).toString()).toBe('hello')
      break
    }
    await server.closed()
  })

  test('when the body is left unread, and closes the connection', async () => {
    await using server = await startUpstreamServer((_, response) => {
      response.write('hello')
    })
    await using fetcher = createUntrustedUrlFetcher({ allow: [] })
    const { body } = await fetcher.fetch(server.origin, { signal, trustedOrigins: [server.origin] })
    await body[Symbol.asyncIterator]().return?.()
    await server.closed()
  })

  test('when the fetcher is disposed', async () => {
    await using server = await startUpstreamServer((_, response) => {
      response.write('hello')
    })
    const fetcher = createUntrustedUrlFetcher({ allow: [] })
    const { body } = await fetcher.fetch(server.origin, { signal, trustedOrigins: [server.origin] })
    await fetcher[Symbol.asyncDispose]()
    await expect(read({ body })).rejects.toEqual(new UntrustedUrlError('failed', 'the server is shutting down'))
    await server.closed()
  })

  test('without leaving a listener on the signal or a timer', async () => {
    await using server = await startUpstreamServer((request, response) => response.writeHead(request.url === '/' ? 200 : 404).end('hello'))
    const stop = new AbortController()
    await using fetcher = createUntrustedUrlFetcher({ allow: [] })
    const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
    const timersBefore = timers()
    for (let round = 0; round < 20; round++) {
      const options = { signal: stop.signal, trustedOrigins: [server.origin] }
      await read(await fetcher.fetch(server.origin, options))
      await fetcher.fetch(`${server.origin}/missing`, options).catch(() => {})
      await fetcher.fetch('http://10.0.0.1/', options).catch(() => {})
    }
    for (let round = 0; round < 20; round++) {
      const stopUnread = new AbortController()
      await fetcher.fetch(server.origin, { signal: stopUnread.signal, trustedOrigins: [server.origin] })
      stopUnread.abort()
    }
    await server.closed()
    expect(getEventListeners(stop.signal, 'abort')).toEqual([])
    expect(timers()).toBeLessThan(timersBefore + 20)
  })
})

test('refuses to begin with an allow entry that cannot be read', () => {
  expect(() => createUntrustedUrlFetcher({ allow: ['10.0.0.0/8'] })).toThrow(
    "'10.0.0.0/8' is not a target that can be allowed: it must be an address, a network or a host name, then a colon and a port"
  )
})

async function fetchAll(options: UntrustedUrlOptions, url: string, trustedOrigins: readonly string[] = []) {
  await using fetcher = createUntrustedUrlFetcher(options)
  const response = await fetcher.fetch(url, { signal, trustedOrigins })
  return { mediaType: response.mediaType, sizeBytes: response.sizeBytes, text: await read(response) }
}

async function read({ body }: { body: AsyncIterable<Uint8Array> }): Promise<string> {
  const chunks: Uint8Array[] = []
  for await (const chunk of body) chunks.push(chunk)
  return Buffer.concat(chunks).toString()
}
