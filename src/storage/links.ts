import { createHmac, timingSafeEqual } from 'node:crypto'
import { fileExtension } from '../images/media-type.ts'
import { type Blob, isBlobId } from './blob-store.ts'
import { type KeySource, prepareKeys } from './derived-keys.ts'
import { neverMs } from './schema.ts'

/** URLs that serve a blob to whoever has them: signed ones until they expire, permanent ones as long as the blob is kept. */
export interface Links {
  /** An absolute URL that ends in the image's file extension. It works for its lifetime, but no longer than the blob. */
  sign(blob: Blob, options?: SignOptions): string
  /** The same without signature and without end, for a public blob. Throws RangeError for any other. */
  permanent(blob: Blob): string
  /**
   * What a link leads to, or undefined where it was altered or has expired. Takes the path below the path of `publicUrl`: for
   * `https://example.com/images-api/images/…` under the public URL `https://example.com/images-api` that is `/images/…`.
   */
  verify(pathname: string, nowMs?: number): Link | undefined
}

export interface SignOptions {
  /** Infinity: as long as the blob is kept. Unset: the configured lifetime. */
  lifetimeSeconds?: number
  /** Unset: the present. */
  nowMs?: number
}

export interface Link {
  blobId: string
  /** An unsigned link opens a blob only if that is public and has this extension. */
  isSigned: boolean
  /** Without a dot. */
  extension: string
  /** Unix seconds; Infinity for an unsigned one. */
  expiresAt: number
}

export interface LinksOptions {
  /** Where callers reach this server: an origin, and a path where a proxy adds one. */
  publicUrl: string
  /** The first one signs; the links of all of them work. */
  keys: KeySource
  lifetimeSeconds: number
}

/** Throws where the public URL is none, or the lifetime is not a positive whole number. */
export function createLinks(options: LinksOptions): Links {
  const base = parsePublicUrl(options.publicUrl)
  const keys = prepareKeys(options.keys, ([current, ...previous]) => [current.key, ...previous.map(({ key }) => key)] as const)
  if (!Number.isSafeInteger(options.lifetimeSeconds) || options.lifetimeSeconds < 1) {
    throw new RangeError('the lifetime of links must be a positive whole number of seconds')
  }

  return {
    sign(blob, { lifetimeSeconds = options.lifetimeSeconds, nowMs = Date.now() } = {}) {
      const expires = Math.floor(Math.min(nowMs / 1000 + lifetimeSeconds, blob.expiresAt, neverMs / 1000))
      const extension = fileExtension(blob.mediaType)
      return `${base}/images/${blob.id}/${expires}-${signature(keys()[0], blob.id, String(expires), extension)}.${extension}`
    },
    permanent(blob) {
      if (!blob.isPublic) throw new RangeError('an image that is not public has no permanent link')
      return `${base}/images/${blob.id}.${fileExtension(blob.mediaType)}`
    },
    verify: (pathname, nowMs = Date.now()) => verifySigned(pathname, nowMs) ?? readUnsigned(pathname)
  }

  function verifySigned(pathname: string, nowMs: number): Link | undefined {
    const [, blobId = '', expires = '', given = '', extension = ''] = signedPattern.exec(pathname) ?? []
    if (!isBlobId(blobId)) return undefined
    const isOurs = keys().some((key) => timingSafeEqual(Buffer.from(signature(key, blobId, expires, extension)), Buffer.from(given)))
    const expiresAt = Number(expires)
    return isOurs && expiresAt * 1000 > nowMs ? { blobId, isSigned: true, extension, expiresAt } : undefined
  }
}

const signedPattern = /^\/images\/([0-9A-Za-z]{1,64})\/([1-9][0-9]{0,14})-([A-Za-z0-9_-]{24})\.([a-z0-9]{1,8})$/
const unsignedPattern = /^\/images\/([0-9A-Za-z]{1,64})\.([a-z0-9]{1,8})$/

function readUnsigned(pathname: string): Link | undefined {
  const [, blobId = '', extension = ''] = unsignedPattern.exec(pathname) ?? []
  return isBlobId(blobId) ? { blobId, isSigned: false, extension, expiresAt: Number.POSITIVE_INFINITY } : undefined
}

/** 144 bits, so that no character of the text stands for fewer than six: altering any of them alters the signature. */
function signature(key: Uint8Array, blobId: string, expires: string, extension: string): string {
  const digest = createHmac('sha256', key).update(`atelier image link\n${blobId}\n${expires}\n${extension}`).digest()
  return digest.subarray(0, 18).toString('base64url')
}

function parsePublicUrl(text: string): string {
  const url = URL.parse(text)
  if (url === null || !/^https?:$/.test(url.protocol) || url.search !== '' || url.hash !== '') {
    throw new Error('the public URL must begin with http:// or https:// and have no query: links to images begin with it')
  }
  return text.replace(/\/+$/, '')
}
