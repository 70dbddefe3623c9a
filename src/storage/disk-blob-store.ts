import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import { mkdir, readdir, rename, stat, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { type ImageBody, imageFromBytes } from '../images/image-body.ts'
import { type Blob, type BlobMeta, type BlobStore, type ByteRange, blobIdLength, isBlobId, type StoredBlob } from './blob-store.ts'
import type { Database } from './database.ts'
import { readImageFile, writeImageFile } from './image-file.ts'
import { syncDirectory } from './private-directory.ts'
import { randomBase62 } from './random-id.ts'
import type { BlobRow } from './schema.ts'
import { ignoreMissing, inDatabase, onDisk, storageFailed } from './storage-failed.ts'

export interface DiskBlobStoreOptions {
  /** Directory for the files, of this store alone; created, closed to others, where it is missing. Must be one file system. */
  directory: string
}

/** Keeps blobs as files. What an earlier process left half written is removed at once; throws where the directory cannot be used. */
export function createDiskBlobStore(options: DiskBlobStoreOptions, deps: { database: Database }): BlobStore {
  const { database } = deps
  const unfinished = join(options.directory, 'unfinished')
  mkdirSync(unfinished, { recursive: true, mode: 0o700 })
  for (const name of readdirSync(unfinished)) rmSync(join(unfinished, name))
  const shards = new Map<string, Promise<void>>()
  let mayHaveStrayFiles = true

  return { put, open: openBlob, delete: deleteBlob, sweep }

  async function put(image: ImageBody, meta: BlobMeta): Promise<Blob> {
    const id = randomBase62(blobIdLength)
    const unfinishedPath = join(unfinished, id)
    try {
      const { sizeBytes, mediaType } = await writeImageFile(unfinishedPath, image)
      await onDisk(publish(id, unfinishedPath))
      const nowSeconds = Math.floor(Date.now() / 1000)
      const blob = { id, mediaType, sizeBytes, expiresAt: nowSeconds + meta.lifetimeSeconds }
      await inDatabase(
        database.commit([{ query: database.query.insertInto('blobs').values(toRow(blob, meta, nowSeconds)), expectRows: 1 }])
      )
      return blob
    } catch (error) {
      await Promise.all([discard(unfinishedPath), discard(pathOf(id))])
      throw error
    }
  }

  /** Gives a finished file its name, in a way that outlasts a power cut. */
  async function publish(id: string, unfinishedPath: string): Promise<void> {
    const shard = shardOf(id)
    try {
      await prepareShard(shard)
      await rename(unfinishedPath, pathOf(id))
      await syncDirectory(shard)
    } catch (error) {
      shards.delete(shard)
      throw error
    }
  }

  function prepareShard(shard: string): Promise<void> {
    const prepared = shards.get(shard) ?? mkdir(shard, { recursive: true, mode: 0o700 }).then(() => syncDirectory(options.directory))
    shards.set(shard, prepared)
    return prepared
  }

  async function discard(path: string): Promise<void> {
    await ignoreMissing(unlink(path)).catch(() => {
      mayHaveStrayFiles = true
    })
  }

  async function openBlob(id: string): Promise<StoredBlob | undefined> {
    if (!isBlobId(id)) return undefined
    const found = database.query.selectFrom('blobs').selectAll().where('id', '=', id).where('expires_at_ms', '>', Date.now())
    const row = await inDatabase(found.executeTakeFirst())
    if (row === undefined) return undefined
    const file = await onDisk(ignoreMissing(stat(pathOf(id))))
    if (file === undefined) return undefined
    if (file.size !== row.size_bytes) throw storageFailed('the stored file does not have the size that was recorded')
    return toStoredBlob(row, pathOf(id))
  }

  async function deleteBlob(id: string): Promise<boolean> {
    if (!isBlobId(id)) return false
    // The row goes last: a crash in between leaves a row that leads nowhere, and a sweep finds it when it expires.
    await onDisk(ignoreMissing(unlink(pathOf(id))))
    return (await deleteRows([id])) > 0
  }

  async function sweep(nowMs: number): Promise<number> {
    let deleted = 0
    const failures: unknown[] = []
    for (let ids = await expiredIds(nowMs, ''); ids.length > 0; ids = await expiredIds(nowMs, ids.at(-1) ?? '')) {
      const unlinked = await Promise.allSettled(ids.map((id) => onDisk(ignoreMissing(unlink(pathOf(id))))))
      deleted += await deleteRows(ids.filter((_, index) => unlinked[index]?.status === 'fulfilled'))
      failures.push(...unlinked.flatMap((result) => (result.status === 'rejected' ? [result.reason] : [])))
    }
    if (mayHaveStrayFiles) mayHaveStrayFiles = await removeStrayFiles(nowMs)
    // One file that cannot be removed must not keep the others.
    if (failures.length > 0) throw failures[0]
    return deleted
  }

  async function expiredIds(nowMs: number, after: string): Promise<string[]> {
    const expired = database.query.selectFrom('blobs').select('id').where('expires_at_ms', '<=', nowMs).where('id', '>', after)
    return (await inDatabase(expired.orderBy('id').limit(pageSize).execute())).map((row) => row.id)
  }

  async function deleteRows(ids: readonly string[]): Promise<number> {
    if (ids.length === 0) return 0
    const { numDeletedRows } = await inDatabase(database.query.deleteFrom('blobs').where('id', 'in', ids).executeTakeFirstOrThrow())
    return Number(numDeletedRows)
  }

  /** Removes files that no row leads to. Returns whether some are too young to tell them from images that are just being stored. */
  async function removeStrayFiles(nowMs: number): Promise<boolean> {
    let foundYoung = false
    for (const shard of (await onDisk(readdir(options.directory))).filter((name) => name.length === shardLength)) {
      const ids = (await onDisk(readdir(join(options.directory, shard)))).filter(isBlobId)
      for (let at = 0; at < ids.length; at += pageSize) {
        for (const id of await withoutRow(ids.slice(at, at + pageSize))) {
          const file = await onDisk(ignoreMissing(stat(pathOf(id))))
          if (file !== undefined && file.mtimeMs > nowMs - strayAgeMs) foundYoung = true
          else await onDisk(ignoreMissing(unlink(pathOf(id))))
        }
      }
    }
    return foundYoung
  }

  async function withoutRow(ids: readonly string[]): Promise<string[]> {
    const rows = await inDatabase(database.query.selectFrom('blobs').select('id').where('id', 'in', ids).execute())
    const known = new Set(rows.map((row) => row.id))
    return ids.filter((id) => !known.has(id))
  }

  function shardOf(id: string): string {
    return join(options.directory, id.slice(0, shardLength))
  }

  function pathOf(id: string): string {
    return join(shardOf(id), id)
  }
}

const shardLength = 2
const pageSize = 500
/** Storing an image takes far less; a file without a row that is older belongs to nobody. */
const strayAgeMs = 3_600_000

function toRow(blob: Blob, meta: BlobMeta, nowSeconds: number): BlobRow {
  return {
    id: blob.id,
    organization_id: meta.organizationId,
    media_type: blob.mediaType,
    size_bytes: blob.sizeBytes,
    created_at_ms: nowSeconds * 1000,
    expires_at_ms: blob.expiresAt * 1000
  }
}

function toStoredBlob(row: BlobRow, path: string): StoredBlob {
  const read = (range?: ByteRange) => readImageFile(path, row.size_bytes, range)
  return {
    id: row.id,
    organizationId: row.organization_id,
    mediaType: row.media_type,
    sizeBytes: row.size_bytes,
    expiresAt: row.expires_at_ms / 1000,
    read,
    open: () => imageFromBytes(read(), row.media_type)
  }
}
