import { setTimeout as wait } from 'node:timers/promises'
import { type CompiledQuery, Kysely } from 'kysely'
import { Client } from 'pg'
import { createAnnouncementListeners } from '../announcement-listeners.ts'
import type { Database } from '../database.ts'
import { ConflictError, closedError } from '../database-error.ts'
import { migrations } from '../migrations.ts'
import type { Schema } from '../schema.ts'
import { isReadOnly } from '../single-statements.ts'
import { openPostgresAnnouncements } from './postgres-announcements.ts'
import type { PostgresResult, PostgresStep } from './postgres-batch.ts'
import { ConnectionLostError, openPostgresConnection, type PostgresConnection, toStep } from './postgres-connection.ts'
import { createPostgresDialect } from './postgres-dialect.ts'
import { isWorthRepeating, toDatabaseError, unknownResultError } from './postgres-errors.ts'
import { migratePostgres } from './postgres-migrate.ts'
import { createPostgresPool } from './postgres-pool.ts'
import { toPostgresParameter } from './postgres-values.ts'

/** Opens a database that any number of processes may share. */
export async function openPostgresDatabase(options: { databaseUrl: string }): Promise<Database> {
  const { databaseUrl } = options
  await using parts = new AsyncDisposableStack()
  const pool = parts.use(createPostgresPool({ maxConnections, open: (closed) => openPostgresConnection({ databaseUrl, closed }) }))
  const listeners = createAnnouncementListeners()
  const openAnnouncements = async () => {
    await pool.use((connection) => migratePostgres(connection, migrations))
    return openPostgresAnnouncements({ open: (hooks) => openPostgresConnection({ databaseUrl, ...hooks }), heard: listeners.tell })
  }
  const announcements = parts.use(await openAnnouncements().catch((error) => refuse(databaseUrl, error)))
  const running = new Set<Promise<unknown>>()
  let closing: Promise<void> | undefined
  const owned = parts.move()

  return {
    query: new Kysely<Schema>({ dialect: createPostgresDialect(execute) }),
    commit: (statements, announce = []) =>
      track(async () => {
        const steps = statements.map(({ query }) => toPostgresStep(query.compile()))
        const expectations = statements.map(({ expectRows }) => expectRows)
        if (steps.length > 0) await repeat(() => pool.use((connection) => commitOn(connection, steps, expectations)))
        const topics = new Set(announce)
        announcements.announce(topics)
        listeners.tell(topics)
      }),
    onAnnouncement: listeners.add,
    skipLocked: (query) => query.forUpdate().skipLocked(),
    [Symbol.asyncDispose]() {
      closing ??= Promise.allSettled(running).then(() => owned.disposeAsync())
      return closing
    }
  }

  async function execute(query: CompiledQuery) {
    const step = toPostgresStep(query)
    const work = (connection: PostgresConnection) => (isReadOnly(query) ? connection.run([step]) : commitOn(connection, [step], []))
    const [result] = await track(() => repeat(() => pool.use(work)))
    return { rows: result?.rows ?? [], numAffectedRows: BigInt(result?.affectedRows ?? 0) }
  }

  /** So that closing waits for it. */
  async function track<T>(work: () => Promise<T>): Promise<T> {
    if (closing !== undefined) throw closedError()
    const result = work()
    running.add(result)
    try {
      return await result
    } catch (error) {
      throw toDatabaseError(error)
    } finally {
      running.delete(result)
    }
  }
}

function refuse(databaseUrl: string, error: unknown): never {
  const { host, port, database } = new Client({ connectionString: databaseUrl })
  const problem = error instanceof Error ? error.message : String(error)
  throw new Error(`the PostgreSQL database ${database} at ${host}:${port} cannot be opened: ${problem}`, { cause: error })
}

/** With two processors on each side, more would only wait for each other. */
const maxConnections = 16
const maxRepetitions = 4
const longestPauseMs = 20

async function repeat<T>(attempt: () => Promise<T>): Promise<T> {
  for (let repetition = 0; ; repetition++) {
    try {
      return await attempt()
    } catch (error) {
      if (repetition === maxRepetitions || !isWorthRepeating(error)) throw error
      await wait(Math.random() * longestPauseMs * 2 ** repetition)
    }
  }
}

const begin = toStep('begin')
const commit = toStep('commit')
const rollback = toStep('rollback')

/** Two round trips: the server must not commit before the numbers of rows are known. */
async function commitOn(
  connection: PostgresConnection,
  steps: readonly PostgresStep[],
  expectations: readonly (number | undefined)[]
): Promise<PostgresResult[]> {
  const results = await applyOn(connection, steps, expectations)
  try {
    await connection.run([commit])
  } catch (error) {
    throw error instanceof ConnectionLostError ? unknownResultError(error) : error
  }
  return results
}

async function applyOn(
  connection: PostgresConnection,
  steps: readonly PostgresStep[],
  expectations: readonly (number | undefined)[]
): Promise<PostgresResult[]> {
  try {
    const [, ...results] = await connection.run([begin, ...steps])
    for (const [index, { affectedRows }] of results.entries()) {
      const expected = expectations[index]
      if (expected !== undefined && expected !== affectedRows) throw new ConflictError(index, expected, affectedRows)
    }
    return results
  } catch (error) {
    if (connection.isOpen) await connection.run([rollback]).catch(() => undefined)
    throw error
  }
}

function toPostgresStep({ sql, parameters }: CompiledQuery): PostgresStep {
  return { sql, parameters: parameters.map(toPostgresParameter) }
}
