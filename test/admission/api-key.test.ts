import { createHash } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { expect, test } from 'vitest'
import { createApiKey, hashApiKey, looksLikeApiKey, parseApiKey } from '../../src/admission/api-key.ts'

test('makes keys that are recognised offline and carry their id', () => {
  const { key, id, hash, hint } = createApiKey()
  expect(key).toMatch(/^sk-atelier-[0-9A-Za-z]{42}$/)
  expect(key.slice(11, 19)).toBe(id)
  expect(key.slice(-4)).toBe(hint)
  expect(Buffer.from(hash)).toEqual(createHash('sha256').update(key).digest())
  expect(parseApiKey(key)).toEqual({ id })
})

test('makes another key every time', () => {
  expect(new Set(Array.from({ length: 1_000 }, () => createApiKey().key)).size).toBe(1_000)
})

test('ends a key in the CRC-32 of what comes before it, in base 62', () => {
  const unchecked = 'sk-atelier-0123456789abcdefghijABCDEFGHIJ012345'
  const digits = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
  const value = (text: string) => [...text].reduce((sum, digit) => sum * 62 + digits.indexOf(digit), 0)
  expect(crc32(unchecked)).toBe(value('068NI4'))
  expect(parseApiKey(`${unchecked}068NI4`)).toEqual({ id: '01234567' })
})

test('recognises no key in which a single character was altered or left out', () => {
  const { key } = createApiKey()
  const altered = Array.from(key).flatMap((character, index) =>
    ['', '0', 'a', 'Z'].filter((other) => other !== character).map((other) => key.slice(0, index) + other + key.slice(index + 1))
  )
  expect(altered.filter((text) => text !== key && looksLikeApiKey(text))).toEqual([])
})

test.each(['', 'sk-atelier-', 'sk-proj-abcdefghijklmnopqrstuvwxyz0123456789', 'Bearer sk-atelier-', 'sk-atelier-'.repeat(10_000)])(
  'recognises no key in other text',
  (text) => {
    expect(looksLikeApiKey(text)).toBe(false)
  }
)

test('hashes any text, not only keys of its own', () => {
  expect(Buffer.from(hashApiKey('abc')).toString('hex')).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad')
})
