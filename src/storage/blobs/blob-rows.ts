import type { Blob, BlobMeta } from '../blob-store.ts'
import type { Database, Statement } from '../database.ts'
import { createInsertions } from '../insert-rows.ts'
import { type BlobRow, neverMs } from '../schema.ts'
import { inDatabase } from '../storage-failed.ts'

/** The records of blobs. Methods throw `STORAGE_FAILED` where the database fails. */
export interface BlobRows {
  insert(blob: Blob, meta: BlobMeta, nowSeconds: number): Statement
  /** The record of a blob that has not expired. */
  find(id: string): Promise<BlobRow | undefined>
  /** Ends a blob that the organization has: from then on nobody finds it and nothing prolongs it. Returns whether there was one. */
  end(id: string, organizationId: string): Promise<boolean>
  /** Up to some hundreds of expired blobs beyond an id, in the order of their ids; they are ended like this too. */
  endExpired(nowMs: number, after: string): Promise<string[]>
  /** Deletes the records of blobs that were ended. Returns their number. */
  delete(ids: readonly string[]): Promise<number>
  /** Those of up to some hundreds of ids that have no record. */
  missing(ids: readonly string[]): Promise<string[]>
}

/** Ids that one statement is about, at most. */
export const pageSize = 500

export function createBlobRows({ database }: { database: Database }): BlobRows {
  const { query } = database
  const { insert } = createInsertions(query)
  return {
    insert: (blob, meta, nowSeconds) => insert('blobs', toRow(blob, meta, nowSeconds)),
    find(id) {
      return inDatabase(
        query.selectFrom('blobs').selectAll().where('id', '=', id).where('expires_at_ms', '>', Date.now()).executeTakeFirst()
      )
    },
    async end(id, organizationId) {
      const ended = query.updateTable('blobs').set(endedValues).where('id', '=', id).where('organization_id', '=', organizationId)
      const { numUpdatedRows } = await inDatabase(ended.where('expires_at_ms', '>', Date.now()).executeTakeFirstOrThrow())
      return numUpdatedRows > 0n
    },
    async endExpired(nowMs, after) {
      const expired = query.selectFrom('blobs').select('id').where('expires_at_ms', '<=', nowMs).where('id', '>', after)
      const ids = (await inDatabase(expired.orderBy('id').limit(pageSize).execute())).map((row) => row.id)
      if (ids.length === 0) return []
      // What has been prolonged in between stays.
      const ended = query.updateTable('blobs').set(endedValues).where('id', 'in', ids).where('expires_at_ms', '<=', nowMs)
      const rows = await inDatabase(ended.returning('id').execute())
      return rows.map((row) => row.id).sort()
    },
    async delete(ids) {
      if (ids.length === 0) return 0
      const deleted = query.deleteFrom('blobs').where('id', 'in', ids).where('expires_at_ms', '=', 0)
      return Number((await inDatabase(deleted.executeTakeFirstOrThrow())).numDeletedRows)
    },
    async missing(ids) {
      if (ids.length === 0) return []
      const rows = await inDatabase(query.selectFrom('blobs').select('id').where('id', 'in', ids).execute())
      const known = new Set(rows.map((row) => row.id))
      return ids.filter((id) => !known.has(id))
    }
  }
}

/** Without its task, because a task that ends prolongs what it has. */
const endedValues = { expires_at_ms: 0, task_id: null }

export function expiresAtOf(row: BlobRow): number {
  return row.expires_at_ms === neverMs ? Number.POSITIVE_INFINITY : row.expires_at_ms / 1000
}

function toRow(blob: Blob, meta: BlobMeta, nowSeconds: number): BlobRow {
  return {
    id: blob.id,
    organization_id: meta.organizationId,
    media_type: blob.mediaType,
    size_bytes: blob.sizeBytes,
    access: blob.isPublic ? 'public' : 'signed',
    task_id: meta.taskId ?? null,
    created_at_ms: nowSeconds * 1000,
    expires_at_ms: blob.expiresAt === Number.POSITIVE_INFINITY ? neverMs : blob.expiresAt * 1000
  }
}
