import { sql } from 'kysely'
import type { Caller } from '../../call.ts'
import type { Logger } from '../../log.ts'
import type { Database, Statement } from '../../storage/database.ts'
import { type WithParameters, writeOnce } from '../../storage/write-once.ts'
import { unavailable } from './database-unavailable.ts'
import { expiryMs } from './task-rows.ts'

/** Notes what became of answers, many in one commit, while nobody waits for that. Disposing it writes what is left. */
export interface AnswerNotes extends AsyncDisposable {
  delivered(taskId: string, keepSeconds: number): void
  lost(taskId: string): void
  rejoin(caller: Caller, fingerprints: readonly string[]): Promise<string | undefined>
}

export function createAnswerNotes(deps: { database: Database; log: Logger }): AnswerNotes {
  const { database, log } = deps
  const { query } = database
  /** By the number of tasks. */
  const written = new Map<number, ReturnType<typeof writeShortenings>>()
  const delivered = createBatch<{ id: string; keepSeconds: number }>(
    200,
    (notes) => {
      const nowMs = Date.now()
      const byTime = Map.groupBy(notes, ({ keepSeconds }) => keepSeconds)
      const statements = [...byTime].flatMap(([keepSeconds, same]) => {
        const ids = same.map(({ id }) => id)
        return inSteps(ids).flatMap((some) => shorten(some, expiryMs(nowMs, keepSeconds)))
      })
      return database.commit(statements)
    },
    log
  )
  // A client that sends again does so after half a second at the earliest.
  const lost = createBatch<string>(20, (ids) => database.commit([markLost(ids)]), log)

  return {
    delivered: (id, keepSeconds) => delivered.add({ id, keepSeconds }),
    lost: (id) => lost.add(id),
    async rejoin({ organizationId, apiKeyId }, fingerprints) {
      if (fingerprints.length === 0) return undefined
      // It may be the one of which the note could not be written.
      if (!(await lost.flush())) throw unavailable()
      for (;;) {
        const nowMs = Date.now()
        const found = await query
          .selectFrom('tasks')
          .select('id')
          .where('api_key_id', '=', apiKeyId)
          .where('fingerprint', 'in', fingerprints)
          .where('organization_id', '=', organizationId)
          .where('lost_at_ms', '>', nowMs - rejoinWindowMs)
          .where('rejoined', '=', sql.lit(0))
          .where('expires_at_ms', '>', nowMs)
          .orderBy('lost_at_ms')
          .executeTakeFirst()
        if (!found) return undefined
        // Waits for whoever writes the task at the moment: to pass it by would be to buy it again.
        const taken = query.updateTable('tasks').set({ rejoined: 1 }).where('id', '=', found.id).where('rejoined', '=', 0)
        if ((await taken.executeTakeFirst()).numUpdatedRows > 0n) return found.id
      }
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([delivered.flush(), lost.flush()])
    }
  }

  /** The images go with their task; those that the caller was given links to for longer have rows that say so, or an end of their own. */
  function shorten(ids: readonly string[], expiresAtMs: number): Statement[] {
    const { tasks, images } = shortenings(ids.length)
    return [
      { query: tasks([expiresAtMs, ...ids, expiresAtMs, expiresAtMs]) },
      { query: images([expiresAtMs, ...ids, expiresAtMs, expiresAtMs]) }
    ]
  }

  function shortenings(count: number): ReturnType<typeof writeShortenings> {
    const known = written.get(count) ?? writeShortenings(count)
    written.set(count, known)
    return known
  }

  function writeShortenings(count: number): { tasks: WithParameters; images: WithParameters } {
    const ids = sql.join(Array(count).fill(''))
    const keyLasts = sql`select 1 from request_keys where task_id = tasks.id and expires_at_ms > ${0}`
    const isOver = sql`mode = 'attached' and state in ('succeeded', 'failed', 'cancelled', 'interrupted')`
    const isShort = sql`select 1 from tasks where tasks.id = blobs.task_id and tasks.expires_at_ms <= ${0}`
    return {
      tasks: writeOnce(
        sql`update tasks set expires_at_ms = ${0} where id in (${ids}) and ${isOver} and expires_at_ms > ${0} and not exists (${keyLasts})`,
        query
      ),
      images: writeOnce(
        sql`update blobs set expires_at_ms = ${0} where task_id in (${ids}) and access = 'signed' and expires_at_ms > ${0} and exists (${isShort})`,
        query
      )
    }
  }

  function markLost(ids: readonly string[]): Statement {
    const attached = query.updateTable('tasks').where('id', 'in', ids).where('mode', '=', 'attached')
    return { query: attached.where('lost_at_ms', 'is', null).set({ lost_at_ms: Date.now() }) }
  }
}

/** Lists whose lengths are powers of two, so that a database has to prepare only a few statements. */
function inSteps(ids: readonly string[]): (readonly string[])[] {
  const steps: (readonly string[])[] = []
  for (let done = 0; done < ids.length; ) {
    const count = 2 ** Math.floor(Math.log2(ids.length - done))
    steps.push(ids.slice(done, done + count))
    done += count
  }
  return steps
}

/** As long as the clients that are known send a request again by themselves. */
const rejoinWindowMs = 600_000
const maxBatch = 500
/** Notes that a database which is away for long may leave unwritten; the oldest go first. */
const maxUnwritten = 20_000
const retryMs = 1_000

interface Batch<Note> {
  add(note: Note): void
  /** Resolves to whether everything that was added before is written. */
  flush(): Promise<boolean>
}

/** Gathers notes and has them written after a while, or when there are many. What cannot be written is tried again. */
function createBatch<Note>(delayMs: number, write: (notes: Note[]) => Promise<void>, log: Logger): Batch<Note> {
  let notes: Note[] = []
  let timer: NodeJS.Timeout | undefined
  let writing: Promise<unknown> = Promise.resolve()

  return {
    add(note) {
      notes.push(note)
      if (notes.length === maxBatch) void flush()
      else schedule(delayMs)
    },
    flush
  }

  function schedule(afterMs: number): void {
    timer ??= setTimeout(() => void flush(), afterMs).unref()
  }

  function flush(): Promise<boolean> {
    clearTimeout(timer)
    timer = undefined
    const done = writing.then(writeAll)
    writing = done
    return done
  }

  async function writeAll(): Promise<boolean> {
    while (notes.length > 0) {
      const some = notes.splice(0, maxBatch)
      try {
        await write(some)
      } catch (err) {
        log.warn({ err }, 'what became of answers could not be noted yet')
        notes = [...some, ...notes].slice(-maxUnwritten)
        schedule(retryMs)
        return false
      }
    }
    return true
  }
}
