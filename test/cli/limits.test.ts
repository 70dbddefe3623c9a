import { expect, test } from 'vitest'
import { createKey } from '../support/admin.ts'
import { startAtelier, type TestServer } from '../support/atelier.ts'
import { runInProcess } from '../support/run-atelier.ts'

/** Runs a command that has the admin key of the server, in this process. */
function run(atelier: TestServer, ...args: string[]) {
  return runInProcess(args, { environment: { ATELIER_URL: atelier.url, ATELIER_ADMIN_KEY: atelier.adminKey } })
}

test('a key that is named as it is never leaves the command', async () => {
  await using atelier = await startAtelier()
  const { id, key } = await createKey(atelier)
  expect((await run(atelier, 'limits', 'set', '4', 'in-flight', '--key', key)).code).toBe(0)
  expect(JSON.parse((await run(atelier, 'limits', 'list', '--key', key, '--json')).stdout).rate_limits[0].api_key_id).toBe(id)
  expect((await run(atelier, 'usage', '--key', key)).code).toBe(0)
  expect(atelier.logLines.join('')).not.toContain(key)
})

test('limits are set, listed as people say them, changed and deleted', async () => {
  await using atelier = await startAtelier()
  await run(atelier, 'orgs', 'create', 'acme')
  const key = await createKey(atelier, { organizationId: 'acme' })
  const set = await run(atelier, 'limits', 'set', '60', 'requests', '--per', 'minute', '--org', 'acme')
  const id = /limit_\w{22}/.exec(set.stdout)?.[0] ?? ''
  expect(set).toEqual({ code: 0, stdout: `The limit ${id} holds; every process follows within about a second.\n`, stderr: '' })
  await run(atelier, 'limits', 'set', '0.25', 'usd', '--per', '15m', '--key', key.id, '--model', 'openai/*')
  await run(atelier, 'limits', 'set', '4', 'in-flight', '--org', 'acme')
  await run(atelier, 'limits', 'set', '20', 'megapixels', '--per', '1d', '--org', 'acme')
  await run(atelier, 'limits', 'set', '100', 'requests', '--per', '60s', '--org', 'acme')
  const { stdout } = await run(atelier, 'limits', 'list', '--org', 'acme')
  const lines = stdout
    .replace(/limit_\w{22}/g, 'limit')
    .replaceAll(key.id, 'KEY')
    .trimEnd()
    .split('\n')
  expect([lines[0]?.split(/ +/), ...lines.slice(1).sort()]).toEqual([
    ['ID', 'ORG', 'KEY', 'LIMIT', 'MODEL'],
    expect.stringMatching(/^limit {2}acme {2}KEY {2}\$0\.25\/15m +openai\/\*$/),
    expect.stringMatching(/^limit {2}acme {2}all +100 requests\/minute +all$/),
    expect.stringMatching(/^limit {2}acme {2}all +20 megapixels\/day +all$/),
    expect.stringMatching(/^limit {2}acme {2}all +4 in flight +all$/)
  ])
  const json = JSON.parse((await run(atelier, 'limits', 'list', '--key', key.id, '--json')).stdout)
  expect(json).toEqual({
    rate_limits: [
      {
        id: expect.stringMatching(/^limit_\w{22}$/),
        organization_id: 'acme',
        api_key_id: key.id,
        metric: 'cost',
        amount: 250_000,
        window_seconds: 900,
        model: 'openai/*',
        created_at: expect.any(Number)
      }
    ]
  })
  expect(await run(atelier, 'limits', 'delete', id)).toEqual({ code: 0, stdout: `The limit ${id} is deleted.\n`, stderr: '' })
  expect(await run(atelier, 'limits', 'delete', id)).toEqual({ code: 1, stdout: '', stderr: `atelier: there is no rate limit '${id}'\n` })
})

test('no table of limits is wider than 80 characters', async () => {
  await using atelier = await startAtelier()
  await run(atelier, 'orgs', 'create', 'a'.repeat(63))
  const key = await createKey(atelier, { organizationId: 'a'.repeat(63) })
  await run(atelier, 'limits', 'set', '100000', 'megapixels', '--per', 'minute', '--key', key.id, '--model', 'm'.repeat(200))
  const lines = (await run(atelier, 'limits', 'list')).stdout.split('\n')
  expect([lines.length, lines.filter((line) => [...line].length > 80)]).toEqual([3, []])
})

test.each([
  [['set'], 'limits set needs <amount>'],
  [['set', '60'], 'limits set needs <metric>'],
  [['set', '60', 'cats', '--per', 'minute', '--org', 'a'], 'limits can count requests, images, megapixels, usd, in-flight, not cats'],
  [['set', '60', 'requests', '--org', 'a'], 'limits set needs --per, such as --per minute'],
  [['set', '60', 'requests', '--per', 'week', '--org', 'a'], '--per is second, minute, hour, day, or such as 30s, 15m or 6h, not week'],
  [['set', '60', 'requests', '--per', 'minute'], 'limits set needs --org or --key, which says what is limited'],
  [['set', '60', 'requests', '--per', 'minute', '--org', 'a', '--key', 'b'], 'limits set takes --org or --key, and there are both'],
  [['set', '0', 'requests', '--per', 'minute', '--org', 'a'], 'limits set needs a whole number such as 60, not 0'],
  [['set', '0.5', 'images', '--per', 'minute', '--org', 'a'], 'limits set needs a whole number such as 60, not 0.5'],
  [['set', '5 euros', 'usd', '--per', 'minute', '--org', 'a'], 'limits set needs an amount in USD such as 0.50, not 5 euros'],
  [['set', '4', 'in-flight', '--per', 'minute', '--org', 'a'], 'requests in flight are counted at every moment, so --per has no meaning'],
  [['delete'], 'limits delete needs <id>']
])('limits %j ends with 2 and says why', async ([what = '', ...args], problem) => {
  expect(await runInProcess(['limits', what, ...args])).toEqual({
    code: 2,
    stdout: '',
    stderr: `atelier: ${problem}\n\`atelier help limits ${what}\` tells more.\n`
  })
})
