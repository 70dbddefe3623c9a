import type { Database, Statement } from './database.ts'

/**
 * Copies in memory of tables that hardly ever change (who may do what, with whose money), kept as they are in the database: a change of any
 * process arrives within about a second.
 */
export interface LiveCopies extends AsyncDisposable {
  /** Loads a copy and keeps it current; the returned function reads it and asks nobody. Throws where the database does. */
  keep<Copy>(load: () => Promise<Copy>): Promise<() => Copy>
  /** Whether the database has confirmed the copies lately; where it has not, what they allow may have been taken back. */
  areCurrent(): boolean
  /** Looks for changes and takes them over; where the database fails, it is tried again later. Never rejects. */
  refresh(): Promise<void>
  /** Commits changes of what is copied, and rejects as the database does. They hold here when the promise resolves. */
  change(statements: readonly Statement[]): Promise<void>
}

export interface LiveCopiesOptions {
  /** How often to look for changes that nobody announced. Unset: 4 s. */
  checkEveryMs?: number
  /** How long copies hold that the database does not confirm. Unset: 60 s. */
  maxUnconfirmedMs?: number
}

/** Throws where the database does; later, it keeps the copies that it has and tries again. */
export async function createLiveCopies(deps: { database: Database }, options: LiveCopiesOptions = {}): Promise<LiveCopies> {
  const { database } = deps
  const { checkEveryMs = 4_000, maxUnconfirmedMs = 60_000 } = options
  const reloads: (() => Promise<void>)[] = []
  let seenChanges = -1
  let confirmedAtMs = Number.NEGATIVE_INFINITY
  let refreshing = Promise.resolve()
  let timer: NodeJS.Timeout | undefined
  let disposed = false

  // Before the first look, so that nothing is missed that another process changes meanwhile.
  const stopListening = database.onAnnouncement((topic) => {
    if (topic === undefined || topic === 'settings') void refresh()
  })
  const first = confirm()
  refreshing = first.catch(() => {
    disposed = true
    stopListening()
  })
  await first
  scheduleNext(checkEveryMs)

  return {
    async keep(load) {
      let copy = await load()
      const reload = async () => {
        copy = await load()
      }
      reloads.push(reload)
      // What was changed while it was loaded for the first time was not yet its to hear of.
      seenChanges = -1
      await refresh()
      return () => copy
    },
    areCurrent: () => performance.now() - confirmedAtMs <= maxUnconfirmedMs,
    refresh,
    async change(statements) {
      await database.commit([...statements, countChange(database)], ['settings'])
      await refresh()
    },
    async [Symbol.asyncDispose]() {
      disposed = true
      stopListening()
      clearTimeout(timer)
      await refreshing
    }
  }

  /** One after the other, so that an older view never replaces a newer one. */
  function refresh(): Promise<void> {
    refreshing = refreshing.then(async () => {
      if (disposed) return
      const succeeded = await confirm().then(
        () => true,
        () => false
      )
      scheduleNext(succeeded ? checkEveryMs : Math.min(retryMs, checkEveryMs))
    })
    return refreshing
  }

  async function confirm(): Promise<void> {
    const begunAtMs = performance.now()
    const changes = await readChanges(database)
    // What changes between the queries is counted after this number, and loaded again.
    if (changes !== seenChanges) await Promise.all(reloads.map((reload) => reload()))
    seenChanges = changes
    confirmedAtMs = begunAtMs
  }

  function scheduleNext(inMs: number): void {
    clearTimeout(timer)
    if (!disposed) timer = setTimeout(refresh, inMs).unref()
  }
}

/** Part of every commit that changes what is copied. */
export function countChange({ query }: Pick<Database, 'query'>): Statement {
  const count = query.updateTable('change_counters').set(({ eb }) => ({ changes: eb('changes', '+', 1) }))
  return { query: count.where('name', '=', 'settings'), expectRows: 1 }
}

const retryMs = 1_000

async function readChanges({ query }: Database): Promise<number> {
  const row = await query.selectFrom('change_counters').select('changes').where('name', '=', 'settings').executeTakeFirst()
  return row?.changes ?? 0
}
