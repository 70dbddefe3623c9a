import fc from 'fast-check'
import { expect, test } from 'vitest'
import { formatUsd, parseUsd } from '../../src/ledger/usd.ts'

test.each([
  [0, '$0.00'],
  [1, '$0.000001'],
  [50_000, '$0.05'],
  [41_200, '$0.0412'],
  [5_000_000, '$5.00'],
  [12_345_678, '$12.345678'],
  [-2_500_000, '-$2.50'],
  [1_000_000_000_000_000, '$1000000000.00']
])('%i micro-USD is written %s', (micros, text) => {
  expect(formatUsd(micros)).toBe(text)
})

test.each([
  ['5', 5_000_000],
  ['$5.00', 5_000_000],
  [' 0.25 ', 250_000],
  ['0.000001', 1],
  ['999999999.999999', 999_999_999_999_999]
])('%j is %i micro-USD', (text, micros) => {
  expect(parseUsd(text)).toBe(micros)
})

test.each(['', '.5', '5.', '-1', '1e3', '0.1234567', '1,000', '5 USD', '1000000000', 'Infinity'])('%j is no amount', (text) => {
  expect(parseUsd(text)).toBeUndefined()
})

test('every amount is read as it is written', () => {
  fc.assert(fc.property(fc.integer({ min: 0, max: 999_999_999_999_999 }), (micros) => parseUsd(formatUsd(micros)) === micros))
})
