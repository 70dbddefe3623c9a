import { Readable } from 'node:stream'
import { setTimeout as wait } from 'node:timers/promises'
import { AwsV4Signer } from 'aws4fetch'
import { type Dispatcher, Pool } from 'undici'
import { GatewayError } from '../../errors.ts'
import type { ByteRange } from '../blob-store.ts'
import { storageFailed } from '../storage-failed.ts'

export interface S3Options {
  /** It must exist. */
  bucket: string
  /** Address of the service, without a path. Unset: Amazon's in the region. */
  endpoint?: string
  region: string
  accessKeyId: string
  secretAccessKey: string
  sessionToken?: string
}

/**
 * One bucket of an S3-compatible store. What fails for a moment is tried three times; after that, and for every refusal, methods throw
 * `STORAGE_FAILED`, never later than two minutes after they began. Disposing closes the connections.
 */
export interface S3Client extends AsyncDisposable {
  /** Whether requests are encrypted on their way, which protects what is uploaded against changes. */
  readonly isEncrypted: boolean
  /** Stores an object, which can be read when it is whole, and not before. */
  put(key: string, content: S3Content): Promise<void>
  /** The size in bytes; undefined where there is no such object. */
  sizeOf(key: string): Promise<number | undefined>
  /** A part of an object, beginning with the first chunk; throws in the middle where the connection breaks. */
  get(key: string, range: ByteRange): AsyncIterable<Uint8Array>
  /** Deletes an object; one that is not there is no error. */
  delete(key: string): Promise<void>
  /** Every object whose key begins like this, in lists of at most 1000. */
  list(prefix: string): AsyncIterable<{ key: string; modifiedMs: number }[]>
}

export interface S3Content {
  sizeBytes: number
  mediaType: string
  /** In hexadecimal; the store then refuses what was changed on the way. */
  sha256: string | undefined
  /** Exactly `sizeBytes`, from the beginning; called once for each try. */
  read(): AsyncIterable<Uint8Array>
}

interface S3Request {
  method: 'GET' | 'HEAD' | 'PUT' | 'DELETE'
  key?: string
  query?: Record<string, string>
  headers?: Record<string, string>
  content?: S3Content
  /** For all tries together, up to the headers of the answer. */
  timeoutMs: number
}

export function createS3Client(options: S3Options): S3Client {
  const base = baseUrlOf(options)
  const signingKeys = new Map<string, ArrayBuffer>()
  const pool = new Pool(base.origin, {
    connections: 64,
    pipelining: 1,
    allowH2: false,
    connect: { timeout: 5_000 },
    headersTimeout: 30_000,
    bodyTimeout: 30_000
  })

  return {
    isEncrypted: base.protocol === 'https:',
    async put(key, content) {
      const answer = await send({ method: 'PUT', key, content, timeoutMs: 120_000 })
      if (answer.statusCode !== 200) throw await refusal(answer)
      await discard(answer)
    },
    async sizeOf(key) {
      const answer = await send({ method: 'HEAD', key, timeoutMs: 20_000 })
      await discard(answer)
      if (answer.statusCode === 404) return undefined
      if (answer.statusCode !== 200) throw await refusal(answer)
      return Number(answer.headers['content-length'])
    },
    async *get(key, { start, end }) {
      const answer = await send({ method: 'GET', key, headers: { range: `bytes=${start}-${end}` }, timeoutMs: 20_000 })
      if (answer.statusCode === 404) throw storageFailed('the file is not there any more', await refusal(answer))
      if (answer.statusCode !== 206) throw await refusal(answer)
      if (Number(answer.headers['content-length']) !== end - start + 1) {
        await discard(answer)
        throw storageFailed('the object store does not have all of it')
      }
      try {
        yield* answer.body
      } catch (error) {
        throw storageFailed('the connection to the object store broke', error)
      }
    },
    async delete(key) {
      const answer = await send({ method: 'DELETE', key, timeoutMs: 20_000 })
      if (answer.statusCode !== 204 && answer.statusCode !== 200 && answer.statusCode !== 404) throw await refusal(answer)
      await discard(answer)
    },
    async *list(prefix) {
      for (let token: string | undefined = ''; token !== undefined; ) {
        const query = { 'list-type': '2', prefix, ...(token && { 'continuation-token': token }) }
        const answer = await send({ method: 'GET', query, timeoutMs: 20_000 })
        if (answer.statusCode !== 200) throw await refusal(answer)
        const text: string = await answer.body.text().catch((error) => {
          throw storageFailed('the connection to the object store broke', error)
        })
        yield [...text.matchAll(/<Contents>(.*?)<\/Contents>/gs)].map(([, entry = '']) => ({
          key: element(entry, 'Key') ?? '',
          modifiedMs: Date.parse(element(entry, 'LastModified') ?? '')
        }))
        token = element(text, 'IsTruncated') === 'true' ? element(text, 'NextContinuationToken') : undefined
      }
    },
    async [Symbol.asyncDispose]() {
      await pool.destroy()
    }
  }

  async function send(request: S3Request): Promise<Dispatcher.ResponseData> {
    const stop = new AbortController()
    const timer = setTimeout(() => stop.abort(), request.timeoutMs)
    try {
      for (let tries = 1; ; tries++) {
        const last = tries === maxTries
        try {
          const answer = await sendOnce(request, stop.signal)
          if (last || !isPassing(answer.statusCode)) return answer
          await discard(answer)
        } catch (error) {
          if (error instanceof GatewayError) throw error
          if (stop.signal.aborted) throw storageFailed('the object store did not answer in time', error)
          if (last) throw storageFailed('the object store cannot be reached', error)
        }
        await wait((0.5 + Math.random()) * firstPauseMs * 3 ** (tries - 1))
      }
    } finally {
      clearTimeout(timer)
    }
  }

  async function sendOnce(request: S3Request, signal: AbortSignal): Promise<Dispatcher.ResponseData> {
    const { method, content } = request
    const url = new URL(base)
    if (request.key !== undefined) url.pathname = `${base.pathname}${request.key}`
    for (const [name, value] of Object.entries(request.query ?? {})) url.searchParams.set(name, value)
    const signed = await new AwsV4Signer({
      ...credentialsOf(options),
      method,
      url: url.href,
      headers: {
        ...request.headers,
        ...(content && { 'content-type': content.mediaType }),
        'x-amz-content-sha256': content ? (content.sha256 ?? 'UNSIGNED-PAYLOAD') : emptySha256
      },
      service: 's3',
      region: options.region,
      cache: signingKeys,
      allHeaders: true
    }).sign()
    // Without a length, or with a checksum behind the body, some stores keep the framing as if it were content.
    const headers = { ...Object.fromEntries(signed.headers), ...(content && { 'content-length': String(content.sizeBytes) }) }
    const body = content ? Readable.from(content.read(), { objectMode: false }) : null
    return pool.request({ method, path: url.pathname + url.search, headers, body, signal })
  }
}

