import { once } from 'node:events'
import { createServer, request as send } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { imageFromBytes } from '../../src/images/image-body.ts'
import { createLog } from '../../src/log.ts'
import type { BlobMeta, BlobStore } from '../../src/storage/blob-store.ts'
import { createDiskBlobStore } from '../../src/storage/blobs/disk-blob-store.ts'
import { openDatabase } from '../../src/storage/database.ts'
import { createLinks } from '../../src/storage/links.ts'
import { storageFailed } from '../../src/storage/storage-failed.ts'
import { createDownloads } from '../../src/wire/downloads.ts'
import { sendRestError } from '../../src/wire/error-response.ts'
import { createRequestRecords } from '../../src/wire/request-record.ts'
import { connectRaw } from '../support/raw-client.ts'
import { createTemporaryDirectory } from '../support/temporary-directory.ts'

const png = Buffer.concat([Buffer.from('89504e470d0a1a0a', 'hex'), Buffer.alloc(1_000_000, 'pixels')])
const svg = Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>')

const server = await startDownloads()
afterAll(() => server[Symbol.asyncDispose]())

const put = (bytes: Buffer, meta: Partial<BlobMeta> = {}) =>
  server.blobs.put(imageFromBytes(bytes, ''), { organizationId: 'default', lifetimeSeconds: 7200, ...meta })

describe('cache headers', () => {
  test.each([
    ['a link ends', {}, { lifetimeSeconds: 100 }, 'private', 100],
    ['a long link ends', { lifetimeSeconds: Infinity }, { lifetimeSeconds: 604_800 }, 'private', 604_800],
    ['a blob ends', { lifetimeSeconds: 60 }, { lifetimeSeconds: 100 }, 'private', 60],
    ['a year has passed', { lifetimeSeconds: Infinity }, { lifetimeSeconds: Infinity }, 'private', 31_536_000],
    ['a year has passed, for everybody', { lifetimeSeconds: Infinity, isPublic: true }, undefined, 'public', 31_536_000],
    ['a public blob ends', { lifetimeSeconds: 60, isPublic: true }, undefined, 'public', 60]
  ])('say that an image is to be kept until %s', async (_, meta, signing, scope, seconds) => {
    const blob = await put(png, meta)
    const response = await fetch(signing ? server.links.sign(blob, signing) : server.links.permanent(blob))
    const [, said, maxAge] = /^(\w+), max-age=(\d+), immutable$/.exec(response.headers.get('cache-control') ?? '') ?? []
    expect([response.status, said, (await response.arrayBuffer()).byteLength]).toEqual([200, scope, png.length])
    expect(Number(maxAge)).toBeLessThanOrEqual(seconds)
    expect(Number(maxAge)).toBeGreaterThan(seconds - 30)
  })
})

describe('a permanent link', () => {
  test('opens a public image', async () => {
    const blob = await put(png, { lifetimeSeconds: Infinity, isPublic: true })
    expect(Buffer.from(await (await fetch(server.links.permanent(blob))).arrayBuffer())).toEqual(png)
    expect((await fetch(server.links.sign(blob))).status).toBe(200)
  })

  test('opens no other image, and none under another extension', async () => {
    const kept = await put(png)
    const open = await put(png, { isPublic: true })
    const paths = [
      `${kept.id}.png`,
      `${open.id}.html`,
      `${open.id}.svg`,
      `${open.id}`,
      `${open.id}.png/`,
      `${open.id}.PNG`,
      `x/${open.id}.png`
    ]
    for (const path of paths) expect([path, await statusOf(`/images/${path}`)]).toEqual([path, 404])
  })
})

test.each([[{}], [{ isPublic: true }]])('a deleted image is gone for every link to it, %j', async (meta) => {
  const blob = await put(png, { lifetimeSeconds: Infinity, ...meta })
  const links = [server.links.sign(blob), ...(blob.isPublic ? [server.links.permanent(blob)] : [])]
  expect(await server.blobs.delete(blob.id, 'default')).toBe(true)
  for (const link of links) {
    const response = await fetch(link)
    expect([response.status, (await response.json()).error.code]).toEqual([404, 'image_not_found'])
    expect(response.headers.get('cache-control')).toBeNull()
  }
})

test('what could run as a script is sent as an attachment', async () => {
  const response = await fetch(server.links.sign(await put(svg)))
  const names = ['content-type', 'content-disposition', 'x-content-type-options', 'content-security-policy']
  expect(names.map((name) => response.headers.get(name))).toEqual([
    'application/octet-stream',
    'attachment',
    'nosniff',
    "default-src 'none'; sandbox"
  ])
})

describe('conditions', () => {
  test.each([
    ['the tag', (tag: string) => tag, 304],
    ['a weak tag', (tag: string) => `W/${tag}`, 304],
    ['a list that holds it', (tag: string) => `"a,b", W/"c" ,${tag}`, 304],
    ['any', () => '*', 304],
    ['another tag', () => '"abcdefghijklmnopqrstuv"', 200],
    ['the tag without quotes', (tag: string) => tag.slice(1, -1), 200]
  ])('If-None-Match with %s', async (_, header, status) => {
    const url = server.links.sign(await put(png))
    const response = await fetch(url, { headers: { 'if-none-match': header(await tagOf(url)) } })
    expect([response.status, (await response.arrayBuffer()).byteLength]).toEqual([status, status === 304 ? 0 : png.length])
    expect(response.headers.get('cache-control')).toMatch(/^private, max-age=\d+, immutable$/)
  })

  test.each([
    ['the tag', (tag: string) => tag, 206],
    ['a weak tag', (tag: string) => `W/${tag}`, 200],
    ['another tag', () => '"abcdefghijklmnopqrstuv"', 200],
    ['a date', () => 'Wed, 21 Oct 2026 07:28:00 GMT', 200]
  ])('If-Range with %s', async (_, header, status) => {
    const url = server.links.sign(await put(png))
    const response = await fetch(url, { headers: { 'if-range': header(await tagOf(url)), range: 'bytes=10-19' } })
    const body = Buffer.from(await response.arrayBuffer())
    expect([response.status, body]).toEqual([status, status === 206 ? png.subarray(10, 20) : png])
  })
})

