import { expect, test } from 'vitest'
import { createPlaceTokens } from '../../src/services/place-tokens.ts'

const tokens = createPlaceTokens<readonly [createdAtMs: number, id: string]>({ name: 'budgets', shape: ['number', 'string'] })

test('reads the places that it wrote', () => {
  for (const place of [
    [0, ''],
    [1_790_000_000_000, 'budget_1'],
    [5, 'Zürich "quoted" 🎩']
  ] as const) {
    expect(tokens.read(tokens.write(place))).toEqual(place)
  }
})

test('an empty token is no place', () => {
  expect(tokens.read('')).toBeUndefined()
})

test.each([
  ['is no token at all', 'made-up'],
  ['is JSON, but no list', encode({ 0: 'budgets' })],
  ['is of another list', encode(['api_keys', 1, 'a'])],
  ['has a value too few', encode(['budgets', 1])],
  ['has a value too many', encode(['budgets', 1, 'a', 'b'])],
  ['has an object where a number belongs', encode(['budgets', { $gt: 0 }, 'a'])],
  ['has a number where a text belongs', encode(['budgets', 1, 2])],
  ['has a fraction', encode(['budgets', 1.5, 'a'])],
  ['has a negative number', encode(['budgets', -1, 'a'])],
  ['has a number beyond what is exact', encode(['budgets', 2 ** 53, 'a'])],
  ['has a null character', encode(['budgets', 1, 'a\0b'])],
  ['is written in another way', Buffer.from('["budgets", 1, "a"]').toString('base64url')],
  ['goes on behind its end', `${tokens.write([1, 'a'])}=`]
])('refuses what %s', (_, token) => {
  expect(() => tokens.read(token)).toThrow('page_token: must be the next_page_token of the page before')
})

function encode(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}
