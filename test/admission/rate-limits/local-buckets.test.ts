import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createLocalBuckets } from '../../../src/admission/rate-limits/local-buckets.ts'
import { overuse, rateLimit } from '../../support/rate-limits.ts'

test('gives what is in the bucket, and then as much as flows in', () => {
  let nowMs = 5_000
  const buckets = createLocalBuckets({ now: () => nowMs })
  const limit = rateLimit({ capacity: 3, windowMs: 60_000 })
  const take = () => buckets.take([{ limit, units: 1 }])
  expect([take(), take(), take()]).toEqual([undefined, undefined, undefined])
  expect(take()).toEqual({ limit, waitMs: 20_000 })
  nowMs += 19_999
  expect(take()).toEqual({ limit, waitMs: expect.closeTo(1, 3) })
  nowMs += 1
  expect([take(), take()]).toEqual([undefined, { limit, waitMs: 20_000 }])
})

test('says what is left, and when the bucket will be full', () => {
  let nowMs = 0
  const buckets = createLocalBuckets({ now: () => nowMs })
  const limit = rateLimit({ capacity: 10, windowMs: 10_000 })
  expect(buckets.levelOf(limit)).toEqual({ remaining: 10, fullInMs: 0 })
  buckets.take([{ limit, units: 4 }])
  expect(buckets.levelOf(limit)).toEqual({ remaining: 6, fullInMs: 4_000 })
  nowMs += 500
  expect(buckets.levelOf(limit)).toEqual({ remaining: 6.5, fullInMs: 3_500 })
})

test('takes nothing of any bucket where one has too little', () => {
  const buckets = createLocalBuckets({ now: () => 0 })
  const requests = rateLimit({ id: 'requests', capacity: 10 })
  const images = rateLimit({ id: 'images', metric: 'images', capacity: 4 })
  const inFlight = rateLimit({ id: 'in flight', metric: 'in_flight', capacity: 2, windowMs: 0 })
  const take = (units: number) =>
    buckets.take([
      { limit: inFlight, units: 1 },
      { limit: requests, units: 1 },
      { limit: images, units }
    ])
  expect(take(3)).toBeUndefined()
  expect(take(2)).toMatchObject({ limit: { id: 'images' } })
  expect([requests, images, inFlight].map((limit) => buckets.levelOf(limit).remaining)).toEqual([9, 1, 1])
})

test('has as many requests in flight as are allowed, and takes one more when one is over', () => {
  const buckets = createLocalBuckets()
  const limit = rateLimit({ metric: 'in_flight', capacity: 2, windowMs: 0 })
  const taking = { limit, units: 1 }
  expect([buckets.take([taking]), buckets.take([taking])]).toEqual([undefined, undefined])
  expect(buckets.take([taking])).toEqual({ limit, waitMs: undefined })
  buckets.giveBack(taking)
  expect([buckets.take([taking]), buckets.take([taking])]).toEqual([undefined, { limit, waitMs: undefined }])
})

test('keeps the fraction that is left when the amount is changed', () => {
  const buckets = createLocalBuckets({ now: () => 0 })
  buckets.take([{ limit: rateLimit({ capacity: 10 }), units: 5 }])
  expect(buckets.levelOf(rateLimit({ capacity: 100 })).remaining).toBe(50)
})

const measures = fc.record({ capacity: fc.integer({ min: 1, max: 1_000_000 }), windowMs: fc.integer({ min: 1_000, max: 86_400_000 }) })

test('never gives more than the bucket holds and what flows in, whatever comes when', () => {
  const steps = fc.array(
    fc.record({ pauseMs: fc.double({ min: 0, max: 5_000, noNaN: true }), share: fc.double({ min: 0, max: 1, noNaN: true }) }),
    {
      maxLength: 100
    }
  )
  fc.assert(
    fc.property(measures, steps, (measure, pace) => {
      const limit = rateLimit(measure)
      let nowMs = 1e9
      const buckets = createLocalBuckets({ now: () => nowMs })
      const uses: { atMs: number; units: number }[] = []
      for (const { pauseMs, share } of pace) {
        nowMs += pauseMs
        const units = Math.max(1, Math.round(share * limit.capacity))
        if (buckets.take([{ limit, units }]) === undefined) uses.push({ atMs: nowMs, units })
      }
      expect(overuse(limit, uses)).toBeLessThan(limit.capacity * 1e-6 + 1e-3)
    })
  )
})

test('gives what it refused as soon as the wait that it told is over, and no sooner', () => {
  fc.assert(
    fc.property(measures, fc.double({ min: 0, max: 1, noNaN: true }), (measure, share) => {
      const limit = rateLimit(measure)
      let nowMs = 1e6
      const buckets = createLocalBuckets({ now: () => nowMs })
      const units = Math.max(1, Math.round(share * limit.capacity))
      buckets.take([{ limit, units: limit.capacity }])
      const refused = buckets.take([{ limit, units }])
      const waitMs = refused?.waitMs ?? 0
      nowMs += waitMs - 0.01 - waitMs * 1e-6
      const early = buckets.take([{ limit, units }])
      nowMs = 1e6 + waitMs + 0.001
      expect([early === undefined, buckets.take([{ limit, units }])]).toEqual([false, undefined])
    })
  )
})
