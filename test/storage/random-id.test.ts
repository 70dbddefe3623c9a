import { afterEach, expect, test, vi } from 'vitest'
import { fewRandomBytes } from '../../src/storage/random-bytes.ts'
import { orderedId } from '../../src/storage/random-id.ts'

afterEach(() => void vi.useRealTimers())

test('orders ids by the millisecond in which they were made', () => {
  const times = ['1999-12-31T23:59:59.999Z', '2026-01-01T00:00:00.000Z', '2026-01-01T00:00:00.001Z', '2199-01-01T00:00:00.000Z']
  vi.useFakeTimers({ toFake: ['Date'] })
  const ids = times.map((time) => {
    vi.setSystemTime(time)
    return orderedId()
  })
  expect(ids.toSorted()).toEqual(ids)
})

test('makes ids of one millisecond that differ in 22 random characters', () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  vi.setSystemTime('2026-01-01T00:00:00.000Z')
  const ids = Array.from({ length: 10_000 }, orderedId)
  expect(new Set(ids.map((id) => id.slice(0, 8)))).toEqual(new Set(['0V70MWDg']))
  expect(new Set(ids.map((id) => id.slice(8))).size).toBe(10_000)
  for (const id of ids) expect(id).toMatch(/^[0-9A-Za-z]{30}$/)
})

test('gives random bytes out once, however many are asked for', () => {
  const drawn = [...Array.from({ length: 2_000 }, () => fewRandomBytes(16)), fewRandomBytes(5_000).subarray(0, 16)]
  expect(new Set(drawn.map((bytes) => Buffer.from(bytes).toString('hex'))).size).toBe(2_001)
  expect(drawn.every((bytes) => bytes.length === 16)).toBe(true)
  const counts = new Map<number, number>()
  for (const byte of drawn.flatMap((bytes) => [...bytes])) counts.set(byte, (counts.get(byte) ?? 0) + 1)
  expect(counts.size).toBe(256)
})