test('HEAD tells of the whole image, whatever range it asks for', async () => {
  const url = server.links.sign(await put(png))
  const response = await fetch(url, { method: 'HEAD', headers: { range: 'bytes=0-9' } })
  expect([response.status, response.headers.get('content-length'), response.headers.get('content-range')]).toEqual([
    200,
    String(png.length),
    null
  ])
})

test.each([
  '/images/',
  '/images/..',
  '/images/../atelier.db',
  '/images/..%2f..%2fetc%2fpasswd',
  '/images/%00.png',
  '/images/aaaaaaaaaaaaaaaaaaaaaa.png',
  '/images/aaaaaaaaaaaaaaaaaaaaa/.png',
  '/images/aaaaaaaaaaaaaaaaaaaaaa/9999999999-AAAAAAAAAAAAAAAAAAAAAAAA.png',
  '/images/aaaaaaaaaaaaaaaaaaaaaa/99999999999999999999-AAAAAAAAAAAAAAAAAAAAAAAA.png',
  '/images//etc/passwd',
  '/images/C:\\windows\\win.ini',
  `/images/${'a/'.repeat(4000)}.png`
])('a hostile path leads nowhere: %.60s', async (path) => {
  expect(await statusOf(path)).toBe(404)
})

test('a store that fails before the first byte is an error with a status, and nothing that may be kept', async () => {
  const blob = await put(png)
  server.failing.set(blob.id, { bytes: 0 })
  const response = await fetch(server.links.sign(blob))
  expect([response.status, (await response.json()).error.code]).toEqual([500, 'storage_failed'])
  expect(['cache-control', 'etag', 'content-disposition'].map((name) => response.headers.get(name))).toEqual([null, null, null])
})

test('a store that fails in the middle cuts the answer off', async () => {
  const blob = await put(png)
  server.failing.set(blob.id, { bytes: 100 })
  await expect(fetch(server.links.sign(blob)).then((response) => response.arrayBuffer())).rejects.toThrow('terminated')
  expect(server.lines.at(-1)).toContain('"outcome":"STORAGE_FAILED"')
})

test('a caller who leaves in the middle is no failure of the server', async () => {
  const blob = await put(Buffer.concat([png, Buffer.alloc(20_000_000)]))
  const { pathname } = new URL(server.links.sign(blob))
  {
    using client = await connectRaw({ port: server.port })
    client.send(`GET ${pathname} HTTP/1.1\r\nhost: localhost\r\n\r\n`)
    await client.received('\r\n\r\n')
  }
  await expect.poll(() => server.lines.at(-1)).toContain('"outcome":"CANCELLED"')
})

async function tagOf(url: string): Promise<string> {
  return (await fetch(url, { method: 'HEAD' })).headers.get('etag') ?? ''
}

/** The path goes out as it is: `fetch` would tidy it up. */
async function statusOf(path: string): Promise<number> {
  const request = send({ host: '127.0.0.1', port: server.port, path: path.replaceAll('\\', '%5C') }).end()
  const [response] = await once(request, 'response')
  response.resume()
  await once(response, 'end')
  return response.statusCode
}

/** Downloads on a port of their own, in front of a blob store on the disk that fails for the ids in `failing`, after so many bytes. */
async function startDownloads() {
  const directory = await createTemporaryDirectory()
  const database = await openDatabase({ dataDir: join(directory.path, 'data') })
  const blobs = createDiskBlobStore({ directory: join(directory.path, 'images') }, { database })
  const lines: string[] = []
  const log = createLog({ level: 'info', destination: { write: (line: string) => void lines.push(line) } })
  const openRecord = createRequestRecords({
    log,
    metrics: { began() {}, finished() {}, render: async () => ({ contentType: '', text: '' }) }
  })
  const failing = new Map<string, { bytes: number }>()
  const http = createServer((request, response) => {
    const record = openRecord('/images/')
    response.once('close', () => record.close(response.statusCode))
    downloads(decodeURIComponent(request.url ?? ''), request, response, record).catch((error) => {
      record.fail(error)
      if (response.headersSent) response.destroy()
      else sendRestError(request, response, error, record.id)
    })
  }).listen(0, '127.0.0.1')
  await once(http, 'listening')
  const { port } = http.address() as AddressInfo
  const links = createLinks({
    publicUrl: `http://127.0.0.1:${port}`,
    keys: [{ keyId: '00000007', key: new Uint8Array(32).fill(7) }],
    lifetimeSeconds: 3600
  })
  const downloads = createDownloads({ links, blobs: { ...blobs, open } })

  async function open(id: string): ReturnType<BlobStore['open']> {
    const blob = await blobs.open(id)
    const failure = failing.get(id)
    return blob && failure ? { ...blob, read: () => failAfter(failure.bytes) } : blob
  }

  return {
    port,
    links,
    blobs,
    failing,
    lines,
    async [Symbol.asyncDispose]() {
      http.closeAllConnections()
      http.close()
      await database[Symbol.asyncDispose]()
      await directory[Symbol.asyncDispose]()
    }
  }
}

async function* failAfter(bytes: number): AsyncGenerator<Uint8Array> {
  if (bytes > 0) yield png.subarray(0, bytes)
  throw storageFailed('the disk is gone')
}
