import { createHash, createHmac } from 'node:crypto'
import { createServer, request as forward, type IncomingMessage, type ServerResponse } from 'node:http'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { createTemporaryDirectory } from './temporary-directory.ts'

/** An S3-compatible service with one bucket. Unlike the server behind it, it checks signatures and checksums and stores objects whole or not at all. */
export interface TestS3 extends AsyncDisposable {
  readonly endpoint: string
  readonly bucket: string
  readonly region: string
  readonly accessKeyId: string
  readonly secretAccessKey: string
  /** Method and path of every request, newest last. */
  readonly requests: readonly string[]
  /** Lets requests fail, until it heals: the next ones, or all. */
  fail(fault: Fault, options?: { method?: string; count?: number }): void
  heal(): void
  /** Refuses connections and breaks those that are open. */
  stop(): Promise<void>
  /** Listens again at the same address. */
  start(): Promise<void>
  /** The keys of all objects. */
  keys(): Promise<string[]>
}

/** An error of the service, no answer to what is not executed, or to what is, or an answer of which the second half is missing. */
export type Fault = { status: number; code: string } | 'reset' | 'lost' | 'cut'

const account = { accessKeyId: 'S3RVER', secretAccessKey: 'S3RVER', region: 'eu-test-1', bucket: 'images' }

export async function startS3(): Promise<TestS3> {
  const directory = await createTemporaryDirectory()
  const behind = await startS3rver(directory.path)
  const requests: string[] = []
  let fault: { fault: Fault; method: string | undefined; count: number } | undefined
  const server = createServer((request, response) => {
    answer(request, response).catch(() => request.socket.destroy())
  })
  let port = 0
  await start()

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    requests.push(`${request.method} ${request.url}`)
    const met = fault && fault.count > 0 && (fault.method ?? request.method) === request.method ? fault : undefined
    if (met) met.count -= 1
    if (met?.fault === 'reset') return void request.socket.destroy()
    const body = await readBody(request)
    if (met && typeof met.fault === 'object') return sendError(response, met.fault.status, met.fault.code)
    const refused = check(request, body)
    if (refused) return sendError(response, 403, refused)
    await pass(request, body, response, met?.fault)
  }

  function pass(request: IncomingMessage, body: Buffer, response: ServerResponse, met: Fault | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const { method = '', url = '' } = request
      const path = listPath(url) ?? url
      // The server behind gets ranges wrong that end at the first byte.
      const { range, ...headers } = request.headers
      const onward = forward({ port: behind.port, host: '127.0.0.1', method, path, headers }, async (answered) => {
        const body = await readBody(answered)
        if (met === 'lost') return resolve(void request.socket.destroy())
        const whole = path === url ? body : Buffer.from(withToken(body.toString()))
        const [, start, end] = answered.statusCode === 200 ? (/^bytes=(\d+)-(\d+)$/.exec(range ?? '') ?? []) : []
        const content = end === undefined ? whole : whole.subarray(Number(start), Number(end) + 1)
        if (end === undefined)
          response.writeHead(answered.statusCode ?? 500, { ...answered.headers, 'content-length': lengthOf(answered, whole) })
        else response.writeHead(206, { 'content-length': content.length, 'content-range': `bytes ${start}-${end}/${whole.length}` })
        if (met === 'cut') response.write(content.subarray(0, content.length / 2), () => response.destroy())
        else response.end(content)
        resolve()
      })
      onward.on('error', reject)
      onward.end(body)
    })
  }

  async function start(): Promise<void> {
    await new Promise<void>((resolve, reject) => server.once('error', reject).listen(port, '127.0.0.1', resolve))
    port = (server.address() as AddressInfo).port
  }

  async function stop(): Promise<void> {
    await new Promise<void>((resolve) => {
      server.close(() => resolve())
      server.closeAllConnections()
    })
  }

  return {
    ...account,
    endpoint: `http://127.0.0.1:${port}`,
    requests,
    fail(fails, { method, count = Number.POSITIVE_INFINITY } = {}) {
      fault = { fault: fails, method, count }
    },
    heal() {
      fault = undefined
    },
    stop,
    start,
    async keys() {
      const keys: string[] = []
      for (let isTruncated = true; isTruncated; ) {
        const listed = await fetch(`http://127.0.0.1:${behind.port}/${account.bucket}?marker=${encodeURIComponent(keys.at(-1) ?? '')}`)
        const text = await listed.text()
        keys.push(...keysIn(text))
        isTruncated = text.includes('<IsTruncated>true')
      }
      return keys
    },
    async [Symbol.asyncDispose]() {
      if (server.listening) await stop()
      await behind.close()
      await directory[Symbol.asyncDispose]()
    }
  }
}

