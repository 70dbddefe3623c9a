import type { ImageBody, StoredImage } from '../images/image-body.ts'

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
  /** Undefined for an id that is unknown, deleted, expired or no id at all. */
  open(id: string): Promise<StoredBlob | undefined>
  /** Whether there was such a blob. From then on nobody can open it; readings that have begun may end. */
  delete(id: string): Promise<boolean>
  /** Deletes the blobs that have expired, and what a crash left behind. Returns the number of blobs. */
  sweep(nowMs: number): Promise<number>
}

export interface BlobMeta {
  organizationId: string
  lifetimeSeconds: number
}

/** A stored image and the URL-safe name under which it is found. */
export interface Blob {
  /** 22 letters and digits, 131 random bits: whoever knows it was given it. */
  id: string
  /** As recognised in the content; as stated by the source where it is an image type of a kind that is not recognised. */
  mediaType: string
  sizeBytes: number
  /** Unix seconds. */
  expiresAt: number
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

export const blobIdLength = 22

/** Whether the text can be an id; everything else must not get near a file name. */
export function isBlobId(text: string): boolean {
  return /^[0-9A-Za-z]{22}$/.test(text)
}
