import type { Compilable, Kysely, SelectQueryBuilder } from 'kysely'
import type { Schema } from './schema.ts'
import { openSqliteDatabase } from './sqlite/sqlite-database.ts'

/**
 * The relational store. What a resolved promise acknowledges is on the disk; after a rejected one nothing of the call is, except where the
 * `DatabaseError` says `isUnknown`. While the database is away, calls wait for two or three seconds and then reject with one that says
 * `isUnavailable`; when that has lasted, they reject at once. Integers come back as numbers up to 2^53; larger ones are a RangeError,
 * never rounded. Truth comes back as 1 and 0, text is ordered by its bytes.
 */
export interface Database extends AsyncDisposable {
  /**
   * For reads and single statements; has no transactions and no streaming. Rejects with `DatabaseError` when the database refuses a
   * statement, and with TypeError or RangeError when a parameter is nothing that a database can hold exactly.
   */
  readonly query: Kysely<Schema>
  /**
   * Runs the statements in their order as one transaction: all or none. Rejects with `ConflictError` when one affects another number of
   * rows than it expects. Commits that are under way at the same time share one write to the disk and stay independent of each other.
   * Commits that got into each other's way are repeated before anybody hears of it.
   */
  commit(statements: readonly Statement[], announce?: readonly Topic[]): Promise<void>
  /**
   * Calls the listener for every topic that any process announces with a commit, this one included, after that commit; where the database
   * cannot tell what another process has changed, with `undefined`, within a second. A lost connection to the database may lose some, and
   * is followed by an `undefined`; a process that dies in the moment after its commit may tell nobody. Returns what stops it.
   */
  onAnnouncement(listener: (topic: Topic | undefined) => void): () => void
  /** The same query, which locks the rows that it selects and leaves out those that others have locked. */
  skipLocked<Table extends keyof Schema, Row>(query: SelectQueryBuilder<Schema, Table, Row>): SelectQueryBuilder<Schema, Table, Row>
  /** Refuses new work, waits for what was asked before, and closes the database. */
  [Symbol.asyncDispose](): Promise<void>
}

/** What changed: what is copied (`LiveCopies`), the queue of tasks, one task, the queue of callbacks. */
export type Topic = 'settings' | 'queue' | 'callbacks' | `task ${string}`

export interface Statement {
  query: Compilable
  /** The number of rows that the statement must insert, update, delete or return. Unset: any. */
  expectRows?: number
}

export interface DatabaseOptions {
  /** Directory that holds everything this server keeps; created, closed to others, where it is missing. */
  dataDir: string
  /** Address of a PostgreSQL database, which several servers may share. Unset: SQLite, in the data directory. */
  databaseUrl?: string | undefined
}

/**
 * Opens the database and brings its tables up to date. Throws a clear Error where it was written by a newer program, is no database, or
 * cannot be opened.
 */
export async function openDatabase(options: DatabaseOptions): Promise<Database> {
  const { dataDir, databaseUrl } = options
  if (databaseUrl === undefined) return openSqliteDatabase({ dataDir })
  const { openPostgresDatabase } = await import('./postgres/postgres-database.ts')
  return openPostgresDatabase({ databaseUrl })
}
