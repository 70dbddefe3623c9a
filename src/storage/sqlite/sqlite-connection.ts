import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import { type Migration, missingMigrations } from '../migrations.ts'

/** One query, or one commit: statements that are applied together or not at all. */
export interface Job {
  statements: readonly PreparedStatement[]
  /** Whether it only reads. */
  readOnly: boolean
  /** Whether all that counts is that it was applied; then there are no results. */
  isCommit?: boolean
}

export interface PreparedStatement {
  sql: string
  parameters: readonly SQLInputValue[]
  expectRows?: number | undefined
}

export type JobResult = { results: StatementResult[] } | { error: unknown } | { conflict: Conflict }

export interface StatementResult {
  rows: Record<string, unknown>[]
  /** Rows inserted, updated or deleted; of a statement that returns rows, their number. */
  affectedRows: number
  insertId?: number | bigint
}

export interface Conflict {
  statement: number
  expectedRows: number
  affectedRows: number
}

export interface SqliteConnection {
  /**
   * Runs jobs that arrived together: the writing ones in their order and with one fsync for all, each all or nothing whatever becomes
   * of the others, then the reading ones. Nothing that a result tells of can be lost by a crash.
   */
  run(jobs: readonly Job[]): JobResult[]
  /** A number that differs from the last one when another connection has changed the database since. */
  dataVersion(): unknown
  close(): void
}

/** Opens the database file, which must be on a file system that SQLite can share memory over, and applies the missing migrations. */
export function openSqliteConnection(file: string, migrations: readonly Migration[]): SqliteConnection {
  const db = new DatabaseSync(file, { timeout: busyTimeoutMs, enableForeignKeyConstraints: true })
  try {
    const mode = db.prepare('pragma journal_mode = wal').get()?.journal_mode
    if (mode !== 'wal')
      throw new Error(`the database cannot use a write-ahead log here (journal_mode is ${String(mode)}): use a local disk`)
    db.exec('pragma synchronous = full')
    // What is set aside so that a job can be undone goes to a file otherwise, as soon as it is more than 64 kB.
    db.exec('pragma temp_store = memory')
    // Pages that are written over and over reach the database's own file once for 16 MB of log.
    db.exec('pragma wal_autocheckpoint = 4000')
    migrate(db, migrations)
  } catch (error) {
    db.close()
    throw error
  }
  const prepare = createStatementCache(db)
  const dataVersion = db.prepare('pragma data_version')
  const begin = db.prepare('begin immediate')
  const commit = db.prepare('commit')
  const rollback = db.prepare('rollback')
  const savepoint = db.prepare('savepoint job')
  const rollbackToSavepoint = db.prepare('rollback to job')
  const releaseSavepoint = db.prepare('release job')

  return {
    run(jobs) {
      const results = new Map<Job, JobResult>()
      runWrites(
        jobs.filter((job) => !job.readOnly),
        results
      )
      for (const job of jobs) if (job.readOnly) results.set(job, attempt(job))
      return jobs.map((job) => results.get(job) ?? { error: new Error('the job was not run') })
    },
    dataVersion: () => dataVersion.get()?.data_version,
    close: () => db.close()
  }

  function runWrites(jobs: readonly Job[], results: Map<Job, JobResult>): void {
    if (jobs.length === 0) return
    try {
      begin.run()
    } catch (error) {
      for (const job of jobs) results.set(job, { error })
      return
    }
    try {
      if (!attemptAll(jobs, results)) for (const job of jobs) results.set(job, attemptWithinTransaction(job))
      commit.run()
    } catch (error) {
      if (db.isTransaction) rollback.run()
      // A full disk and the like undo the whole transaction, the neighbours' statements included: each gets its own try.
      if (jobs.length > 1) for (const job of jobs) runWrites([job], results)
      else for (const job of jobs) results.set(job, { error })
    }
  }

  /**
   * Runs jobs that nobody expects to fail without a savepoint for each, which has every page copied that the job changes. Returns false, with a
   * new transaction begun, where one of them did fail.
   */
  function attemptAll(jobs: readonly Job[], results: Map<Job, JobResult>): boolean {
    for (const job of jobs) {
      const result = attempt(job)
      if ('results' in result) results.set(job, result)
      else {
        if (db.isTransaction) rollback.run()
        begin.run()
        return false
      }
    }
    return true
  }

  function attemptWithinTransaction(job: Job): JobResult {
    savepoint.run()
    const result = attempt(job)
    if ('error' in result && !db.isTransaction) throw result.error
    if (!('results' in result)) rollbackToSavepoint.run()
    releaseSavepoint.run()
    return result
  }

  function attempt(job: Job): JobResult {
    try {
      const results: StatementResult[] = []
      for (const [index, { sql, parameters, expectRows }] of job.statements.entries()) {
        const result = execute(prepare(sql), parameters)
        if (expectRows !== undefined && result.affectedRows !== expectRows) {
          return { conflict: { statement: index, expectedRows: expectRows, affectedRows: result.affectedRows } }
        }
        if (!job.isCommit) results.push(result)
      }
      return { results }
    } catch (error) {
      return { error }
    }
  }
}

/** How long a statement waits for another process that is writing. */
const busyTimeoutMs = 5_000
const maxCachedStatements = 500

function migrate(db: DatabaseSync, migrations: readonly Migration[]): void {
  db.exec('create table if not exists migrations (name text not null primary key, applied_at_ms bigint not null)')
  const read = db.prepare('select name from migrations order by name')
  // Another process may be migrating the same file: what is missing is decided under the write lock.
  db.exec('begin immediate')
  try {
    const applied = read.all().map((row) => String(row.name))
    for (const { name, up } of missingMigrations(applied, migrations)) {
      const nowMs = Date.now()
      db.exec(up(nowMs))
      db.prepare('insert into migrations (name, applied_at_ms) values (?, ?)').run(name, BigInt(nowMs))
    }
    db.exec('commit')
  } catch (error) {
    if (db.isTransaction) db.exec('rollback')
    throw error
  }
}

interface CachedStatement {
  statement: StatementSync
  returnsRows: boolean
}

function createStatementCache(db: DatabaseSync): (sql: string) => CachedStatement {
  const cache = new Map<string, CachedStatement>()
  return (sql) => {
    const hit = cache.get(sql)
    if (hit !== undefined) {
      // The map's order is the order of use: the first entry is the one to forget.
      cache.delete(sql)
      cache.set(sql, hit)
      return hit
    }
    const statement = db.prepare(sql)
    const entry = { statement, returnsRows: statement.columns().length > 0 }
    cache.set(sql, entry)
    const oldest = cache.keys().next()
    if (cache.size > maxCachedStatements && !oldest.done) cache.delete(oldest.value)
    return entry
  }
}

function execute({ statement, returnsRows }: CachedStatement, parameters: readonly SQLInputValue[]): StatementResult {
  if (returnsRows) {
    const rows = statement.all(...parameters)
    return { rows, affectedRows: rows.length }
  }
  const { changes, lastInsertRowid } = statement.run(...parameters)
  return { rows: [], affectedRows: Number(changes), insertId: lastInsertRowid }
}
