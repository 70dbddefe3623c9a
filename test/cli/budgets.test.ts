import { expect, test } from 'vitest'
import { startAtelier, type TestServer } from '../support/atelier.ts'
import { runInProcess } from '../support/run-atelier.ts'

test('budgets are set, listed and deleted', async () => {
  await using atelier = await startAtelier()
  await run(atelier, 'orgs', 'create', 'acme')
  const set = await run(atelier, 'budgets', 'set', '5', '--org', 'acme')
  expect([set.code, set.stdout.replace(id, '<id>').replace(/\d{4}-\d\d-\d\d/, '<day>'), set.stderr]).toEqual([
    0,
    'The budget <id> for org acme is $5.00 a month; $0.00 is used and it begins anew on <day>. Every process follows within about a second.\n',
    ''
  ])
  await run(atelier, 'budgets', 'set', '0.5', '--per', 'day', '--all', '--unknown-price', '0.04')
  const listed = await run(atelier, 'budgets', 'list')
  expect(
    listed.stdout
      .replace(new RegExp(id, 'g'), '<id>')
      .split('\n')
      .map((line) => line.replace(/ {2,}/g, '  '))
  ).toEqual(['ID  FOR  PER  LIMIT  USED', '<id>  everything  day  $0.50  $0.00', '<id>  org acme  month  $5.00  $0.00', ''])
  const { budgets } = JSON.parse((await run(atelier, 'budgets', 'list', '--org', 'acme', '--json')).stdout)
  expect(budgets).toMatchObject([{ subject: { organization_id: 'acme' }, period: 'month', limit_micros: 5_000_000 }])
  expect(await run(atelier, 'budgets', 'delete', budgets[0].id)).toEqual({
    code: 0,
    stdout: `The budget ${budgets[0].id} is deleted; every process follows within about a second.\n`,
    stderr: ''
  })
  expect((await run(atelier, 'budgets', 'list')).stdout).not.toContain('acme')
})

test('one command makes a key with a budget', async () => {
  await using atelier = await startAtelier()
  const created = await run(atelier, 'keys', 'create', '--name', 'ci', '--budget', '5')
  const key = created.stdout.trim()
  expect([created.code, created.stdout]).toEqual([0, `${key}\n`])
  expect(created.stderr.split('\n')[1]).toMatch(
    new RegExp(
      `^The budget budget_\\w{22} for key ${key.slice(11, 19)} is \\$5\\.00 a month; \\$0\\.00 is used and it begins anew on .*\\.$`
    )
  )
  const json = JSON.parse((await run(atelier, 'keys', 'create', '--name', 'ci', '--budget', '0.25', '--per', 'total', '--json')).stdout)
  expect(json).toMatchObject({ name: 'ci', key: expect.any(String), budget: { limit_micros: 250_000, period: 'total' } })
})

test('a key that cannot have its budget is revoked again', async () => {
  await using atelier = await startAtelier()
  const failed = await run(atelier, 'keys', 'create', '--name', 'ci', '--budget', '0')
  expect([failed.code, failed.stdout]).toEqual([1, ''])
  expect((await run(atelier, 'keys', 'list')).stdout).not.toContain('ci')
  expect((await run(atelier, 'keys', 'list', '--all')).stdout).toMatch(/ ci .* revoked /)
})

test.each([
  [['budgets', 'set'], 'atelier: budgets set needs <usd>'],
  [['budgets', 'set', '5'], 'atelier: budgets set needs one of --org, --key and --all, which say whose requests it is for'],
  [
    ['budgets', 'set', '5', '--org', 'a', '--all'],
    'atelier: budgets set needs one of --org, --key and --all, which say whose requests it is for'
  ],
  [['budgets', 'set', 'five', '--all'], 'atelier: the amount must be in USD, such as 5 or 0.25, not five'],
  [['budgets', 'set', '5', '--all', '--per', 'week'], 'atelier: --per knows day, month, total, not week'],
  [['budgets', 'set', '5', '--all', '--unknown-price', 'x'], 'atelier: --unknown-price must be in USD, such as 5 or 0.25, not x'],
  [['keys', 'create', '--name', 'ci', '--budget', 'x'], 'atelier: --budget must be in USD, such as 5 or 0.25, not x'],
  [['keys', 'create', '--name', 'ci', '--per', 'day'], 'atelier: --per is of no use without --budget']
])('%j is refused before anything is asked', async (args, problem) => {
  const { code, stdout, stderr } = await runInProcess(args)
  expect([code, stdout, stderr.split('\n')[0]]).toEqual([2, '', problem])
})

const id = /budget_\w{22}/

function run({ url, adminKey }: TestServer, ...args: string[]) {
  return runInProcess(args, { environment: { ATELIER_URL: url, ATELIER_ADMIN_KEY: adminKey } })
}
