import { type Dialect, SqliteAdapter, SqliteIntrospector, SqliteQueryCompiler } from 'kysely'
import { createSingleStatementDriver, type ExecuteQuery } from '../single-statements.ts'

/** Lets Kysely write SQLite's SQL and have it run by `execute`, each statement on its own. */
export function createSqliteDialect(execute: ExecuteQuery): Dialect {
  return {
    createAdapter: () => new UnserializedSqliteAdapter(),
    createDriver: () => createSingleStatementDriver(execute),
    createIntrospector: (db) => new SqliteIntrospector(db),
    createQueryCompiler: () => new SqliteQueryCompiler()
  }
}

/** Statements that are under way at the same time must reach the queue together; Kysely's own adapter lets only one through. */
class UnserializedSqliteAdapter extends SqliteAdapter {
  override get supportsMultipleConnections(): boolean {
    return true
  }
}
