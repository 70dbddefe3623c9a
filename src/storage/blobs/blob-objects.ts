import type { ByteRange } from '../blob-store.ts'
import type { WholeFile } from './incoming-file.ts'

/** Where the content of blobs is kept, each under its id. Methods throw `STORAGE_FAILED` where the disk or the service fails. */
export interface BlobObjects {
  /** Whether a file on the way needs its name, which `put` then takes from it. */
  readonly takesNames: boolean
  /** Whether `put` wants to know the SHA-256 of the content. */
  readonly wantsHash: boolean
  /** Keeps a file, found at `path` while it has its name. When the promise resolves it is whole and outlasts a power cut; nothing half can be read. */
  put(id: string, file: WholeFile, path: string): Promise<void>
  /** The size in bytes; undefined where there is no such object. */
  sizeOf(id: string): Promise<number | undefined>
  /** The content, or a range that is within it, from an object of that size. */
  read(id: string, sizeBytes: number, range: ByteRange): AsyncIterable<Uint8Array>
  /** Removes an object; one that is not there is no error. */
  remove(id: string): Promise<void>
  /** Every object, in lists of at most some hundreds. */
  list(): AsyncIterable<readonly ListedObject[]>
}

export interface ListedObject {
  id: string
  modifiedMs: number
}
