import type { BlobObjects } from './blob-objects.ts'
import { type BlobRows, pageSize } from './blob-rows.ts'

/** Removes the content of blobs, and what was left behind of it; any number of processes may do so at the same time. */
export interface BlobSweep {
  /** Deletes the blobs that have expired, and objects without a record that are too old to be just being stored. Returns the number of blobs. */
  sweep(nowMs: number): Promise<number>
  /** Removes the content and then the records of blobs that were ended; a later sweep does what fails. Returns the number of records. */
  clear(ids: readonly string[]): Promise<{ deleted: number; failures: unknown[] }>
  /** Removes an object that has no record; a later sweep does where that fails. Never rejects. */
  remove(id: string): Promise<void>
}

export function createBlobSweep({ rows, objects }: { rows: BlobRows; objects: BlobObjects }): BlobSweep {
  /** Objects that had no record, and when they were written. */
  const strays = new Map<string, number>()
  let isListed = false

  return { sweep, clear, remove }

  async function sweep(nowMs: number): Promise<number> {
    let deleted = 0
    const failures: unknown[] = []
    for (let ids = await rows.endExpired(nowMs, ''); ids.length > 0; ids = await rows.endExpired(nowMs, ids.at(-1) ?? '')) {
      const cleared = await clear(ids)
      deleted += cleared.deleted
      failures.push(...cleared.failures)
    }
    if (!isListed) await findStrays()
    isListed = true
    await removeStrays(nowMs)
    // One object that cannot be removed must not keep the others.
    if (failures.length > 0) throw failures[0]
    return deleted
  }

  async function clear(ids: readonly string[]): Promise<{ deleted: number; failures: unknown[] }> {
    const failures = new Map<string, unknown>()
    await inParallel(ids, async (id) => {
      await objects.remove(id).catch((error) => failures.set(id, error))
    })
    // The record goes last: it is what a later sweep finds the object by.
    const deleted = await rows.delete(ids.filter((id) => !failures.has(id)))
    return { deleted, failures: [...failures.values()] }
  }

  async function remove(id: string): Promise<void> {
    await objects.remove(id).catch(() => strays.set(id, 0))
  }

  /** Only a crash leaves objects of which nobody here knows, so that listing them once is enough. */
  async function findStrays(): Promise<void> {
    for await (const objectsOfPage of objects.list()) {
      const modified = new Map(objectsOfPage.map(({ id, modifiedMs }) => [id, modifiedMs]))
      for (const id of await missingOf([...modified.keys()])) strays.set(id, modified.get(id) ?? 0)
    }
  }

  async function removeStrays(nowMs: number): Promise<void> {
    const old = [...strays].filter(([, modifiedMs]) => modifiedMs <= nowMs - strayAgeMs).map(([id]) => id)
    const stillMissing = await missingOf(old)
    for (const id of old) strays.delete(id)
    await inParallel(stillMissing, remove)
  }

  async function missingOf(ids: readonly string[]): Promise<string[]> {
    const missing: string[] = []
    for (let at = 0; at < ids.length; at += pageSize) missing.push(...(await rows.missing(ids.slice(at, at + pageSize))))
    return missing
  }
}

/** Longer than any attempt at making images lasts, whose end is when the last of its records are written. */
const strayAgeMs = 7_200_000
const parallel = 16

async function inParallel(ids: readonly string[], work: (id: string) => Promise<void>): Promise<void> {
  const queue = ids.values()
  await Promise.all(
    Array.from({ length: parallel }, async () => {
      for (const id of queue) await work(id)
    })
  )
}
