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
/** A group as large as this costs little more for each of its jobs than a larger one. */
const largeGroup = 32
/** What is asked for so often that the last group was as large is worth waiting for. */
const busyGroup = 4
/** How long to wait for it, and how old the last group may be. */
const gatherMs = 2
const busyMs = 20

/**
 * Sends what has gathered while the thread was busy as one group, so that the thread can write it to the disk at once. While much is asked for,
 * a group is gathered a little longer: to wake the thread and to write to the disk costs as much as some ten jobs.
 */
function createJobQueue(worker: Worker, changed: () => void): JobQueue {
  const packer = createJobPacker()
  const full: Group[] = []
  let gathering: WaitingJob[] = []
  let running: readonly WaitingJob[] = []
  /** Of the latest group that was sent. */
  let sentJobs = 0
  let sentAtMs = Number.NEGATIVE_INFINITY
  let patience: NodeJS.Timeout | undefined
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
    considerGroup()
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
        if (gathering.length === 1 || gathering.length === largeGroup) queueMicrotask(considerGroup)
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

  function considerGroup(): void {
    const isBusy = sentJobs >= busyGroup && performance.now() - sentAtMs < busyMs
    const isSmall = full.length === 0 && gathering.length > 0 && gathering.length < largeGroup
    if (!isBusy || !isSmall || closing !== undefined) sendGroup()
    else if (running.length === 0) patience ??= setTimeout(sendGroup, gatherMs)
  }

  function sendGroup(): void {
    clearTimeout(patience)
    patience = undefined
    if (running.length > 0 || failure !== undefined) return
    if (full.length === 0 && gathering.length === 0) {
      drained?.()
      return
    }
    const { jobs, waiting } = full.shift() ?? takeGathered()
    running = waiting
    sentJobs = waiting.length
    sentAtMs = performance.now()
    worker.postMessage({ kind: 'run', jobs } satisfies SqliteRequest)
  }

  function fail(error: Error): void {
    failure ??= error
    clearTimeout(patience)
    for (const job of [...running, ...full.splice(0).flatMap(({ waiting }) => waiting), ...gathering.splice(0)]) job.reject(failure)
    running = []
    drained?.()
  }

  async function close(): Promise<void> {
    sendGroup()
    const isIdle = running.length === 0
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
