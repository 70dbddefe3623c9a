import { closeSync, fsync, mkdirSync, openSync, readdirSync, rmSync } from 'node:fs'
import { mkdir, readdir, rename, stat, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type BlobStore, isBlobId } from '../blob-store.ts'
import type { Database } from '../database.ts'
import { syncDirectory } from '../private-directory.ts'
import { ignoreMissing, onDisk } from '../storage-failed.ts'
import type { BlobObjects, ListedObject } from './blob-objects.ts'
import { pageSize } from './blob-rows.ts'
import { readImageFile } from './image-file.ts'
import { createObjectBlobStore } from './object-blob-store.ts'

export interface DiskBlobStoreOptions {
  /** Directory for the files, of this store alone; created, closed to others, where it is missing. Must be one file system. */
  directory: string
}

/** Keeps blobs as files. What an earlier process left half written is removed at once; throws where the directory cannot be used. */
export function createDiskBlobStore(options: DiskBlobStoreOptions, deps: { database: Database }): BlobStore {
  const unfinished = join(options.directory, 'unfinished')
  mkdirSync(unfinished, { recursive: true, mode: 0o700 })
  for (const name of readdirSync(unfinished)) rmSync(join(unfinished, name))
  return createObjectBlobStore({ directory: unfinished }, { database: deps.database, objects: createDiskObjects(options.directory) })
}

function createDiskObjects(directory: string): BlobObjects {
  const shards = new Map<string, Promise<void>>()

  return {
    takesNames: true,
    wantsHash: false,
    put: (id, file, path) => onDisk(publish(id, file.sync, path)),
    sizeOf: async (id) => (await onDisk(ignoreMissing(stat(pathOf(id)))))?.size,
    read: (id, sizeBytes, range) => readImageFile(pathOf(id), sizeBytes, range),
    remove: async (id) => onDisk(ignoreMissing(unlink(pathOf(id)))),
    async *list() {
      for (const name of (await onDisk(readdir(directory))).filter((name) => name.length === shardLength)) {
        yield* listShard(join(directory, name))
      }
    }
  }

  /**
   * Gives a finished file its name, in a way that outlasts a power cut. Until its record is committed nobody looks for it there, so that name
   * and content may reach the disk together.
   */
  async function publish(id: string, sync: () => Promise<void>, path: string): Promise<void> {
    const shard = shardOf(id)
    try {
      await prepareShard(shard)
      await rename(path, pathOf(id))
      await Promise.all([sync(), syncShard(shard)])
    } catch (error) {
      shards.delete(shard)
      throw error
    }
  }

  function prepareShard(shard: string): Promise<void> {
    const prepared = shards.get(shard) ?? mkdir(shard, { recursive: true, mode: 0o700 }).then(() => syncDirectory(directory))
    shards.set(shard, prepared)
    return prepared
  }

  function shardOf(id: string): string {
    return join(directory, id.at(-randomDigits) ?? '')
  }

  function pathOf(id: string): string {
    return join(shardOf(id), id)
  }
}

/** Few enough directories that they soon exist: making one costs more than storing an image. */
const shardLength = 1
/** How many of the last characters of an id are random; those before them would lead into the same directory for years. */
const randomDigits = 22

const syncDescriptor = promisify(fsync)

/** As `syncDirectory` does, without round trips to another thread for what never waits for the disk. */
async function syncShard(shard: string): Promise<void> {
  const descriptor = openSync(shard, 'r')
  try {
    await syncDescriptor(descriptor)
  } finally {
    closeSync(descriptor)
  }
}

async function* listShard(shard: string): AsyncGenerator<readonly ListedObject[], void, undefined> {
  const ids = (await onDisk(readdir(shard))).filter(isBlobId)
  for (let at = 0; at < ids.length; at += pageSize) {
    const listed: ListedObject[] = []
    for (const id of ids.slice(at, at + pageSize)) {
      const file = await onDisk(ignoreMissing(stat(join(shard, id))))
      if (file) listed.push({ id, modifiedMs: file.mtimeMs })
    }
    yield listed
  }
}
