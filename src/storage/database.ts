import type { Compilable, Kysely } from 'kysely'
import type { Schema } from './schema.ts'
import { openSqliteDatabase } from './sqlite-database.ts'

/**
 * The relational store. What a resolved promise acknowledges is on the disk; after a rejected one nothing of the call is. Integers
 * come back as numbers up to 2^53; larger ones are a RangeError, never rounded.
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
   */
  commit(statements: readonly Statement[]): Promise<void>
  /**
   * Calls the listener within a second after another process has changed something; never for changes of this one. Returns what
   * stops it.
   */
  onForeignChange(listener: () => void): () => void
  /** Refuses new work, waits for what was asked before, and closes the database. */
  [Symbol.asyncDispose](): Promise<void>
}

export interface Statement {
  query: Compilable
  /** The number of rows that the statement must insert, update, delete or return. Unset: any. */
  expectRows?: number
}

export interface DatabaseOptions {
  /** Directory that holds everything this server keeps; created, closed to others, where it is missing. */
  dataDir: string
}

/**
 * Opens the database in the data directory and brings its tables up to date. Throws a clear Error where it was written by a newer
 * program, is no database, or cannot be opened.
 */
export function openDatabase(options: DatabaseOptions): Promise<Database> {
  return openSqliteDatabase(options)
}
