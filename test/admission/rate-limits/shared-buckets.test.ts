import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import { afterEach, expect, test } from 'vitest'
import type { BucketStore } from '../../../src/admission/rate-limits/bucket-store.ts'
import type { Buckets } from '../../../src/admission/rate-limits/buckets.ts'
import type { RateLimit } from '../../../src/admission/rate-limits/rate-limit.ts'
import { createSharedBuckets } from '../../../src/admission/rate-limits/shared-buckets.ts'
import { gatewayError } from '../../../src/errors.ts'
import { createBucketInMemory, overuse, rateLimit } from '../../support/rate-limits.ts'

const opened: Buckets[] = []
afterEach(async () => {
  await Promise.all(opened.splice(0).map((buckets) => buckets[Symbol.asyncDispose]()))
})

function open(store: BucketStore, { leaseMs = 15_000, tidyEveryMs = 3_600_000, now = (): number => 0 } = {}): Buckets {
  const buckets = createSharedBuckets({ leaseMs, tidyEveryMs }, { store, now })
  opened.push(buckets)
  return buckets
}

/** How many of so many requests pass, one after the other. */
async function passing(buckets: Buckets, limit: RateLimit, requests: number): Promise<number> {
  let passed = 0
  for (let request = 0; request < requests; request++) if ((await buckets.take([{ limit, units: 1 }])) === undefined) passed += 1
  return passed
}

test('two processes use no more than one bucket holds, and all of it', async () => {
  const store = createBucketInMemory({ leaseMs: 15_000, now: () => 0 })
  const limit = rateLimit({ capacity: 100, windowMs: 60_000 })
  const [a, b] = [open(store), open(store)]
  expect(await passing(a, limit, 37)).toBe(37)
  expect(await passing(b, limit, 100)).toBe(100 - 40)
  expect(await passing(a, limit, 100)).toBe(3)
})

test('a slice is used without asking anybody', async () => {
  const store = createBucketInMemory({ leaseMs: 15_000, now: () => 0 })
  const limit = rateLimit({ capacity: 200, windowMs: 60_000 })
  const buckets = open(store)
  const first = buckets.take([{ limit, units: 1 }])
  expect(first).toBeInstanceOf(Promise)
  await first
  expect(Array.from({ length: 9 }, () => buckets.take([{ limit, units: 1 }]))).toEqual(Array(9).fill(undefined))
  expect(store.exchanges).toBe(1)
})

test('requests that come at the same time ask the bucket together', async () => {
  const store = createBucketInMemory({ leaseMs: 15_000, now: () => 0, delay: () => sleep(1) })
  const limit = rateLimit({ capacity: 20, windowMs: 60_000 })
  const buckets = open(store)
  const answers = await Promise.all(Array.from({ length: 50 }, () => buckets.take([{ limit, units: 1 }])))
  expect(answers.filter((answer) => answer === undefined)).toHaveLength(20)
  expect(store.exchanges).toBeLessThan(5)
})

test('refusals tell the wait, and do not ask the bucket each time', async () => {
  const store = createBucketInMemory({ leaseMs: 15_000, now: () => 0 })
  const limit = rateLimit({ capacity: 5, windowMs: 60_000 })
  const buckets = open(store)
  await passing(buckets, limit, 5)
  const { exchanges } = store
  for (let request = 0; request < 20; request++) expect(await buckets.take([{ limit, units: 1 }])).toEqual({ limit, waitMs: 12_000 })
  expect(store.exchanges - exchanges).toBeLessThan(2)
})

test('what a process has not used for a while goes back, and another can use it', async () => {
  const store = createBucketInMemory({ leaseMs: 15_000, now: () => 0 })
  const limit = rateLimit({ capacity: 40, windowMs: 3_600_000 })
  const [a, b] = [open(store, { tidyEveryMs: 10 }), open(store)]
  expect(await passing(a, limit, 1)).toBe(1)
  await expect.poll(() => store.bucket.slices.size).toBe(0)
  expect(await passing(b, limit, 40)).toBe(39)
})

test('what a process has left goes back at its end', async () => {
  const store = createBucketInMemory({ leaseMs: 15_000, now: () => 0 })
  const limit = rateLimit({ capacity: 40, windowMs: 3_600_000 })
  const [a, b] = [open(store), open(store)]
  await passing(a, limit, 1)
  await a[Symbol.asyncDispose]()
  expect([store.bucket.slices.size, await passing(b, limit, 40)]).toEqual([0, 39])
})

