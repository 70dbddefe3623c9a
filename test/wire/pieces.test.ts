import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createGathering, headOf, sizeOf } from '../../src/wire/pieces.ts'

test('what is gathered is what was added, in order, however it was cut', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(20_000), { maxLength: 60 }), (lengths) => {
      const parts = lengths.map((length, index) => Buffer.alloc(length, index))
      const gathering = createGathering()
      for (const part of parts) gathering.add(part)
      const whole = Buffer.concat(parts)
      expect(gathering.sizeBytes).toBe(whole.length)
      const pieces = gathering.take()
      expect(sizeOf(pieces)).toBe(whole.length)
      expect(Buffer.concat(pieces).equals(whole)).toBe(true)
      expect(Buffer.compare(headOf(pieces, 4096), whole.subarray(0, 4096))).toBe(0)
      expect([gathering.sizeBytes, gathering.take()]).toEqual([0, []])
    })
  )
})

test('a million single bytes become a few pieces', () => {
  const gathering = createGathering()
  for (let index = 0; index < 1_000_000; index++) gathering.add(Uint8Array.of(index))
  expect(gathering.take().length).toBe(16)
})

test('large pieces are kept as they are', () => {
  const piece = new Uint8Array(48 * 1024)
  const gathering = createGathering()
  gathering.add(piece)
  expect(gathering.take()[0]).toBe(piece)
})
