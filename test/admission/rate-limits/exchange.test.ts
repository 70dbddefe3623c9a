import fc from 'fast-check'
import { expect, test } from 'vitest'
import { exchange, type SharedBucket } from '../../../src/admission/rate-limits/exchange.ts'
import { overuse } from '../../support/rate-limits.ts'

const full: SharedBucket = { fillingSinceMs: -1e12, slices: new Map() }
const ask = (processId: string, want: number, held = 0) => ({ processId, held, giveBack: 0, want, least: 1 })
const time = (nowMs: number) => ({ nowMs, leaseMs: 15_000 })

test('gives slices until the bucket is empty, the last one smaller', () => {
  const limit = { capacity: 10, windowMs: 60_000 }
  const first = exchange(full, limit, ask('a', 4), time(0))
  const second = exchange(first.bucket, limit, ask('b', 4), time(0))
  const third = exchange(second.bucket, limit, ask('c', 4), time(0))
  expect([first, second, third].map(({ exchanged: { granted } }) => granted)).toEqual([4, 4, 2])
  expect(exchange(third.bucket, limit, ask('d', 4), time(0)).exchanged).toEqual({ granted: 0, kept: 0, level: 0 })
})

test('gives nothing where it is less than anybody could use', () => {
  const limit = { capacity: 5, windowMs: 60_000 }
  expect(exchange(full, limit, { ...ask('a', 8), least: 6 }, time(0)).exchanged).toEqual({ granted: 0, kept: 0, level: 5 })
})

test('does not fill up to the brim while slices are held', () => {
  const limit = { capacity: 10, windowMs: 10_000 }
  const { bucket } = exchange(full, limit, ask('a', 4), time(0))
  expect(exchange(bucket, limit, ask('b', 10), time(14_000)).exchanged.granted).toBe(6)
})

test('takes back what is not needed', () => {
  const limit = { capacity: 10, windowMs: 10_000 }
  const { bucket } = exchange(full, limit, ask('a', 4), time(0))
  const after = exchange(bucket, limit, { processId: 'a', held: 0, giveBack: 3, want: 0, least: 0 }, time(0))
  expect([after.exchanged, after.bucket.slices.size]).toEqual([{ granted: 0, kept: 0, level: 9 }, 0])
})

test('gives the share of a dead process to the others when its lease is over, as used up', () => {
  const limit = { capacity: 10, windowMs: 1_000_000 }
  const { bucket } = exchange(full, limit, ask('a', 10), time(0))
  expect(exchange(bucket, limit, ask('b', 10), time(15_000)).exchanged.granted).toBe(0)
  const refilled = exchange(bucket, limit, ask('b', 10), time(1_000_000))
  expect(refilled.exchanged.granted).toBe(0)
  expect(exchange(refilled.bucket, limit, ask('b', 10), time(2_000_000)).exchanged.granted).toBe(10)
})

test('lets a process keep nothing of what its lease was over for', () => {
  const limit = { capacity: 10, windowMs: 1_000_000 }
  const { bucket } = exchange(full, limit, ask('a', 4), time(0))
  expect(exchange(bucket, limit, ask('a', 0, 4), time(15_001)).exchanged).toMatchObject({ kept: 0 })
})

test('takes nothing back of what a lease was over for', () => {
  const limit = { capacity: 10, windowMs: 1_000_000 }
  const { bucket } = exchange(full, limit, ask('a', 10), time(0))
  const after = exchange(bucket, limit, { processId: 'a', held: 0, giveBack: 10, want: 0, least: 0 }, time(15_000))
  expect(after.exchanged.level).toBe(0)
})

test('counts the requests of a living process that are in flight, and none of a dead one', () => {
  const limit = { capacity: 4, windowMs: 0 }
  const first = exchange(full, limit, ask('a', 3), time(0))
  expect(exchange(first.bucket, limit, ask('b', 3), time(14_999)).exchanged).toEqual({ granted: 1, kept: 0, level: 0 })
  const second = exchange(first.bucket, limit, ask('b', 3), time(15_000))
  expect(second.exchanged).toEqual({ granted: 3, kept: 0, level: 1 })
  // It was only taken for dead: what it has is there, and it gets nothing more.
  expect(exchange(second.bucket, limit, ask('a', 1, 3), time(15_001)).exchanged).toEqual({ granted: 0, kept: 3, level: -2 })
})

test('never lets all processes together use more than one bucket holds, whatever they do when, also when some of them die', () => {
  const step = fc.record({
    process: fc.integer({ min: 0, max: 3 }),
    pauseMs: fc.integer({ min: 0, max: 2_000 }),
    act: fc.constantFrom('use', 'use', 'use', 'use all', 'ask', 'give back', 'renew', 'die'),
    units: fc.integer({ min: 1, max: 30 })
  })
  const measure = fc.record({ capacity: fc.integer({ min: 1, max: 200 }), windowMs: fc.integer({ min: 1_000, max: 100_000 }) })
  fc.assert(
    fc.property(measure, fc.array(step, { maxLength: 150 }), (limit, steps) => {
      let nowMs = 0
      let bucket = full
      const left = new Map<number, { units: number; untilMs: number }>()
      const uses: { atMs: number; units: number }[] = []
      const trade = (process: number, held: number, giveBack: number, want: number) => {
        const after = exchange(bucket, limit, { processId: String(process), held, giveBack, want, least: 1 }, { nowMs, leaseMs: 3_000 })
        bucket = after.bucket
        left.set(process, { units: after.exchanged.kept + after.exchanged.granted, untilMs: nowMs + 3_000 })
      }
      for (const { process, pauseMs, act, units } of steps) {
        nowMs += pauseMs
        const slice = left.get(process)
        const usable = slice !== undefined && nowMs < slice.untilMs ? slice.units : 0
        if (act === 'use' || act === 'use all') {
          if (usable < units) trade(process, usable, 0, Math.max(units, 5))
          const now = left.get(process)?.units ?? 0
          const used = act === 'use all' ? now : Math.min(units, now)
          if (used > 0) uses.push({ atMs: nowMs, units: used })
          left.set(process, { units: now - used, untilMs: left.get(process)?.untilMs ?? 0 })
        } else if (act === 'ask') trade(process, usable, 0, units)
        else if (act === 'give back') trade(process, 0, usable, 0)
        else if (act === 'renew') trade(process, usable, 0, 0)
        else left.delete(process)
      }
      expect(overuse(limit, uses)).toBeLessThan(0.001)
    }),
    { numRuns: 500 }
  )
})
