import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { type CompiledQuery, Kysely } from 'kysely'
import { createAnnouncementListeners } from '../announcement-listeners.ts'
import type { Database } from '../database.ts'
import { ConflictError, closedError, DatabaseError } from '../database-error.ts'
import { createPrivateDirectory } from '../private-directory.ts'
import type { Schema } from '../schema.ts'
import { isReadOnly } from '../single-statements.ts'
import { type AskedJob, type AskedStatement, createJobPacker, type PackedJobs } from './packed-jobs.ts'
import type { StatementResult } from './sqlite-connection.ts'
import { createSqliteDialect } from './sqlite-dialect.ts'
import type { PlainError, PlainResult, SqliteReply, SqliteRequest, SqliteWorkerData } from './sqlite-worker.ts'

/** Opens `atelier.db` in the data directory, in a thread of its own: writing to the disk never blocks requests. */
export async function openSqliteDatabase(options: { dataDir: string }): Promise<Database> {
  await createPrivateDirectory(options.dataDir)
  const file = join(options.dataDir, 'atelier.db')
  // SQLite gives its other files the mode of this one, and a file that it creates itself would be open to others.
  await (await open(file, 'a', 0o600)).close()

  const worker = await startWorker({ file })
  const listeners = createAnnouncementListeners()
  const queue = createJobQueue(worker, () => listeners.tell([undefined]))
  return {
    query: new Kysely<Schema>({ dialect: createSqliteDialect(execute) }),
    async commit(statements, announce = []) {
      const asked: AskedStatement[] = []
      for (const { query, expectRows } of statements) asked.push(toAsked(query.compile(), expectRows))
      if (asked.length > 0) await queue.run({ statements: asked, readOnly: false, isCommit: true })
      if (announce.length > 0) listeners.tell(new Set(announce))
    },
    onAnnouncement: listeners.add,
    // One thread does all the writing of a process, and another process waits for its turn.
    skipLocked: (query) => query,
    [Symbol.asyncDispose]: () => queue.close()
  }

  async function execute(query: CompiledQuery) {
    const [result] = await queue.run({ statements: [toAsked(query)], readOnly: isReadOnly(query) })
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
  run(job: AskedJob): Promise<StatementResult[]>
  close(): Promise<void>
}

/** Jobs that are sent together, and who waits for them. */
interface Group {
  jobs: PackedJobs
  waiting: WaitingJob[]
}

interface WaitingJob {
  resolve(results: StatementResult[]): void
  reject(error: Error): void
}

/** Few enough that a request never waits long for its neighbours, enough to spread one fsync over many. */
const maxGroup = 256

/** Sends what has gathered while the thread was busy as one group, so that the thread can write it to the disk at once. */
function createJobQueue(worker: Worker, changed: () => void): JobQueue {
  const packer = createJobPacker()
  const full: Group[] = []
  let gathering: WaitingJob[] = []
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
        // What cannot be packed rejects.
        packer.add(job)
        gathering.push({ resolve, reject })
        if (gathering.length === maxGroup) full.push(takeGathered())
        // Whatever asks in the same turn of the loop goes into the same group.
        else if (gathering.length === 1 && full.length === 0) queueMicrotask(sendGroup)
      })
    },
    close() {
      closing ??= close()
      return closing
    }
  }

  function takeGathered(): Group {
    const waiting = gathering
    gathering = []
    return { jobs: packer.take(), waiting }
  }

  function sendGroup(): void {
    if (running.length > 0 || failure !== undefined) return
    if (full.length === 0 && gathering.length === 0) {
      drained?.()
      return
    }
    const { jobs, waiting } = full.shift() ?? takeGathered()
    running = waiting
    worker.postMessage({ kind: 'run', jobs } satisfies SqliteRequest)
  }

  function fail(error: Error): void {
    failure ??= error
    for (const job of [...running, ...full.splice(0).flatMap(({ waiting }) => waiting), ...gathering.splice(0)]) job.reject(failure)
    running = []
    drained?.()
  }

  async function close(): Promise<void> {
    const isIdle = running.length === 0 && full.length === 0 && gathering.length === 0
    if (failure === undefined && !isIdle) await new Promise<void>((resolve) => (drained = resolve))
    if (failure === undefined) worker.postMessage({ kind: 'close' } satisfies SqliteRequest)
    await exited
  }
}

function settle(waiting: WaitingJob, result: PlainResult | null | undefined): void {
  if (result === null) waiting.resolve([])
  else if (result === undefined) waiting.reject(closedError())
  else if ('results' in result) waiting.resolve(result.results)
  else if ('error' in result) waiting.reject(toError(result.error))
  else waiting.reject(new ConflictError(result.conflict.statement, result.conflict.expectedRows, result.conflict.affectedRows))
}

function toError(plain: PlainError): Error {
  if (plain.name === 'RangeError') return new RangeError(plain.message)
  const { resultCode } = plain
  const primaryCode = (resultCode ?? 0) & 0xff
  const isUnavailable = temporaryCodes.includes(primaryCode)
  return new DatabaseError(plain.message, plain.code ?? plain.name, { resultCode, isUnavailable, isUnknown: primaryCode === ioErrorCode })
}

/** SQLite's primary codes for a lock that another process holds on to, and for a full disk. */
const temporaryCodes = [5, 13]
/** The primary code for a disk that failed: what was being written may be there or not. */
const ioErrorCode = 10

function toAsked({ sql, parameters }: CompiledQuery, expectRows?: number): AskedStatement {
  return { sql, parameters, expectRows }
}
