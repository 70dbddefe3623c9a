import { gatewayError } from '../../errors.ts'
import type { Logger } from '../../log.ts'
import type { Database } from '../../storage/database.ts'
import { randomBase62 } from '../../storage/random-id.ts'

/** The lease of this process among those that share a database, and its view of the others'. */
export interface ProcessLease extends AsyncDisposable {
  readonly processId: string
  /** Whether no other process can use the database. */
  readonly isExclusive: boolean
  /** Resolves when nobody takes what this process begins now for abandoned. Throws SHUTTING_DOWN after `resign`, and what the database throws. */
  hold(): Promise<void>
  /**
   * Which of the owners have no lease any more, each with its last one, as it must still be when something is taken from it; undefined for one
   * that has none at all.
   */
  findDead(owners: readonly string[]): Promise<Map<string, number | undefined>>
  /** Ends the lease at once. */
  resign(): Promise<void>
}

export interface ProcessLeaseOptions {
  leaseMs: number
  /** Whether no other process can use the database: then every other owner is one that has ended. */
  exclusive: boolean
}

/**
 * Takes the lease and keeps it. A lease is judged by whether it changes, not by the time that is written in it: the clocks of machines differ, and
 * one that runs fast must not take living processes for dead.
 */
export async function createProcessLease(
  { leaseMs, exclusive }: ProcessLeaseOptions,
  deps: { database: Database; log: Logger }
): Promise<ProcessLease> {
  const { query } = deps.database
  const processId = `process_${randomBase62(22)}`
  const seen = new Map<string, { untilMs: number; since: number }>()
  let untilMs = 0
  let heldSince = Number.NEGATIVE_INFINITY
  let renewal: Promise<void> | undefined
  let isResigned = false
  let timer: NodeJS.Timeout | undefined

  if (!exclusive) {
    await renew()
    timer = setInterval(() => void tick(), leaseMs / 3).unref()
  }

  return {
    processId,
    isExclusive: exclusive,
    async hold() {
      if (isResigned) throw gatewayError('SHUTTING_DOWN', {}, { outcome: 'not_sent' })
      if (!exclusive && performance.now() - heldSince >= leaseMs) await renew()
    },
    async findDead(owners) {
      const others = owners.filter((owner) => owner !== processId)
      if (exclusive) return new Map(others.map((owner) => [owner, undefined]))
      if (others.length === 0) return new Map()
      await look()
      const now = performance.now()
      const dead = others.filter((owner) => now - (seen.get(owner)?.since ?? Number.NEGATIVE_INFINITY) >= leaseMs)
      return new Map(dead.map((owner) => [owner, seen.get(owner)?.untilMs]))
    },
    async resign() {
      stop()
      await renewal?.catch(() => undefined)
      if (!exclusive) await deps.database.commit([{ query: query.deleteFrom('processes').where('id', '=', processId) }], ['queue'])
    },
    async [Symbol.asyncDispose]() {
      stop()
      await renewal?.catch(() => undefined)
    }
  }

  function stop(): void {
    isResigned = true
    clearInterval(timer)
  }

  async function tick(): Promise<void> {
    try {
      await renew()
      await look()
    } catch (err) {
      deps.log.warn({ err }, 'the lease of this process could not be renewed')
    }
  }

  function renew(): Promise<void> {
    renewal ??= write().finally(() => {
      renewal = undefined
    })
    return renewal
  }

  async function write(): Promise<void> {
    // It counts from before the commit: others see it later than that.
    const now = performance.now()
    untilMs = Math.max(untilMs + 1, Date.now() + leaseMs)
    const row = { id: processId, lease_until_ms: untilMs }
    await query
      .insertInto('processes')
      .values(row)
      .onConflict((conflict) => conflict.column('id').doUpdateSet({ lease_until_ms: untilMs }))
      .execute()
    heldSince = now
  }

  /** Notes since when each lease has been what it is. */
  async function look(): Promise<void> {
    const rows = await query.selectFrom('processes').selectAll().execute()
    const now = performance.now()
    for (const { id, lease_until_ms } of rows) {
      if (seen.get(id)?.untilMs !== lease_until_ms) seen.set(id, { untilMs: lease_until_ms, since: now })
    }
    for (const id of [...seen.keys()]) if (!rows.some((row) => row.id === id)) seen.delete(id)
  }
}
