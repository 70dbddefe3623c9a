import type { ImageBody, StoredImage } from '../images/image-body.ts'
import type { Statement } from './database.ts'

/**
 * Keeps images under unguessable ids until they expire. A failing disk or database is `STORAGE_FAILED`; what goes wrong while the
 * source of an image is read passes through as it is.
 */
export interface BlobStore {
  /**
   * Stores an image; when the promise resolves it is on the disk, when it rejects nothing of it is kept. Throws `NotAnImageError` where
   * the content is no image.
   */
  put(image: ImageBody, meta: BlobMeta): Promise<Blob>
  /**
   * Takes an image in as fast as its source gives it, whether or not it is read meanwhile. It can be opened by its id only after the row of
   * `stored` has been committed.
   */
  take(image: ImageBody, meta: BlobMeta): IncomingBlob
  /** Undefined for an id that is unknown, deleted, expired or no id at all. */
  open(id: string): Promise<StoredBlob | undefined>
  /** Whether the organization had such a blob. From then on nobody can open it; readings that have begun may end. */
  delete(id: string, organizationId: string): Promise<boolean>
  /** Deletes the blobs that have expired, and what a crash left behind. Returns the number of blobs. */
  sweep(nowMs: number): Promise<number>
}

export interface BlobMeta {
  /** Whose it is: an organization's, or that of a caller who shares nothing with the others there. */
  organizationId: string
  /** Infinity: until it is deleted. */
  lifetimeSeconds: number
  /** Whether its id alone opens it. Unset: only a signed link does. */
  isPublic?: boolean
  /** The task that it belongs to. */
  taskId?: string
}

/** An image that is being stored. It needs no closing. What is neither recorded nor discarded is swept away when a process has started anew. */
export interface IncomingBlob {
  /**
   * The image, which its reader follows while it grows, in the source's own form. It meets the error of the source. Where storing fails the
   * reader gets the image all the same, as long as the rest fits into memory; reading it is never slower than its source because it is stored.
   */
  readonly body: ImageBody
  /**
   * Resolves when the image is where it will stay. Rejects, and nothing of it is kept, with STORAGE_FAILED with the outcome `unknown`,
   * NotAnImageError, a SyntaxError for malformed base64, or the error of the source. May be left unawaited.
   */
  readonly stored: Promise<PendingBlob>
  /**
   * Removes what was stored, or stops storing it, so that `stored` rejects. Only for an image whose row is not committed and will not be.
   * A reading that has begun may end; where none has, the source is released. Never rejects.
   */
  discard(): Promise<void>
}

/** A blob whose file is in its place and whose row is not yet. */
export interface PendingBlob {
  blob: Blob
  /** Width by height, where its first bytes say so. */
  pixels?: number
  /** Records it. To be committed with whatever makes it needed. */
  row: Statement
}

/** A stored image and the URL-safe name under which it is found. */
export interface Blob {
  /** 30 letters and digits, of which 22, 131 bits, are random: whoever knows it was given it. */
  id: string
  /** As recognised in the content; as stated by the source where it is an image type of a kind that is not recognised. */
  mediaType: string
  sizeBytes: number
  /** Unix seconds; Infinity for what lasts until it is deleted. */
  expiresAt: number
  /** Whether its id alone opens it. */
  isPublic: boolean
}

export interface StoredBlob extends Blob, StoredImage {
  readonly mediaType: string
  readonly sizeBytes: number
  readonly organizationId: string
  /** The content from byte `start` up to and including byte `end`, as HTTP counts; all of it unless told. May be called any number of times. */
  read(range?: ByteRange): AsyncIterable<Uint8Array>
}

export interface ByteRange {
  start: number
  end: number
}

/** What was to be stored is no image. */
export class NotAnImageError extends Error {
  /** The media type that the source stated; empty where it did not. */
  readonly statedMediaType: string

  constructor(statedMediaType: string) {
    super(statedMediaType === '' ? 'the content is no image' : `the content is no image, although it was stated to be ${statedMediaType}`)
    this.name = 'NotAnImageError'
    this.statedMediaType = statedMediaType
  }
}

/** Whether the text can be an id; everything else must not get near a file name. Older ones do not begin with their time. */
export function isBlobId(text: string): boolean {
  return /^(?:[0-9A-Za-z]{8})?[0-9A-Za-z]{22}$/.test(text)
}
