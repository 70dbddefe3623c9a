import { createHmac, timingSafeEqual } from 'node:crypto'
import { fileExtension } from '../images/media-type.ts'
import { type Blob, isBlobId } from './blob-store.ts'

/** URLs that serve a blob to whoever has them, until they expire. */
export interface Links {
  /** An absolute URL that ends in the image's file extension and works for the configured lifetime, but no longer than the blob. */
  sign(blob: Blob, nowMs?: number): string
  /**
   * What a link leads to, or undefined where it was altered or has expired. Takes the path below the path of `publicUrl`: for
   * `https://example.com/images-api/images/…` under the public URL `https://example.com/images-api` that is `/images/…`.
   */
  verify(pathname: string, nowMs?: number): { blobId: string } | undefined
}

export interface LinksOptions {
  /** Where callers reach this server: an origin, and a path where a proxy adds one. */
  publicUrl: string
  /** At least 32 bytes. */
  signingKey: Uint8Array
  lifetimeSeconds: number
}

/** Throws where the public URL is none, the key is too short, or the lifetime is not a positive whole number. */
export function createLinks(options: LinksOptions): Links {
  const base = parsePublicUrl(options.publicUrl)
  if (options.signingKey.byteLength < 32) throw new RangeError('the signing key of links must have at least 32 bytes')
  if (!Number.isSafeInteger(options.lifetimeSeconds) || options.lifetimeSeconds < 1) {
    throw new RangeError('the lifetime of links must be a positive whole number of seconds')
  }

  return {
    sign(blob, nowMs = Date.now()) {
      const expires = Math.min(Math.floor(nowMs / 1000) + options.lifetimeSeconds, blob.expiresAt)
      const extension = fileExtension(blob.mediaType)
      return `${base}/images/${blob.id}/${expires}-${signature(blob.id, String(expires), extension)}.${extension}`
    },
    verify(pathname, nowMs = Date.now()) {
      const [, blobId, expires, given, extension] = linkPattern.exec(pathname) ?? []
      if (blobId === undefined || expires === undefined || given === undefined || extension === undefined) return undefined
      if (!isBlobId(blobId) || !timingSafeEqual(Buffer.from(signature(blobId, expires, extension)), Buffer.from(given))) return undefined
      return Number(expires) * 1000 > nowMs ? { blobId } : undefined
    }
  }

  /** 144 bits, so that no character of the text stands for fewer than six: altering any of them alters the signature. */
  function signature(blobId: string, expires: string, extension: string): string {
    const digest = createHmac('sha256', options.signingKey).update(`atelier image link\n${blobId}\n${expires}\n${extension}`).digest()
    return digest.subarray(0, 18).toString('base64url')
  }
}

const linkPattern = /^\/images\/([0-9A-Za-z]{1,64})\/([1-9][0-9]{0,14})-([A-Za-z0-9_-]{24})\.([a-z0-9]{1,8})$/

function parsePublicUrl(text: string): string {
  const url = URL.parse(text)
  if (url === null || !/^https?:$/.test(url.protocol) || url.search !== '' || url.hash !== '') {
    throw new Error('the public URL must begin with http:// or https:// and have no query: links to images begin with it')
  }
  return text.replace(/\/+$/, '')
}
