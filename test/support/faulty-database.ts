import type { Database } from '../../src/storage/database.ts'
import { DatabaseError } from '../../src/storage/database-error.ts'

/** What becomes of a commit: it is done, done without anybody hearing so, lost without anybody hearing so, or refused. */
export type Fate = 'done' | 'done unheard' | 'lost unheard' | 'unavailable'

/** The same database, of which each commit meets the next of the fates; when there is none left, it is done. */
export function createFaultyDatabase(database: Database): Database & { fates: Fate[] } {
  const fates: Fate[] = []
  return {
    ...database,
    fates,
    async commit(statements, announce) {
      const fate = fates.shift() ?? 'done'
      if (fate === 'unavailable') throw new DatabaseError('the database cannot be reached', 'DATABASE_UNREACHABLE', { isUnavailable: true })
      if (fate !== 'lost unheard') await database.commit(statements, announce)
      if (fate !== 'done') throw new DatabaseError('it is unknown what became of it', 'RESULT_UNKNOWN', { isUnknown: true })
    }
  }
}
