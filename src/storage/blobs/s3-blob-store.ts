import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { type BlobStore, isBlobId } from '../blob-store.ts'
import type { Database } from '../database.ts'
import { onDisk } from '../storage-failed.ts'
import type { BlobObjects } from './blob-objects.ts'
import type { WholeFile } from './incoming-file.ts'
import { createObjectBlobStore } from './object-blob-store.ts'
import { createS3Client, type S3Client, type S3Options } from './s3-client.ts'

export interface S3BlobStoreOptions extends S3Options {
  /** What the keys of all objects begin with: nothing, or names that each end in a slash. */
  prefix: string
  /** Directory for files on the way to the bucket, of such stores alone; created, closed to others, where it is missing. */
  directory: string
}

/**
 * Keeps blobs in a bucket, for any number of processes. An image is written to a local file first, which has no name and is gone with the
 * process. Throws where the directory or the prefix cannot be used; whether the bucket can be reached shows later. Disposing closes its
 * connections.
 */
export function createS3BlobStore(options: S3BlobStoreOptions, deps: { database: Database }): BlobStore & AsyncDisposable {
  const { prefix, directory } = options
  if (!/^(?:(?!\.{1,2}\/)[A-Za-z0-9._-]+\/)*$/.test(prefix)) {
    throw new Error(`the prefix ${JSON.stringify(prefix)} must consist of names that each end in a slash`)
  }
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  // Only a crash in the moment between a file's creation and the loss of its name leaves one.
  for (const name of readdirSync(directory)) rmSync(join(directory, name), { force: true })
  const client = createS3Client(options)
  const store = createObjectBlobStore({ directory }, { database: deps.database, objects: createS3Objects(`${prefix}images/`, client) })
  return { ...store, [Symbol.asyncDispose]: () => client[Symbol.asyncDispose]() }
}

function createS3Objects(prefix: string, client: S3Client): BlobObjects {
  const keyOf = (id: string) => `${prefix}${id.slice(0, 2)}/${id}`
  return {
    takesNames: false,
    wantsHash: !client.isEncrypted,
    put(id, file) {
      const { sizeBytes, mediaType, sha256 } = file
      return client.put(keyOf(id), { sizeBytes, mediaType, sha256, read: () => chunksOf(file) })
    },
    sizeOf: (id) => client.sizeOf(keyOf(id)),
    read: (id, _sizeBytes, range) => client.get(keyOf(id), range),
    remove: (id) => client.delete(keyOf(id)),
    async *list() {
      for await (const objects of client.list(prefix)) {
        yield objects.flatMap(({ key, modifiedMs }) => {
          const id = key.slice(key.lastIndexOf('/') + 1)
          return isBlobId(id) && key === keyOf(id) ? [{ id, modifiedMs }] : []
        })
      }
    }
  }
}

const chunkBytes = 256 * 1024

async function* chunksOf({ sizeBytes, readAt }: WholeFile): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < sizeBytes; at += chunkBytes) yield await onDisk(readAt(at, Math.min(chunkBytes, sizeBytes - at)))
}
