import type { IncomingMessage, ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { gatewayError } from '../errors.ts'
import type { BlobStore } from '../storage/blob-store.ts'
import type { Links } from '../storage/links.ts'
import type { RequestRecord } from './request-record.ts'

/** Types that a browser only shows. Whatever could run as a script is sent as an attachment. */
const harmless = new Set(['image/png', 'image/jpeg', 'image/webp', 'image/gif', 'image/avif'])

/** Serves GET and HEAD of signed links to images, whole or in a single byte range. */
export function createDownloads(deps: { blobs: BlobStore; links: Links }) {
  return async (pathname: string, request: IncomingMessage, response: ServerResponse, record: RequestRecord): Promise<void> => {
    const link = deps.links.verify(pathname)
    const blob = link && (await deps.blobs.open(link.blobId))
    if (!blob) throw gatewayError('IMAGE_NOT_FOUND', {})
    const etag = `"${blob.id}"`
    response.setHeader('etag', etag)
    response.setHeader('content-type', harmless.has(blob.mediaType) ? blob.mediaType : 'application/octet-stream')
    response.setHeader('content-disposition', harmless.has(blob.mediaType) ? 'inline' : 'attachment')
    response.setHeader('cache-control', 'private, max-age=3600, immutable')
    response.setHeader('accept-ranges', 'bytes')
    response.setHeader('x-content-type-options', 'nosniff')
    response.setHeader('content-security-policy', "default-src 'none'; sandbox")
    response.setHeader('cross-origin-resource-policy', 'cross-origin')
    if (request.headers['if-none-match'] === etag) {
      response.writeHead(304)
      response.end()
      return
    }
    const range = parseRange(request.headers.range, blob.sizeBytes)
    if (range === 'unsatisfiable') {
      response.setHeader('content-range', `bytes */${blob.sizeBytes}`)
      response.writeHead(416)
      response.end()
      return
    }
    const sizeBytes = range ? range.end - range.start + 1 : blob.sizeBytes
    if (range) response.setHeader('content-range', `bytes ${range.start}-${range.end}/${blob.sizeBytes}`)
    response.setHeader('content-length', sizeBytes)
    response.writeHead(range ? 206 : 200)
    if (request.method === 'HEAD') {
      response.end()
      return
    }
    record.bytes = sizeBytes
    await pipeline(Readable.from(blob.read(range), { objectMode: false }), response)
  }
}

/** A single range; several ranges, and anything malformed, are answered whole, as RFC 9110 allows. */
function parseRange(header: string | undefined, sizeBytes: number): { start: number; end: number } | 'unsatisfiable' | undefined {
  const match = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header ?? '')
  if (!match || (match[1] === '' && match[2] === '')) return undefined
  const start = match[1] === '' ? Math.max(0, sizeBytes - Number(match[2])) : Number(match[1])
  const end = match[1] === '' || match[2] === '' ? sizeBytes - 1 : Math.min(Number(match[2]), sizeBytes - 1)
  return start >= sizeBytes || start > end ? 'unsatisfiable' : { start, end }
}
