import { type MessagePort, parentPort, workerData } from 'node:worker_threads'
import { migrations } from '../migrations.ts'
import { createUnpackJobs, type PackedJobs } from './packed-jobs.ts'
import { type Conflict, type JobResult, openSqliteConnection, type StatementResult } from './sqlite-connection.ts'

/** What the thread is started with. */
export interface SqliteWorkerData {
  file: string
}

/** Jobs to run together, or the end. */
export type SqliteRequest = { kind: 'run'; jobs: PackedJobs } | { kind: 'close' }

/** `opened` or `failed` comes first and once; `ran` answers each `run`, with null for a commit that was applied; `changed` comes by itself. */
export type SqliteReply =
  | { kind: 'opened' }
  | { kind: 'failed'; error: PlainError }
  | { kind: 'ran'; results: readonly (PlainResult | null)[] }
  | { kind: 'changed' }

export type PlainResult = { results: StatementResult[] } | { error: PlainError } | { conflict: Conflict }

/** What is left of an error between threads: structured cloning drops the code. */
export interface PlainError {
  name: string
  message: string
  code?: string
  resultCode?: number
}

/** Half of the second within which changes of other processes are promised to arrive. */
const pollIntervalMs = 500

function serve(port: MessagePort, data: SqliteWorkerData): void {
  const connection = openSqliteConnection(data.file, migrations)
  const unpack = createUnpackJobs()
  const reply = (message: SqliteReply) => port.postMessage(message)
  const poll = setInterval(pollForChanges(connection.dataVersion, reply), pollIntervalMs).unref()
  port.on('message', (request: SqliteRequest) => {
    if (request.kind === 'run') {
      reply({ kind: 'ran', results: connection.run(unpack(request.jobs)).map(toPlainResult) })
      return
    }
    clearInterval(poll)
    connection.close()
    port.close()
  })
  reply({ kind: 'opened' })
}

function pollForChanges(dataVersion: () => unknown, reply: (message: SqliteReply) => void): () => void {
  let seen = dataVersion()
  return () => {
    try {
      const version = dataVersion()
      if (version !== seen) reply({ kind: 'changed' })
      seen = version
    } catch {
      // The database is busy: the next turn sees the change.
    }
  }
}

function toPlainResult(result: JobResult): PlainResult | null {
  if ('results' in result && result.results.length === 0) return null
  return 'error' in result ? { error: toPlainError(result.error) } : result
}

function toPlainError(thrown: unknown): PlainError {
  if (!(thrown instanceof Error)) return { name: 'Error', message: String(thrown) }
  return {
    name: thrown.name,
    message: thrown.message,
    ...('code' in thrown && typeof thrown.code === 'string' ? { code: thrown.code } : {}),
    ...('errcode' in thrown && typeof thrown.errcode === 'number' ? { resultCode: thrown.errcode } : {})
  }
}

if (parentPort !== null) {
  try {
    serve(parentPort, workerData as SqliteWorkerData)
  } catch (error) {
    parentPort.postMessage({ kind: 'failed', error: toPlainError(error) } satisfies SqliteReply)
    parentPort.close()
  }
}