const maxTries = 3
const firstPauseMs = 200
const emptySha256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'

/** Path-style where an address is given, because few such services have a name for each bucket. */
function baseUrlOf({ bucket, endpoint, region }: S3Options): URL {
  if (endpoint !== undefined) return new URL(`/${bucket}/`, endpoint)
  const host = `s3.${region}.amazonaws.com${region.startsWith('cn-') ? '.cn' : ''}`
  // Amazon's certificates do not cover names with further dots.
  return new URL(bucket.includes('.') ? `https://${host}/${bucket}/` : `https://${bucket}.${host}/`)
}

function credentialsOf({ accessKeyId, secretAccessKey, sessionToken }: S3Options) {
  return { accessKeyId, secretAccessKey, ...(sessionToken !== undefined && { sessionToken }) }
}

function isPassing(status: number): boolean {
  return status >= 500 || status === 429
}

/** What an answer that is no success is to a caller; what the store says of it is for the log. */
async function refusal(answer: Dispatcher.ResponseData): Promise<GatewayError> {
  const text = await readBeginning(answer).catch(() => '')
  const code = element(text, 'Code')
  const problem = `the object store answered ${answer.statusCode}${code === undefined ? '' : ` (${code.slice(0, 60)})`}`
  return storageFailed(problem, new Error(element(text, 'Message')?.slice(0, 500) ?? 'the object store gave no reason'))
}

async function readBeginning(answer: Dispatcher.ResponseData): Promise<string> {
  const chunks: Uint8Array[] = []
  let sizeBytes = 0
  for await (const chunk of answer.body) {
    chunks.push(chunk)
    sizeBytes += chunk.length
    if (sizeBytes > 8192) break
  }
  return Buffer.concat(chunks).toString()
}

async function discard(answer: Dispatcher.ResponseData): Promise<void> {
  await answer.body.dump({ limit: 8192 }).catch(() => undefined)
}

/** The content of the first element of this name. */
function element(xml: string, name: string): string | undefined {
  const content = new RegExp(`<${name}>([^<]*)</${name}>`).exec(xml)?.[1]
  return content?.replace(/&(amp|lt|gt|quot|apos|#\d{1,6}|#x[0-9a-f]{1,6});/gi, (_, entity: string) => unescapeEntity(entity.toLowerCase()))
}

function unescapeEntity(entity: string): string {
  if (entity.startsWith('#x')) return String.fromCodePoint(Number.parseInt(entity.slice(2), 16))
  if (entity.startsWith('#')) return String.fromCodePoint(Number(entity.slice(1)))
  return { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" }[entity] ?? ''
}
