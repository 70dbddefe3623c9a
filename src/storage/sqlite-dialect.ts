import {
  type CompiledQuery,
  type DatabaseConnection,
  type Dialect,
  type Driver,
  type QueryResult,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler
} from 'kysely'

export type ExecuteQuery = (query: CompiledQuery) => Promise<QueryResult<Record<string, unknown>>>

/** Lets Kysely write SQLite's SQL and have it run by `execute`, each statement on its own. */
export function createSqliteDialect(execute: ExecuteQuery): Dialect {
  return {
    createAdapter: () => new UnserializedSqliteAdapter(),
    createDriver: () => createDriver(execute),
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

function createDriver(execute: ExecuteQuery): Driver {
  const connection: DatabaseConnection = {
    executeQuery: async <Row>(query: CompiledQuery) => (await execute(query)) as QueryResult<Row>,
    streamQuery: () => {
      throw new Error('the database does not stream: read a page of rows at a time')
    }
  }
  const refuseTransaction = () => Promise.reject(new Error('the database has no interactive transactions: use commit'))
  return {
    init: () => Promise.resolve(),
    acquireConnection: () => Promise.resolve(connection),
    releaseConnection: () => Promise.resolve(),
    beginTransaction: refuseTransaction,
    commitTransaction: refuseTransaction,
    rollbackTransaction: refuseTransaction,
    destroy: () => Promise.resolve()
  }
}
