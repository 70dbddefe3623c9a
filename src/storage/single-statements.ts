import type { CompiledQuery, DatabaseConnection, Driver, QueryResult } from 'kysely'

export type ExecuteQuery = (query: CompiledQuery) => Promise<QueryResult<Record<string, unknown>>>

/** Lets Kysely run each statement on its own; it gets no connection to hold on to, hence no transactions. */
export function createSingleStatementDriver(execute: ExecuteQuery): Driver {
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

/** Whether a statement only reads, as far as its form tells: what is written as text may do anything. */
export function isReadOnly(query: CompiledQuery): boolean {
  return query.query.kind === 'SelectQueryNode'
}
