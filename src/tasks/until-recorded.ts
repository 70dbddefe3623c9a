import { setTimeout as sleep } from 'node:timers/promises'
import { ClaimLostError } from './task-store.ts'

/**
 * Has something recorded, however long the database is away; `failed` hears of every try that was in vain. Rejects with ClaimLostError, and
 * when the signal aborts.
 */
export async function untilRecorded(write: () => Promise<void>, failed: (error: unknown) => void, signal: AbortSignal): Promise<void> {
  for (let waitMs = 100; ; waitMs = Math.min(waitMs * 2, 5_000)) {
    try {
      return await write()
    } catch (error) {
      if (error instanceof ClaimLostError) throw error
      failed(error)
      await sleep(waitMs, undefined, { signal })
    }
  }
}
