import { afterAll, beforeAll, expect, test } from 'vitest'
import { createBucketStore } from '../../../src/admission/rate-limits/bucket-store.ts'
import type { Buckets } from '../../../src/admission/rate-limits/buckets.ts'
import type { RateLimit } from '../../../src/admission/rate-limits/rate-limit.ts'
import { createSharedBuckets } from '../../../src/admission/rate-limits/shared-buckets.ts'
import { type Database, openDatabase } from '../../../src/storage/database.ts'
import type { RateLimitRow } from '../../../src/storage/schema.ts'
import { type PostgresCluster, startPostgres } from '../../support/postgres.ts'
import { rateLimit } from '../../support/rate-limits.ts'

const parts = new AsyncDisposableStack()
let postgres: PostgresCluster
let databaseUrl: string
let database: Database

beforeAll(async () => {
  postgres = parts.use(await startPostgres())
  databaseUrl = await postgres.createDatabase()
  database = parts.use(await openDatabase({ dataDir: '/nowhere', databaseUrl }))
})
afterAll(() => parts.disposeAsync())

async function insert(limit: RateLimit): Promise<RateLimit> {
  const { id, metric, capacity: amount, windowMs: window_ms } = limit
  const row: RateLimitRow = { id, organization_id: 'default', api_key_id: '', metric, amount, window_ms, model: id, created_at_ms: 0 }
  const { query } = database
  await database.commit([
    { query: query.insertInto('rate_limits').values(row) },
    { query: query.insertInto('rate_limit_buckets').values({ limit_id: id, revision: 0, filling_since_us: 0 }) }
  ])
  return limit
}

/** One more process, with its own connections. */
async function openProcess(leaseMs = 15_000): Promise<Buckets> {
  const own = parts.use(await openDatabase({ dataDir: '/nowhere', databaseUrl }))
  return parts.use(createSharedBuckets({ leaseMs }, { store: createBucketStore({ leaseMs }, { database: own }) }))
}

test('1,000 requests at once through three processes let exactly as many pass as the bucket holds', async () => {
  const limit = await insert(rateLimit({ id: 'a hundred a day', capacity: 100, windowMs: 86_400_000 }))
  const processes = await Promise.all([openProcess(), openProcess(), openProcess()])
  const take = (request: number) => processes[request % 3]?.take([{ limit, units: 1 }])
  const first = await Promise.all(Array.from({ length: 1_000 }, (_, request) => take(request)))
  const passed = first.filter((shortage) => shortage === undefined).length
  // Each may be left with less than a slice.
  expect(passed).toBeGreaterThan(100 - 3 * 5)
  await Promise.all(processes.map((buckets) => buckets[Symbol.asyncDispose]()))
  const last = await openProcess()
  let rest = 0
  while ((await last.take([{ limit, units: 1 }])) === undefined) rest += 1
  expect(passed + rest).toBe(100)
})

test('a small bucket is given out to the last request', async () => {
  const limit = await insert(rateLimit({ id: 'five a day', capacity: 5, windowMs: 86_400_000 }))
  const processes = await Promise.all([openProcess(), openProcess()])
  const answers = await Promise.all(Array.from({ length: 40 }, (_, request) => processes[request % 2]?.take([{ limit, units: 1 }])))
  expect(answers.filter((shortage) => shortage === undefined)).toHaveLength(5)
  expect(answers.find((shortage) => shortage !== undefined)?.waitMs).toBeGreaterThan(86_400_000 / 5 - 60_000)
})

test('what flows in is given out once', async () => {
  const limit = await insert(rateLimit({ id: 'fast', capacity: 20, windowMs: 1_000 }))
  const processes = await Promise.all([openProcess(), openProcess()])
  const begunAtMs = performance.now()
  let passed = 0
  while (performance.now() - begunAtMs < 1_500) {
    const answers = await Promise.all(Array.from({ length: 8 }, (_, request) => processes[request % 2]?.take([{ limit, units: 1 }])))
    passed += answers.filter((shortage) => shortage === undefined).length
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  const elapsedMs = performance.now() - begunAtMs
  expect(passed).toBeLessThanOrEqual(20 + (elapsedMs * 20) / 1_000)
  expect(passed).toBeGreaterThan(25)
})

test('requests in flight of a process that is gone without a word come back after its lease', async () => {
  const limit = await insert(rateLimit({ id: 'three at a time', metric: 'in_flight', capacity: 3, windowMs: 0 }))
  const taking = { limit, units: 1 }
  const store = createBucketStore({ leaseMs: 300 }, { database })
  await store.exchange(limit, { processId: 'gone', held: 0, giveBack: 0, want: 2, least: 1 })
  const alive = await openProcess()
  expect([await alive.take([taking]), await alive.take([taking])]).toEqual([undefined, { limit, waitMs: undefined }])
  await expect.poll(() => alive.take([taking])).toBeUndefined()
  expect(await alive.take([taking])).toBeUndefined()
  expect(await alive.take([taking])).toEqual({ limit, waitMs: undefined })
})

test('a limit that is deleted meanwhile limits nobody', async () => {
  const store = createBucketStore({ leaseMs: 15_000 }, { database })
  const request = { processId: 'a', held: 0, giveBack: 0, want: 1, least: 1 }
  expect(await store.exchange(rateLimit({ id: 'never there' }), request)).toBeUndefined()
})
