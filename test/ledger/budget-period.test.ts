import { expect, test } from 'vitest'
import { nextPeriodMs, periodAt } from '../../src/ledger/budget-period.ts'

test.each([
  ['day', '2026-11-20T00:00:00.000Z', '2026-11-20', '2026-11-21'],
  ['day', '2026-12-31T23:59:59.999Z', '2026-12-31', '2027-01-01'],
  ['day', '2028-02-28T12:00:00Z', '2028-02-28', '2028-02-29'],
  ['month', '2026-11-20T12:00:00Z', '2026-11-01', '2026-12-01'],
  ['month', '2026-12-31T23:59:59.999Z', '2026-12-01', '2027-01-01']
] as const)('a %s at %s begins on %s and the next one on %s', (period, now, starts, next) => {
  const nowMs = Date.parse(now)
  const startsAtMs = Date.parse(starts)
  expect(periodAt({ id: 'budget_1', period }, nowMs)).toEqual({
    id: `budget_1@${startsAtMs}`,
    budget_id: 'budget_1',
    starts_at_ms: startsAtMs,
    used_micros: 0
  })
  expect(nextPeriodMs(period, nowMs)).toBe(Date.parse(next))
})

test('what never begins anew has one period', () => {
  expect([periodAt({ id: 'budget_1', period: 'total' }, Date.now()).id, nextPeriodMs('total', Date.now())]).toEqual([
    'budget_1@0',
    undefined
  ])
})
