import { type Dialect, PostgresAdapter, PostgresIntrospector, PostgresQueryCompiler } from 'kysely'
import { createSingleStatementDriver, type ExecuteQuery } from '../single-statements.ts'

/** Lets Kysely write PostgreSQL's SQL and have it run by `execute`, each statement on its own. */
export function createPostgresDialect(execute: ExecuteQuery): Dialect {
  return {
    createAdapter: () => new PostgresAdapter(),
    createDriver: () => createSingleStatementDriver(execute),
    createIntrospector: (db) => new PostgresIntrospector(db),
    createQueryCompiler: () => new PostgresQueryCompiler()
  }
}
