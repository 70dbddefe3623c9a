import { expect, test } from 'vitest'
import { readExpiry } from '../../src/cli/expiry.ts'
import { renderTable } from '../../src/cli/table.ts'

test('aligns columns under their titles', () => {
  const table = renderTable(
    [
      { id: 'a', name: 'first' },
      { id: 'bcd', name: 'x' }
    ],
    [
      { title: 'ID', text: ({ id }) => id },
      { title: 'NAME', text: ({ name }) => name }
    ]
  )
  expect(table).toBe('ID   NAME\na    first\nbcd  x\n')
})

test('cuts the widest of the columns that may be cut, until the table fits 80 characters', () => {
  const table = renderTable(
    [{ id: 'i'.repeat(30), name: 'n'.repeat(60), note: 'o'.repeat(20) }],
    [
      { title: 'ID', text: ({ id }) => id },
      { title: 'NAME', text: ({ name }) => name, cut: true },
      { title: 'NOTE', text: ({ note }) => note, cut: true }
    ]
  )
  const [, line = ''] = table.split('\n')
  expect([line.length, line]).toEqual([80, `${'i'.repeat(30)}  ${'n'.repeat(25)}…  ${'o'.repeat(20)}`])
})

test('shows no control characters of names', () => {
  expect(renderTable([{ name: '\u001b[2Jevil\n' }], [{ title: 'NAME', text: ({ name }) => name }])).toBe('NAME\n?[2Jevil?\n')
})

const now = Date.parse('2026-11-20T12:00:00Z')

test.each<[string, number | undefined]>([
  ['30m', now / 1000 + 1_800],
  ['12h', now / 1000 + 43_200],
  ['90d', now / 1000 + 7_776_000],
  ['2w', now / 1000 + 1_209_600],
  ['2027-01-31', Date.parse('2027-01-31T00:00:00Z') / 1000],
  ['never', undefined]
])('reads the expiry %s', (text, seconds) => {
  expect(readExpiry(text, now)).toBe(seconds)
})

test.each(['', '0d', '90', '-1d', 'tomorrow', '2027-02-30', '2026-11-20'])('refuses the expiry %j', (text) => {
  expect(() => readExpiry(text, now)).toThrow('--expires must be')
})
