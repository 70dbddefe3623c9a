import type { Logger } from '../../log.ts'
import type { TaskRow } from '../../storage/schema.ts'
import type { KeptTask } from '../task-store.ts'
import { isFinal } from './end-records.ts'

/** Those who wait for tasks to change: any number of them, at the cost of a few statements each time that something has changed. */
export interface TaskWatch extends Disposable {
  /** Resolves with the task when it is final or beyond the revision; undefined where it does not exist, or when the signal aborts first. */
  wait(id: string, organizationId: string, until: { afterRevision?: number; signal: AbortSignal }): Promise<KeptTask | undefined>
  /** Has those who wait for one task looked after, or for any. */
  look(taskId?: string): void
}

/** How far a task is. */
export type TaskStand = Pick<TaskRow, 'id' | 'organization_id' | 'state' | 'revision'>

export interface TaskWatchDeps {
  /** How far those of the tasks are that exist. */
  standOf(ids: readonly string[]): Promise<TaskStand[]>
  read(id: string): Promise<KeptTask | undefined>
  log: Logger
}

interface Waiter {
  organizationId: string
  afterRevision: number
  /** Whether it has been looked after at all: until then it is told of a database that fails. */
  isNew: boolean
  resolve(task: Promise<KeptTask | undefined> | undefined): void
  reject(error: unknown): void
}

export function createTaskWatch(deps: TaskWatchDeps): TaskWatch {
  const waiters = new Map<string, Set<Waiter>>()
  const suspected = new Set<string>()
  let isLooking = false
  let retry: NodeJS.Timeout | undefined

  return {
    wait(id, organizationId, { afterRevision = Number.POSITIVE_INFINITY, signal }) {
      if (signal.aborted) return Promise.resolve(undefined)
      return new Promise((resolve, reject) => {
        const onAbort = () => waiter.resolve(undefined)
        const leave = () => {
          signal.removeEventListener('abort', onAbort)
          const others = waiters.get(id)
          if (others?.delete(waiter) && others.size === 0) waiters.delete(id)
        }
        const waiter: Waiter = {
          organizationId,
          afterRevision,
          isNew: true,
          resolve: (task) => {
            leave()
            resolve(task)
          },
          reject: (error) => {
            leave()
            reject(error)
          }
        }
        signal.addEventListener('abort', onAbort, { once: true })
        const others = waiters.get(id)
        if (others) others.add(waiter)
        else waiters.set(id, new Set([waiter]))
        // Only now: a change that comes after the look is announced to somebody who is there.
        look(id)
      })
    },
    look,
    [Symbol.dispose]: () => clearTimeout(retry)
  }

  function look(taskId?: string): void {
    if (taskId === undefined) for (const id of waiters.keys()) suspected.add(id)
    else if (waiters.has(taskId)) suspected.add(taskId)
    if (isLooking || suspected.size === 0) return
    isLooking = true
    // Whatever is asked in the same turn of the loop is asked together.
    setImmediate(lookAtAll)
  }

  async function lookAtAll(): Promise<void> {
    while (suspected.size > 0) {
      const ids = [...suspected].slice(0, maxIds)
      for (const id of ids) suspected.delete(id)
      const seen = ids.flatMap((id) => [...(waiters.get(id) ?? [])].map((waiter) => ({ id, waiter })))
      try {
        const stands = new Map((await deps.standOf(ids)).map((stand) => [stand.id, stand]))
        const reads = new Map<string, Promise<KeptTask | undefined>>()
        for (const { id, waiter } of seen) {
          waiter.isNew = false
          const stand = stands.get(id)
          if (stand?.organization_id !== waiter.organizationId) waiter.resolve(undefined)
          else if (isFinal(stand.state) || stand.revision > waiter.afterRevision) waiter.resolve(readOnce(id, reads))
        }
      } catch (err) {
        for (const { waiter } of seen) if (waiter.isNew) waiter.reject(err)
        deps.log.warn({ err }, 'the database could not be asked about tasks that are waited for')
        retry ??= setTimeout(() => {
          retry = undefined
          look()
        }, retryMs).unref()
      }
    }
    isLooking = false
  }

  function readOnce(id: string, reads: Map<string, Promise<KeptTask | undefined>>): Promise<KeptTask | undefined> {
    const read = reads.get(id) ?? deps.read(id)
    reads.set(id, read)
    return read
  }
}

const maxIds = 500
const retryMs = 1_000
