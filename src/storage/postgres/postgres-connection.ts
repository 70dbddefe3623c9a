import { Client, DatabaseError as ServerError } from 'pg'
import { createBatch, type PostgresResult, type PostgresStep } from './postgres-batch.ts'
import { createPreparedStatements } from './postgres-prepared.ts'

/** One session at the server. */
export interface PostgresConnection {
  /** False as soon as it is known to be broken. */
  readonly isOpen: boolean
  /**
   * Runs the statements in one round trip, outside of a transaction as one transaction. Rejects with `ServerError` when the server
   * refuses one, with `ConnectionLostError` when the connection breaks before the answer, and with RangeError for integers beyond 2^53.
   */
  run(steps: readonly PostgresStep[]): Promise<PostgresResult[]>
  /** Runs statements separated by semicolons, however long they take. */
  runScript(sql: string): Promise<void>
  close(): Promise<void>
}

/** The connection broke while something ran: whether the server has done it is unknown. */
export class ConnectionLostError extends Error {
  constructor(cause: unknown) {
    super(`the connection to the database broke: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
    this.name = 'ConnectionLostError'
  }
}

export interface PostgresConnectionOptions {
  databaseUrl: string
  /** Called once, when the session ends for whatever reason. */
  closed(): void
  notified?(payload: string): void
}

/** Connects within two seconds, or rejects. */
export async function openPostgresConnection(options: PostgresConnectionOptions): Promise<PostgresConnection> {
  const client = new Client({
    connectionString: options.databaseUrl,
    connectionTimeoutMillis: connectTimeoutMs,
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
    fallback_application_name: 'atelier'
  })
  const prepared = createPreparedStatements()
  let state: 'opening' | 'open' | 'lost' = 'opening'
  const lose = () => {
    if (state === 'open') options.closed()
    state = 'lost'
  }
  // Without a listener, the end of an idle session would end the process.
  client.on('error', lose)
  client.on('end', lose)
  if (options.notified !== undefined) client.on('notification', ({ payload }) => options.notified?.(payload ?? ''))
  const connection: PostgresConnection = {
    get isOpen() {
      return state === 'open'
    },
    run: (steps) =>
      new Promise((resolve, reject) => {
        // A server that is cut off from the network never says so.
        const watchdog = setTimeout(() => client.connection.stream.destroy(), answerTimeoutMs)
        const batch = createBatch(steps, prepared, (error, results) => {
          clearTimeout(watchdog)
          if (error === undefined) return resolve(results)
          if (isStaleStatement(error)) prepared.forgetAll()
          if (isRefusal(error)) return reject(error)
          client.connection.stream.destroy()
          lose()
          reject(new ConnectionLostError(error))
        })
        client.query(batch)
      }),
    async runScript(sql) {
      await client.query(sql)
    },
    async close() {
      const impatience = setTimeout(() => client.connection.stream.destroy(), closeTimeoutMs)
      await client.end()
      clearTimeout(impatience)
    }
  }
  await client.connect()
  try {
    await connection.run(sessionSettings.map(toStep))
    if (state !== 'opening') throw new ConnectionLostError('it ended at once')
    state = 'open'
  } catch (error) {
    await connection.close()
    throw error
  }
  return connection
}

/** A statement without parameters. */
export function toStep(sql: string): PostgresStep {
  return { sql, parameters: [] }
}

const connectTimeoutMs = 2_000
const closeTimeoutMs = 1_000
const statementTimeoutMs = 10_000
const answerTimeoutMs = 15_000

const sessionSettings = [
  `set statement_timeout = ${statementTimeoutMs}`,
  `set lock_timeout = ${statementTimeoutMs / 2}`,
  // Frees the rows that a process held when it stopped between a statement and its commit.
  `set idle_in_transaction_session_timeout = ${statementTimeoutMs}`,
  `set default_transaction_isolation = 'read committed'`,
  // Whoever set it lower did not do so for what is paid for here; whoever set it higher may have meant it.
  `select set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') = 'off'`,
  'set bytea_output = hex',
  'set jit = off'
]

/** The server has lost a prepared statement, or its table has changed since; the connection has forgotten it then. */
export function isStaleStatement(error: unknown): boolean {
  return error instanceof ServerError && (error.code === '26000' || (error.code === '0A000' && /cached plan/.test(error.message)))
}

/** An error that ends the session comes from the server too, but says nothing about what was running. */
function isRefusal(error: unknown): boolean {
  return error instanceof RangeError || (error instanceof ServerError && !/^(08|57P|25P03|58|XX)/.test(error.code ?? 'XX'))
}
