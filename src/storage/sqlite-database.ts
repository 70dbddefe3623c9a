import { open } from 'node:fs/promises'
import { join } from 'node:path'
import type { SQLInputValue } from 'node:sqlite'
import { Worker } from 'node:worker_threads'
import { type CompiledQuery, Kysely } from 'kysely'
import type { Database, DatabaseOptions } from './database.ts'
import { ConflictError, DatabaseError } from './database-error.ts'
import { createPrivateDirectory } from './private-directory.ts'
import type { Schema } from './schema.ts'
import type { Job, StatementResult } from './sqlite-connection.ts'
import { createSqliteDialect } from './sqlite-dialect.ts'
import type { PlainError, PlainResult, SqliteReply, SqliteRequest, SqliteWorkerData } from './sqlite-worker.ts'

/** Opens `atelier.db` in the data directory, in a thread of its own: writing to the disk never blocks requests. */
export async function openSqliteDatabase(options: DatabaseOptions): Promise<Database> {
  await createPrivateDirectory(options.dataDir)
  const file = join(options.dataDir, 'atelier.db')
  // SQLite gives its other files the mode of this one, and a file that it creates itself would be open to others.
  await (await open(file, 'a', 0o600)).close()

  const worker = await startWorker({ file })
  const listeners = new Set<() => void>()
  const queue = createJobQueue(worker, () => {
    for (const listener of listeners) listener()
  })
  return {
    query: new Kysely<Schema>({ dialect: createSqliteDialect(execute) }),
    async commit(statements) {
      if (statements.length === 0) return
      const prepared = statements.map(({ query, expectRows }) => ({
        ...prepareStatement(query.compile()),
        ...(expectRows === undefined ? {} : { expectRows })
      }))
      await queue.run({ statements: prepared, readOnly: false })
    },
    onForeignChange(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    [Symbol.asyncDispose]: () => queue.close()
  }

  async function execute(query: CompiledQuery) {
    const [result] = await queue.run({ statements: [prepareStatement(query)], readOnly: query.query.kind === 'SelectQueryNode' })
    return {
      rows: result?.rows ?? [],
      numAffectedRows: BigInt(result?.affectedRows ?? 0),
      ...(result?.insertId === undefined ? {} : { insertId: BigInt(result.insertId) })
    }
  }
}

function startWorker(workerData: SqliteWorkerData): Promise<Worker> {
  const worker = new Worker(new URL('./sqlite-worker.ts', import.meta.url), { name: 'sqlite', workerData })
  return new Promise((resolve, reject) => {
    worker.once('message', (reply: SqliteReply) => {
      if (reply.kind === 'opened') resolve(worker)
      if (reply.kind === 'failed') reject(new Error(`the database ${workerData.file} cannot be opened: ${reply.error.message}`))
    })
    worker.once('error', reject)
    worker.once('exit', () => reject(closedError()))
  })
}

interface JobQueue {
  run(job: Job): Promise<StatementResult[]>
  close(): Promise<void>
}

interface WaitingJob {
  job: Job
  resolve(results: StatementResult[]): void
  reject(error: Error): void
}

/** Few enough that a request never waits long for its neighbours, enough to spread one fsync over many. */
const maxGroup = 256

/** Sends what has gathered while the thread was busy as one group, so that the thread can write it to the disk at once. */
function createJobQueue(worker: Worker, changed: () => void): JobQueue {
  const waiting: WaitingJob[] = []
  let running: readonly WaitingJob[] = []
  let failure: Error | undefined
  let closing: Promise<void> | undefined
  let drained: (() => void) | undefined
  const exited = new Promise<void>((resolve) => worker.once('exit', () => resolve()))

  worker.on('message', (reply: SqliteReply) => {
    if (reply.kind === 'changed') changed()
    if (reply.kind !== 'ran') return
    const answered = running
    running = []
    for (const [index, job] of answered.entries()) settle(job, reply.results[index])
    sendGroup()
  })
  worker.once('error', fail)
  worker.once('exit', () => fail(closedError()))

  return {
    run(job) {
      if (failure !== undefined) return Promise.reject(failure)
      if (closing !== undefined) return Promise.reject(closedError())
      return new Promise((resolve, reject) => {
        waiting.push({ job, resolve, reject })
        // Whatever asks in the same turn of the loop goes into the same group.
        if (waiting.length === 1) queueMicrotask(sendGroup)
      })
    },
    close() {
      closing ??= close()
      return closing
    }
  }

  function sendGroup(): void {
    if (running.length > 0 || failure !== undefined) return
    if (waiting.length === 0) {
      drained?.()
      return
    }
    running = waiting.splice(0, maxGroup)
    worker.postMessage({ kind: 'run', jobs: running.map(({ job }) => job) } satisfies SqliteRequest)
  }

  function fail(error: Error): void {
    failure ??= error
    for (const job of [...running, ...waiting.splice(0)]) job.reject(failure)
    running = []
    drained?.()
  }

  async function close(): Promise<void> {
    if (failure === undefined && (running.length > 0 || waiting.length > 0)) await new Promise<void>((resolve) => (drained = resolve))
    if (failure === undefined) worker.postMessage({ kind: 'close' } satisfies SqliteRequest)
    await exited
  }
}

function settle(waiting: WaitingJob, result: PlainResult | undefined): void {
  if (result === undefined) waiting.reject(closedError())
  else if ('results' in result) waiting.resolve(result.results)
  else if ('error' in result) waiting.reject(toError(result.error))
  else waiting.reject(new ConflictError(result.conflict.statement, result.conflict.expectedRows, result.conflict.affectedRows))
}

function toError(plain: PlainError): Error {
  if (plain.name === 'RangeError') return new RangeError(plain.message)
  return new DatabaseError(plain.message, plain.code ?? plain.name, plain.resultCode)
}

function closedError(): DatabaseError {
  return new DatabaseError('the database is closed', 'DATABASE_CLOSED')
}

function prepareStatement(query: CompiledQuery): { sql: string; parameters: SQLInputValue[] } {
  return { sql: query.sql, parameters: query.parameters.map(toSqliteValue) }
}

/** node:sqlite binds whole numbers as floats, and takes a leading object for names of parameters and binds nothing. */
function toSqliteValue(value: unknown): SQLInputValue {
  if (value === null || typeof value === 'string' || typeof value === 'bigint') return value
  if (typeof value === 'boolean') return value ? 1n : 0n
  if (typeof value === 'number') return toSqliteNumber(value)
  // Cloning a view to another thread clones the whole buffer below it, and small Buffers share one.
  if (value instanceof Uint8Array) return new Uint8Array(value)
  throw new TypeError(`a query parameter is ${value === undefined ? 'undefined' : `of type ${typeof value}`}, which a database cannot hold`)
}

function toSqliteNumber(value: number): SQLInputValue {
  if (!Number.isInteger(value)) return value
  if (Number.isSafeInteger(value)) return BigInt(value)
  throw new RangeError(`the query parameter ${value} is beyond 2^53 and therefore not exact`)
}
