import type { IncomingMessage, ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { gatewayError, toGatewayError } from '../errors.ts'
import { fileExtension } from '../images/media-type.ts'
import type { BlobStore, StoredBlob } from '../storage/blob-store.ts'
import type { Link, Links } from '../storage/links.ts'
import type { RequestRecord } from './request-record.ts'

/** Types that a browser only shows. Whatever could run as a script is sent as an attachment. */
const harmless = new Set(['image/png', 'image/jpeg', 'image/webp', 'image/gif', 'image/avif'])

/** Serves GET and HEAD of links to images, whole or in a single byte range. Throws IMAGE_NOT_FOUND for a link that leads nowhere. */
export function createDownloads(deps: { blobs: BlobStore; links: Links }) {
  return async (pathname: string, request: IncomingMessage, response: ServerResponse, record: RequestRecord): Promise<void> => {
    const link = deps.links.verify(pathname)
    const blob = link && (await deps.blobs.open(link.blobId))
    if (!link || !blob || !leadsTo(link, blob)) throw gatewayError('IMAGE_NOT_FOUND', {})
    const etag = `"${blob.id}"`
    const headers = { etag, 'cache-control': cacheControl(link, blob, Date.now()), ...shields }
    if (isKnown(request.headers['if-none-match'], etag)) {
      response.writeHead(304, headers)
      response.end()
      return
    }
    const range = request.method === 'GET' && isCurrent(request.headers['if-range'], etag) ? request.headers.range : undefined
    const part = parseRange(range, blob.sizeBytes)
    if (part === 'unsatisfiable') {
      response.writeHead(416, { ...headers, 'content-range': `bytes */${blob.sizeBytes}`, 'content-length': 0 })
      response.end()
      return
    }
    const sizeBytes = part ? part.end - part.start + 1 : blob.sizeBytes
    const isHarmless = harmless.has(blob.mediaType)
    const whole = {
      ...headers,
      'accept-ranges': 'bytes',
      'content-type': isHarmless ? blob.mediaType : 'application/octet-stream',
      'content-disposition': isHarmless ? 'inline' : 'attachment',
      'content-length': sizeBytes
    }
    if (request.method === 'HEAD') {
      response.writeHead(200, whole)
      response.end()
      return
    }
    const chunks = await begin(blob.read(part))
    response.writeHead(part ? 206 : 200, part ? { ...whole, 'content-range': `bytes ${part.start}-${part.end}/${blob.sizeBytes}` } : whole)
    record.bytes = sizeBytes
    await send(chunks, response, record)
  }
}

/** An image must not run as a page of this origin, and may be shown by any other. */
const shields = {
  'x-content-type-options': 'nosniff',
  'content-security-policy': "default-src 'none'; sandbox",
  'cross-origin-resource-policy': 'cross-origin'
}

const longestMaxAgeSeconds = 31_536_000

function leadsTo(link: Link, blob: StoredBlob): boolean {
  return link.isSigned || (blob.isPublic && link.extension === fileExtension(blob.mediaType))
}

/** Nobody may keep an image for longer than its link works. */
function cacheControl(link: Link, blob: StoredBlob, nowMs: number): string {
  const lastSeconds = Math.floor(Math.min(link.expiresAt, blob.expiresAt) - nowMs / 1000)
  const maxAge = Math.max(0, Math.min(lastSeconds, longestMaxAgeSeconds))
  return `${link.isSigned ? 'private' : 'public'}, max-age=${maxAge}, immutable`
}

/** Whether If-None-Match names the image: `*`, or a list of tags, each of which may be marked as weak. */
function isKnown(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false
  return header.trim() === '*' || header.split(',').some((tag) => tag.trim().replace(/^W\//, '') === etag)
}

/** Whether a range may be answered: If-Range is absent or the image's tag. No date can match, as none was told. */
function isCurrent(header: string | string[] | undefined, etag: string): boolean {
  return header === undefined || header === etag
}

/** A single range; several ranges, and anything malformed, are answered whole, as RFC 9110 allows. */
function parseRange(header: string | undefined, sizeBytes: number): { start: number; end: number } | 'unsatisfiable' | undefined {
  const match = /^bytes=(\d{0,15})-(\d{0,15})$/i.exec(header ?? '')
  if (!match || (match[1] === '' && match[2] === '')) return undefined
  const start = match[1] === '' ? Math.max(0, sizeBytes - Number(match[2])) : Number(match[1])
  const end = match[1] === '' || match[2] === '' ? sizeBytes - 1 : Math.min(Number(match[2]), sizeBytes - 1)
  return start >= sizeBytes || start > end ? 'unsatisfiable' : { start, end }
}

/** Reads the first chunk, so that a store that fails is an error with a status and not an answer that is cut off. */
async function begin(source: AsyncIterable<Uint8Array>): Promise<AsyncIterable<Uint8Array>> {
  const iterator = source[Symbol.asyncIterator]()
  const first = await iterator.next()
  let begun = false
  return {
    [Symbol.asyncIterator]: () => ({
      next: () => {
        if (begun) return iterator.next()
        begun = true
        return Promise.resolve(first)
      },
      return: async () => (await iterator.return?.()) ?? { done: true, value: undefined }
    })
  }
}

/** Both outcomes are noted before the record is closed, which happens as soon as the connection is. */
async function send(chunks: AsyncIterable<Uint8Array>, response: ServerResponse, record: RequestRecord): Promise<void> {
  response.prependOnceListener('close', () => {
    if (!response.writableFinished) record.fail(gatewayError('CANCELLED', {}))
  })
  const source = Readable.from(chunks, { objectMode: false }).once('error', (error) => record.fail(toGatewayError(error)))
  await pipeline(source, response)
}