test('requests in flight are shared, and those of a dead process come back when its lease is over', async () => {
  let nowMs = 0
  const store = createBucketInMemory({ leaseMs: 15_000, now: () => nowMs })
  const limit = rateLimit({ metric: 'in_flight', capacity: 3, windowMs: 0 })
  const now = () => nowMs
  const [dead, alive] = [open(store, { now }), open(store, { now })]
  expect([await passing(dead, limit, 2), await passing(alive, limit, 2)]).toEqual([2, 1])
  alive.giveBack({ limit, units: 1 })
  expect(await passing(alive, limit, 1)).toBe(1)
  nowMs = 15_000
  expect(await passing(alive, limit, 3)).toBe(2)
})

test('a living process keeps its requests in flight longer than its lease', async () => {
  const store = createBucketInMemory({ leaseMs: 90, now: () => performance.now() })
  const limit = rateLimit({ metric: 'in_flight', capacity: 2, windowMs: 0 })
  const times = { leaseMs: 90, now: () => performance.now() }
  const [a, b] = [open(store, { ...times, tidyEveryMs: 5 }), open(store, times)]
  await passing(a, limit, 2)
  await sleep(250)
  expect(await passing(b, limit, 1)).toBe(0)
})

test('a process that could not renew its lease does not use what it had left', async () => {
  let nowMs = 0
  const store = createBucketInMemory({ leaseMs: 15_000, now: () => nowMs })
  const limit = rateLimit({ capacity: 40, windowMs: 3_600_000 })
  const buckets = open(store, { now: () => nowMs })
  await passing(buckets, limit, 1)
  nowMs = 15_000
  expect(buckets.levelOf(limit).remaining).toBe(38)
  expect(await passing(buckets, limit, 40)).toBe(38)
})

test('a limit that is no more holds nobody up', async () => {
  const buckets = open({ exchange: async () => undefined })
  expect(await passing(buckets, rateLimit({ capacity: 1 }), 3)).toBe(3)
})

test('nothing passes while the database is away, and everything again when it is back', async () => {
  let isAway = true
  const memory = createBucketInMemory({ leaseMs: 15_000, now: () => 0 })
  const buckets = open({
    async exchange(limit, request) {
      if (isAway) throw gatewayError('DATABASE_UNAVAILABLE', {})
      return memory.exchange(limit, request)
    }
  })
  const limit = rateLimit({ capacity: 2, windowMs: 60_000 })
  await expect(Promise.all([1, 2].map(() => buckets.take([{ limit, units: 1 }])))).rejects.toMatchObject({ reason: 'DATABASE_UNAVAILABLE' })
  isAway = false
  expect(await passing(buckets, limit, 3)).toBe(2)
})

test('never more than one bucket holds, whatever processes take, lose and give back', async () => {
  const step = fc.record({
    process: fc.integer({ min: 0, max: 2 }),
    pauseMs: fc.integer({ min: 0, max: 1_500 }),
    burst: fc.integer({ min: 1, max: 6 }),
    units: fc.integer({ min: 1, max: 12 }),
    ends: fc.boolean()
  })
  const measure = fc.record({ capacity: fc.integer({ min: 12, max: 300 }), windowMs: fc.integer({ min: 1_000, max: 60_000 }) })
  await fc.assert(
    fc.asyncProperty(measure, fc.array(step, { maxLength: 40 }), async (numbers, steps) => {
      let nowMs = 0
      const now = () => nowMs
      const limit = rateLimit(numbers)
      const store = createBucketInMemory({ leaseMs: 2_000, now })
      const processes = [0, 1, 2].map(() => open(store, { now, leaseMs: 2_000 }))
      const uses: { atMs: number; units: number }[] = []
      for (const { process, pauseMs, burst, units, ends } of steps) {
        nowMs += pauseMs
        const buckets = processes[process]
        const answers = await Promise.all(Array.from({ length: burst }, () => buckets?.take([{ limit, units }])))
        for (const answer of answers) if (answer === undefined) uses.push({ atMs: nowMs, units })
        if (!ends) continue
        await buckets?.[Symbol.asyncDispose]()
        processes[process] = open(store, { now, leaseMs: 2_000 })
      }
      expect(overuse(limit, uses)).toBeLessThan(0.001)
    })
  )
})