async function startS3rver(directory: string): Promise<{ port: number; close(): Promise<void> }> {
  const S3rver = createRequire(join(import.meta.dirname, '../clients/package.json'))('s3rver')
  const running = new S3rver({
    address: '127.0.0.1',
    port: 0,
    silent: true,
    directory,
    vhostBuckets: false,
    configureBuckets: [{ name: account.bucket }]
  })
  const { port } = await running.run()
  return {
    port,
    async close() {
      running.httpServer.closeAllConnections()
      await running.close()
    }
  }
}

/** The server behind makes continuation tokens in a way that Node has given up; the older kind of list does without. */
function listPath(url: string): string | undefined {
  const { pathname, searchParams } = new URL(url, 'http://localhost')
  if (searchParams.get('list-type') !== '2') return undefined
  const marker = Buffer.from(searchParams.get('continuation-token') ?? '', 'base64').toString()
  return `${pathname}?${new URLSearchParams({ marker, prefix: searchParams.get('prefix') ?? '' })}`
}

function withToken(xml: string): string {
  if (!xml.includes('<IsTruncated>true')) return xml
  const token = Buffer.from(keysIn(xml).at(-1) ?? '').toString('base64')
  return xml.replace('</ListBucketResult>', `<NextContinuationToken>${token}</NextContinuationToken></ListBucketResult>`)
}

function keysIn(xml: string): string[] {
  return [...xml.matchAll(/<Key>(.*?)<\/Key>/g)].map(([, key = '']) => key)
}

/** What stands for a body in the answer to a HEAD has a length too. */
function lengthOf(answered: IncomingMessage, content: Buffer): number {
  return content.length > 0 ? content.length : Number(answered.headers['content-length'] ?? 0)
}

async function readBody(message: IncomingMessage): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of message) chunks.push(chunk)
  return Buffer.concat(chunks)
}

function sendError(response: ServerResponse, status: number, code: string): void {
  const xml = `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>made to fail</Message></Error>`
  response.writeHead(status, { 'content-type': 'application/xml', 'content-length': xml.length })
  response.end(response.req.method === 'HEAD' ? undefined : xml)
}

/** The code of the error with which a request is refused that is not signed as Signature Version 4 asks for, or altered. */
function check(request: IncomingMessage, body: Buffer): string | undefined {
  const { method = '', url = '', headers } = request
  const contentHash = String(headers['x-amz-content-sha256'])
  if (contentHash !== 'UNSIGNED-PAYLOAD' && contentHash !== sha256(body)) return 'XAmzContentSHA256Mismatch'
  const pattern = /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/s3\/aws4_request, ?SignedHeaders=([^,]+), ?Signature=(.+)$/
  const [, id, day = '', region, signed = '', signature] = pattern.exec(headers.authorization ?? '') ?? []
  if (id !== account.accessKeyId || region !== account.region) return 'InvalidAccessKeyId'
  const mustBeSigned = Object.keys(headers).filter((name) => name === 'host' || name === 'content-type' || name.startsWith('x-amz-'))
  if (mustBeSigned.some((name) => !signed.split(';').includes(name))) return 'AccessDenied'
  const [path = '', search = ''] = url.split('?')
  const query =
    search === ''
      ? ''
      : [...new URLSearchParams(search)]
          .map((pair) => pair.map(encode).join('='))
          .sort()
          .join('&')
  const named = signed.split(';').map((name) => `${name}:${String(headers[name]).trim()}\n`)
  const canonical = [method, path, query, named.join(''), signed, contentHash].join('\n')
  const scope = `${day}/${region}/s3/aws4_request`
  const toSign = ['AWS4-HMAC-SHA256', headers['x-amz-date'], scope, sha256(canonical)].join('\n')
  const key = [day, region, 's3', 'aws4_request'].reduce<string | Buffer>(hmac, `AWS4${account.secretAccessKey}`)
  return hmac(key, toSign).toString('hex') === signature ? undefined : 'SignatureDoesNotMatch'
}

function encode(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`)
}

function sha256(content: string | Buffer): string {
  return createHash('sha256').update(content).digest('hex')
}

function hmac(key: string | Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest()
}
