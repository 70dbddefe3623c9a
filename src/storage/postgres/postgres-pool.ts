import { closedError, type DatabaseError } from '../database-error.ts'
import type { PostgresConnection } from './postgres-connection.ts'
import { isPermanent, unreachableError } from './postgres-errors.ts'

/** Connections that are lent for the time of one job. */
export interface PostgresPool extends AsyncDisposable {
  /**
   * Runs the work on a connection that nobody else uses. Waits while all are in use; while none can be opened, rejects with a DatabaseError
   * that says `isUnavailable`, at once when that has lasted for two seconds.
   */
  use<T>(work: (connection: PostgresConnection) => Promise<T>): Promise<T>
}

export interface PostgresPoolOptions {
  maxConnections: number
  open(closed: () => void): Promise<PostgresConnection>
}

interface Waiting {
  resolve(connection: PostgresConnection): void
  reject(error: DatabaseError): void
}

export function createPostgresPool(options: PostgresPoolOptions): PostgresPool {
  const connections = new Set<PostgresConnection>()
  const idle: PostgresConnection[] = []
  const waiting: Waiting[] = []
  let opening = 0
  /** Since when no connection could be opened, and why. */
  let outage: { sinceMs: number; error: DatabaseError } | undefined
  let retry: NodeJS.Timeout | undefined
  let disposed = false

  return {
    async use(work) {
      const connection = await borrow()
      try {
        return await work(connection)
      } finally {
        giveBack(connection)
      }
    },
    async [Symbol.asyncDispose]() {
      disposed = true
      clearTimeout(retry)
      for (const each of waiting.splice(0)) each.reject(closedError())
      await Promise.all([...connections].map((connection) => connection.close()))
    }
  }

  function borrow(): Promise<PostgresConnection> | PostgresConnection {
    if (disposed) throw closedError()
    const connection = idle.pop()
    if (connection !== undefined) return connection
    if (outage !== undefined && connections.size === 0 && hasLasted(outage.sinceMs)) throw outage.error
    return new Promise((resolve, reject) => {
      waiting.push({ resolve, reject })
      openMore()
    })
  }

  function giveBack(connection: PostgresConnection): void {
    if (!connection.isOpen) return
    const next = waiting.shift()
    if (next === undefined) idle.push(connection)
    else next.resolve(connection)
  }

  function openMore(): void {
    if (disposed || retry !== undefined) return
    // After a failure one attempt is enough to see whether it is over.
    const wanted = outage === undefined ? waiting.length : Math.min(waiting.length, 1)
    while (opening < wanted && connections.size + opening < options.maxConnections) void open()
  }

  async function open(): Promise<void> {
    const startedAtMs = Date.now()
    opening++
    try {
      const connection = await options.open(() => forget(connection))
      opening--
      if (disposed) return void (await connection.close())
      outage = undefined
      connections.add(connection)
      giveBack(connection)
      openMore()
    } catch (error) {
      opening--
      fail(error, startedAtMs)
    }
  }

  function forget(connection: PostgresConnection): void {
    connections.delete(connection)
    const index = idle.indexOf(connection)
    if (index >= 0) idle.splice(index, 1)
    // That more could not be opened while some were open was no outage.
    if (connections.size === 0) outage = undefined
    openMore()
  }

  function fail(cause: unknown, startedAtMs: number): void {
    outage = { sinceMs: outage?.sinceMs ?? startedAtMs, error: unreachableError(cause) }
    if (connections.size === 0 && (isPermanent(cause) || hasLasted(outage.sinceMs))) {
      for (const each of waiting.splice(0)) each.reject(outage.error)
    }
    if (disposed || retry !== undefined) return
    const pauseMs = Math.min(Math.max(Date.now() - outage.sinceMs, shortestPauseMs), longestPauseMs)
    retry = setTimeout(() => {
      retry = undefined
      if (opening === 0 && (waiting.length > 0 || connections.size === 0)) void open()
    }, pauseMs)
  }
}

/** How long a restart of the database may take without anybody noticing. */
const patienceMs = 2_000
const shortestPauseMs = 25
const longestPauseMs = 1_000

function hasLasted(sinceMs: number): boolean {
  return Date.now() - sinceMs >= patienceMs
}
