import { randomBase62 } from '../../storage/random-id.ts'
import type { BucketStore } from './bucket-store.ts'
import type { Buckets, Shortage, Taking } from './buckets.ts'
import type { RateLimit } from './rate-limit.ts'
import { createSliceHolder, type SliceHolder } from './slice-holder.ts'

export interface SharedBucketsOptions {
  /** For how long a slice is this process's without being renewed; it comes back that long after its process has died. */
  leaseMs: number
  /** How often to look for what is not needed any more. Unset: 1 s. */
  tidyEveryMs?: number
}

export interface SharedBucketsDeps {
  store: BucketStore
  /** Milliseconds that only ever grow. Unset: this process's. */
  now?: () => number
}

/**
 * Buckets that processes share: each leases slices of them, and asks for another when one is used up. What is left in the slices of others is
 * refused here, at most one slice for each of them, until they give it back: they do when they have not needed it for a second or two, and at
 * their end.
 */
export function createSharedBuckets(options: SharedBucketsOptions, deps: SharedBucketsDeps): Buckets {
  const { leaseMs, tidyEveryMs = 1_000 } = options
  const { store, now = () => performance.now() } = deps
  const processId = `process_${randomBase62(22)}`
  const holders = new Map<string, SliceHolder>()
  const timer = setInterval(tidy, tidyEveryMs).unref()

  return {
    take(takings) {
      return takings.every((taking) => holderOf(taking.limit).has(taking.units)) ? takeAll(takings) : askAndTake(takings)
    },
    // The limit may have another amount by now.
    giveBack: ({ limit, units }) => holders.get(limit.id)?.giveBack(units),
    levelOf: (limit) => holderOf(limit).level(),
    async [Symbol.asyncDispose]() {
      clearInterval(timer)
      await Promise.all([...holders.values()].map((holder) => holder.surrender()))
    }
  }

  async function askAndTake(takings: readonly Taking[]): Promise<undefined | Shortage> {
    for (;;) {
      const lacking = takings.filter(({ limit, units }) => !holderOf(limit).has(units))
      if (lacking.length === 0) return takeAll(takings)
      for (const { limit, units } of lacking) {
        const shortage = holderOf(limit).shortageOf(units)
        if (shortage) return { limit, waitMs: shortage.waitMs }
      }
      await Promise.all(lacking.map(({ limit, units }) => holderOf(limit).ask(units)))
    }
  }

  function takeAll(takings: readonly Taking[]): undefined {
    for (const { limit, units } of takings) holderOf(limit).take(units)
  }

  function holderOf(limit: RateLimit): SliceHolder {
    let holder = holders.get(limit.id)
    if (!holder) {
      holder = createSliceHolder({ processId, leaseMs }, limit, { store, now })
      holders.set(limit.id, holder)
    }
    holder.limit = limit
    return holder
  }

  function tidy(): void {
    for (const [id, holder] of holders) if (holder.tidy() === 'unused') holders.delete(id)
  }
}
