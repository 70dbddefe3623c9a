import { randomBytes } from 'node:crypto'
import { Writable } from 'node:stream'
import { createLog } from '../../src/log.ts'
import { type Database, openDatabase } from '../../src/storage/database.ts'
import { createFingerprints } from '../../src/storage/fingerprints.ts'
import type { CallbackDeliveryRow, CallbackRow } from '../../src/storage/schema.ts'
import { createSealer, type Sealer } from '../../src/storage/seal.ts'
import {
  type CallbackDispatcher,
  type CallbackDispatcherDeps,
  type CallbackDispatcherOptions,
  createCallbackDispatcher
} from '../../src/tasks/callbacks/callback-dispatcher.ts'
import { callbackRow } from '../../src/tasks/callbacks/callback-row.ts'
import { type CallbackSecrets, createCallbackSecrets } from '../../src/tasks/callbacks/callback-secrets.ts'
import { createUntrustedUrlFetcher } from '../../src/upstream/untrusted-url.ts'
import { createManualClock, type ManualClock } from './manual-clock.ts'
import { createTemporaryDirectory } from './temporary-directory.ts'

export interface Callbacks extends AsyncDisposable {
  database: Database
  clock: ManualClock
  sealer: Sealer
  secrets: CallbackSecrets
  /** What was logged so far, as text. */
  logged: () => string
  /** A dispatcher on the same database; disposed of with the rest. */
  start(options?: Partial<CallbackDispatcherOptions>, deps?: Partial<CallbackDispatcherDeps>): CallbackDispatcher
  /** Records callbacks, as ending their tasks does. */
  add(...callbacks: { taskId: string; url: string; dueMs?: number }[]): Promise<void>
  row(taskId: string): Promise<CallbackRow | undefined>
  /** The tries at the callback of the task, oldest first. */
  deliveries(taskId: string): Promise<Omit<CallbackDeliveryRow, 'id' | 'callback_id'>[]>
  /** Lets time pass, and wakes whoever waits for it. */
  pass(ms: number): Promise<void>
  /** Opens the same database again, as another process would. */
  openAgain(): Promise<Database>
}

/** A database with callbacks, a clock that stands still, and as much of a server as delivers them. All targets on loopback are allowed. */
export async function openCallbacks(
  allow: readonly string[],
  open: (dataDir: string) => Promise<Database> = openSqlite
): Promise<Callbacks> {
  const parts = new AsyncDisposableStack()
  const directory = parts.use(await createTemporaryDirectory())
  const database = parts.use(await open(directory.path))
  const clock = createManualClock(Math.floor(Date.now() / 1000) * 1000)
  const keys = [{ keyId: '01234567', key: randomBytes(32) }] as const
  const sealer = createSealer({ keys })
  const fingerprints = createFingerprints({ keys })
  const secrets = createCallbackSecrets({ database, sealer, now: clock.now })
  const fetcher = parts.use(createUntrustedUrlFetcher({ allow }))
  const lines: string[] = []
  const destination = new Writable({
    write(chunk, _encoding, done) {
      lines.push(String(chunk))
      done()
    }
  })
  const log = createLog({ level: 'trace', destination })
  return {
    database,
    clock,
    sealer,
    secrets,
    logged: () => lines.join(''),
    start(options, deps) {
      const body = async (taskId: string) => JSON.stringify({ task_id: taskId })
      return parts.use(
        createCallbackDispatcher(
          { version: '1.2.3', drainMs: 0, ...options },
          { database, sealer, fetcher, secrets, body, log, clock, random: () => 0.5, ...deps }
        )
      )
    },
    async add(...callbacks) {
      const rows = callbacks.map(({ taskId, url, dueMs = clock.now() }) =>
        callbackRow(taskId, 'default', url, dueMs, { sealer, fingerprints })
      )
      await database.commit([{ query: database.query.insertInto('callbacks').values(rows) }], ['callbacks'])
    },
    row: (taskId) => database.query.selectFrom('callbacks').selectAll().where('task_id', '=', taskId).executeTakeFirst(),
    deliveries: (taskId) =>
      database.query
        .selectFrom('callback_deliveries')
        .innerJoin('callbacks', 'callbacks.id', 'callback_deliveries.callback_id')
        .where('callbacks.task_id', '=', taskId)
        .orderBy('callback_deliveries.at_ms')
        .select(['at_ms', 'status', 'problem', 'duration_ms'])
        .execute(),
    async pass(ms) {
      clock.advance(ms)
      await database.commit([], ['callbacks'])
    },
    openAgain: () => open(directory.path),
    [Symbol.asyncDispose]: () => parts.disposeAsync()
  }
}

function openSqlite(dataDir: string): Promise<Database> {
  return openDatabase({ dataDir })
}
