// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the configuration's references look like this
import { expect, test } from 'vitest'
import { describeSettings } from '../../src/config/describe-settings.ts'
import { loadYaml, problemsOf } from '../support/config-file.ts'

test.each([
  ['monthly_budget_usd: 50', {}, { limitMicros: 50_000_000 }],
  ['monthly_budget_usd: 12.50', {}, { limitMicros: 12_500_000 }],
  ['monthly_budget_usd: 0.000001\nunknown_price_usd: 0', {}, { limitMicros: 1, unknownPriceMicros: 0 }],
  ['monthly_budget_usd: "${BUDGET}"', { BUDGET: '7' }, { limitMicros: 7_000_000 }],
  ['monthly_budget_usd: 50', { ATELIER_MONTHLY_BUDGET_USD: '20' }, { limitMicros: 20_000_000 }],
  [
    undefined,
    { ATELIER_MONTHLY_BUDGET_USD: '5', ATELIER_UNKNOWN_PRICE_USD: '0.10' },
    { limitMicros: 5_000_000, unknownPriceMicros: 100_000 }
  ],
  [undefined, { ATELIER_MONTHLY_BUDGET_USD: '' }, undefined]
])('%j with %j is a monthly budget of %j', async (text, environment, budget) => {
  expect((await loadYaml(text, environment as Record<string, string>)).settings.monthlyBudget).toEqual(budget)
})

test('what is in effect tells of it', async () => {
  const described = describeSettings(await loadYaml(undefined, { ATELIER_MONTHLY_BUDGET_USD: '12.5', ATELIER_UNKNOWN_PRICE_USD: '0.1' }))
  expect(described).toContain('monthly_budget_usd: 12.5 # ATELIER_MONTHLY_BUDGET_USD\nunknown_price_usd: 0.1 # ATELIER_UNKNOWN_PRICE_USD\n')
})

test.each([
  ['monthly_budget_usd: 0', {}, 'atelier.yaml:1:1 monthly_budget_usd: must be a number above 0 and at most 1000000000 (got "0")'],
  ['monthly_budget_usd: -5', {}, 'atelier.yaml:1:1 monthly_budget_usd: must be a number above 0 and at most 1000000000 (got "-5")'],
  ['monthly_budget_usd: 0.0000001', {}, 'atelier.yaml:1:1 monthly_budget_usd: must have at most six decimals (got "0.0000001")'],
  [
    'monthly_budget_usd: 5\ntasks: off',
    {},
    'atelier.yaml:1:1 monthly_budget_usd: needs tasks: on, as what is recorded nowhere cannot be added up (got "5")'
  ],
  [
    'unknown_price_usd: 1',
    {},
    'atelier.yaml:1:1 unknown_price_usd: has no use without monthly_budget_usd (ATELIER_MONTHLY_BUDGET_USD) (got "1")'
  ],
  [
    '',
    { ATELIER_MONTHLY_BUDGET_USD: '5 USD' },
    'ATELIER_MONTHLY_BUDGET_USD monthly_budget_usd: must be a number of USD, such as 50 or 12.50 (got "5 USD")'
  ]
])('%j with %j is refused', async (text, environment, problem) => {
  expect(await problemsOf(text, environment as Record<string, string>)).toEqual([problem])
})
