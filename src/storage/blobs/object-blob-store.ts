import { join } from 'node:path'
import { type ImageBody, imageFromBytes } from '../../images/image-body.ts'
import { type BlobMeta, type BlobStore, type ByteRange, isBlobId, type PendingBlob, type StoredBlob } from '../blob-store.ts'
import type { Database } from '../database.ts'
import { orderedId } from '../random-id.ts'
import type { BlobRow } from '../schema.ts'
import { afterPayment, inDatabase, storageFailed } from '../storage-failed.ts'
import type { BlobObjects } from './blob-objects.ts'
import { createBlobRows, expiresAtOf } from './blob-rows.ts'
import { createBlobSweep } from './blob-sweep.ts'
import { checkRange } from './image-file.ts'
import { type IncomingFile, type PlacedFile, takeIntoFile } from './incoming-file.ts'
import { createStepBuffers } from './step-buffers.ts'

export interface ObjectBlobStoreOptions {
  /** Directory for files on the way. */
  directory: string
}

/** A blob store with its records in the database and the content wherever `objects` keeps it. */
export function createObjectBlobStore(options: ObjectBlobStoreOptions, deps: { database: Database; objects: BlobObjects }): BlobStore {
  const { database, objects } = deps
  const rows = createBlobRows({ database })
  const buffers = createStepBuffers()
  const sweeper = createBlobSweep({ rows, objects })

  return {
    async put(image, meta) {
      const { incoming, pending } = begin(image, meta)
      incoming.leave()
      const { blob, row } = await pending
      try {
        await inDatabase(database.commit([row]))
        return blob
      } catch (error) {
        await sweeper.remove(blob.id)
        throw error
      }
    },
    take(image, meta) {
      const { incoming, pending, id } = begin(image, meta)
      const stored = pending.catch((error) => {
        throw afterPayment(error)
      })
      stored.catch(() => undefined)
      return {
        body: incoming.body,
        stored,
        async discard() {
          incoming.leave()
          incoming.stop(new Error('the image was discarded while it was being stored'))
          if (await stored.catch(() => undefined)) await sweeper.remove(id)
        }
      }
    },
    async open(id) {
      if (!isBlobId(id)) return undefined
      const row = await rows.find(id)
      if (!row) return undefined
      const sizeBytes = await objects.sizeOf(id)
      if (sizeBytes === undefined) return undefined
      if (sizeBytes !== row.size_bytes) throw storageFailed('the stored file does not have the size that was recorded')
      return toStoredBlob(row)
    },
    async delete(id, organizationId) {
      if (!isBlobId(id) || !(await rows.end(id, organizationId))) return false
      // It is gone for everybody; a sweep does what cannot be done now.
      await sweeper.clear([id]).catch(() => undefined)
      return true
    },
    sweep: sweeper.sweep
  }

  function begin(image: ImageBody, meta: BlobMeta): { id: string; incoming: IncomingFile; pending: Promise<PendingBlob> } {
    const id = orderedId()
    const path = join(options.directory, id)
    const incoming = takeIntoFile(
      image,
      {
        path,
        isNameless: !objects.takesNames,
        isHashed: objects.wantsHash,
        place: (file) => objects.put(id, file, path),
        displace: () => sweeper.remove(id),
        openPlaced: (sizeBytes) => read(id, sizeBytes)
      },
      { buffers }
    )
    return { id, incoming, pending: incoming.placed.then((file) => toPending({ id, ...file }, meta)) }
  }

  function toPending(file: PlacedFile & { id: string }, meta: BlobMeta): PendingBlob {
    const nowSeconds = Math.floor(Date.now() / 1000)
    const { id, sizeBytes, mediaType, pixels } = file
    const blob = { id, mediaType, sizeBytes, expiresAt: nowSeconds + meta.lifetimeSeconds, isPublic: meta.isPublic ?? false }
    return { blob, row: rows.insert(blob, meta, nowSeconds), ...(pixels !== undefined && { pixels }) }
  }

  function toStoredBlob(row: BlobRow): StoredBlob {
    const { id, media_type: mediaType, size_bytes: sizeBytes } = row
    return {
      id,
      organizationId: row.organization_id,
      mediaType,
      sizeBytes,
      expiresAt: expiresAtOf(row),
      isPublic: row.access === 'public',
      read: (range) => read(id, sizeBytes, range),
      open: () => imageFromBytes(read(id, sizeBytes), mediaType)
    }
  }

  async function* read(id: string, sizeBytes: number, range?: ByteRange): AsyncGenerator<Uint8Array, void, undefined> {
    yield* objects.read(id, sizeBytes, checkRange(sizeBytes, range))
  }
}
