import { sql } from 'kysely'
import type { Logger } from '../../log.ts'
import type { Database } from '../../storage/database.ts'
import type { HeldClaims } from './held-claims.ts'

/** Finds out which of the tasks that this process works on are to be cancelled. */
export interface CancelRequests {
  onCancel(listener: (taskId: string) => void): () => void
  /** Has one of them looked at, or all of them. */
  look(taskId?: string): void
}

export function createCancelRequests(deps: { database: Database; held: HeldClaims; processId: string; log: Logger }): CancelRequests {
  const { database, held } = deps
  const listeners = new Set<{ listener: (taskId: string) => void }>()
  const suspected = new Set<string>()
  let mayBeAny = false
  let isLooking = false

  return {
    onCancel(listener) {
      const entry = { listener }
      listeners.add(entry)
      return () => listeners.delete(entry)
    },
    look(taskId) {
      if (taskId === undefined) mayBeAny = true
      else if (isOfInterest(taskId)) suspected.add(taskId)
      if (!isLooking && (mayBeAny || suspected.size > 0)) void lookAtAll()
    }
  }

  function isOfInterest(taskId: string): boolean {
    const claim = held.get(taskId)
    return claim !== undefined && !claim.unwritten && !claim.isEnding && !claim.isCancelTold
  }

  async function lookAtAll(): Promise<void> {
    isLooking = true
    try {
      while (mayBeAny || suspected.size > 0) {
        const ids = mayBeAny ? undefined : [...suspected].slice(0, maxIds)
        if (ids) for (const id of ids) suspected.delete(id)
        else suspected.clear()
        mayBeAny = false
        for (const id of await findRequests(ids)) tell(id)
      }
    } catch (err) {
      mayBeAny = true
      setTimeout(lookAgain, retryMs).unref()
      deps.log.warn({ err }, 'the database could not be asked which tasks are to be cancelled')
    } finally {
      isLooking = false
    }
  }

  function lookAgain(): void {
    if (!isLooking && listeners.size > 0) void lookAtAll()
  }

  async function findRequests(ids: readonly string[] | undefined): Promise<string[]> {
    const asked = database.query
      .selectFrom('tasks')
      .select('id')
      .where('state', '=', sql.lit('running'))
      .where('owner', '=', deps.processId)
    const wanted = asked.where('cancel_requested_at_ms', 'is not', null)
    return (await (ids ? wanted.where('id', 'in', ids) : wanted).execute()).map(({ id }) => id)
  }

  function tell(taskId: string): void {
    const claim = held.get(taskId)
    if (!claim || !isOfInterest(taskId)) return
    claim.isCancelTold = true
    for (const { listener } of listeners) listener(taskId)
  }
}

const maxIds = 500
const retryMs = 1_000
