import type { Database } from './database.ts'

/** When each row of a table was last used: at once in memory, within a minute in the database. */
export interface LastUses extends AsyncDisposable {
  /** Notes that it is used now. Costs next to nothing. */
  record(id: string): void
  /** Unix milliseconds of what this process has not written yet; undefined where there is nothing. */
  unwritten(id: string): number | undefined
  /** Writes everything at once; what the database does not take is kept for the next time. Never rejects. */
  write(): Promise<void>
}

/** Its end writes what is left. */
export function createLastUses(table: 'api_keys' | 'credentials', { database }: { database: Database }): LastUses {
  const uses = new Map<string, number>()
  const timer = setInterval(write, writeEveryMs).unref()

  return {
    record: (id) => void uses.set(id, Date.now()),
    unwritten: (id) => uses.get(id),
    write,
    async [Symbol.asyncDispose]() {
      clearInterval(timer)
      await write()
    }
  }

  async function write(): Promise<void> {
    const taken = [...uses]
    for (let start = 0; start < taken.length; start += maxStatements) {
      const some = taken.slice(start, start + maxStatements)
      try {
        await database.commit(some.map(([id, atMs]) => ({ query: setLastUse(id, atMs) })))
      } catch {
        return
      }
      for (const [id, atMs] of some) if (uses.get(id) === atMs) uses.delete(id)
    }
  }

  /** Another process may have seen it later. */
  function setLastUse(id: string, atMs: number) {
    return database.query
      .updateTable(table)
      .set({ last_used_at_ms: atMs })
      .where('id', '=', id)
      .where(({ eb, or }) => or([eb('last_used_at_ms', 'is', null), eb('last_used_at_ms', '<', atMs)]))
  }
}

const writeEveryMs = 60_000
const maxStatements = 500
