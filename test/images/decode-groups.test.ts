import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import { createDecodingMemory, decodeGroups, decodeInPlace } from '../../src/images/decode-groups.ts'

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'

/** The same bytes at each run. */
function bytesOf(length: number): Buffer {
  const blocks = Array.from({ length: Math.ceil(length / 32) }, (_, index) => createHash('sha256').update(`${index}`).digest())
  return Buffer.concat(blocks).subarray(0, length)
}

test.each([3, 9, 12, 15, 48, 3072, 98_304, 98_307, 98_316, 300_000])('decodes the text of %i bytes', (length) => {
  const bytes = bytesOf(length)
  const target = Buffer.alloc(length + 1, 0x55)
  expect(decodeGroups(Buffer.from(bytes.toString('base64'), 'latin1'), target)).toBe(length)
  expect(target.subarray(0, length).equals(bytes)).toBe(true)
  expect(target[length]).toBe(0x55)
})

test('each character of the alphabet has its value at each place, and every other byte is foreign there', () => {
  const target = Buffer.alloc(48)
  for (let place = 0; place < 64; place++) {
    for (let byte = 0; byte < 256; byte++) {
      const text = Buffer.alloc(64, 'A')
      text[place] = byte
      const isForeign = !alphabet.includes(String.fromCharCode(byte))
      expect([place, byte, decodeGroups(text, target)]).toEqual([place, byte, isForeign ? 0 : 48])
      if (!isForeign) expect(target.toString('base64')).toBe(text.toString('latin1'))
    }
  }
})

test('finds a foreign character anywhere in a long text', () => {
  const target = Buffer.alloc(225_000)
  for (const place of [0, 15, 16, 131_071, 131_072, 299_983, 299_999]) {
    const text = Buffer.alloc(300_000, 'z')
    text[place] = 0x2d
    expect(decodeGroups(text, target)).toBe(0)
  }
})

test('no text makes no bytes', () => {
  expect(decodeGroups(Buffer.alloc(0), Buffer.alloc(0))).toBe(0)
})

test.each([
  [0, 3],
  [3, 0],
  [3, 9],
  [0, 12],
  [3, 48],
  [3, 98_304],
  [0, 98_307]
])('decodes the text of %i and then %i bytes in place', (firstBytes, otherBytes) => {
  const bytes = bytesOf(firstBytes + otherBytes)
  const text = Buffer.from(bytes.toString('base64'), 'latin1')
  const memory = createDecodingMemory(262_144)?.fill(0x55) ?? Buffer.alloc(0)
  const target = memory.subarray(1001, 1001 + text.length + 16)
  expect(decodeInPlace(text.subarray(0, (firstBytes / 3) * 4), text.subarray((firstBytes / 3) * 4), target)).toBe(bytes.length)
  expect(target.subarray(0, bytes.length).equals(bytes)).toBe(true)
  expect(memory.subarray(0, 1001).every((byte) => byte === 0x55)).toBe(true)
  expect(memory.subarray(1001 + text.length + 16).every((byte) => byte === 0x55)).toBe(true)
})

test('decodes nothing in place that is foreign, in other memory, or in less memory than it takes', () => {
  const text = Buffer.alloc(64, 'z')
  const memory = createDecodingMemory(65_536) ?? Buffer.alloc(0)
  const none = Buffer.alloc(0)
  expect(decodeInPlace(text, none, memory)).toBe(48)
  expect(decodeInPlace(none, Buffer.alloc(64, '-'), memory)).toBe(0)
  expect(decodeInPlace(text, none, memory.subarray(0, 79))).toBe(0)
  expect(decodeInPlace(text, none, Buffer.alloc(200))).toBe(0)
  expect(decodeInPlace(none, none, memory)).toBe(0)
})
