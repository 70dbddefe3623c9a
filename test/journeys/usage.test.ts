import { setTimeout as sleep } from 'node:timers/promises'
import { type Client, createClient } from '@connectrpc/connect'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TaskOperation, TaskOperationSchema } from '../../gen/atelier/v1/task_pb.ts'
import { LedgerEntryBasis, LedgerEntryKind, UsageDimension } from '../../gen/atelier/v1/usage_pb.ts'
import { UsageService } from '../../gen/atelier/v1/usage_service_pb.ts'
import { wireName } from '../../src/contract/wire-names.ts'
import { adminOf, connectWith, createKey, refusalOf } from '../support/admin.ts'
import { type Gateway, startGateway } from '../support/gateway.ts'
import { plainImage } from '../support/input-images.ts'
import { runInProcess } from '../support/run-atelier.ts'
import { startSharedStorage } from '../support/shared-storage.ts'
import { readTask, submit } from '../support/task-client.ts'

const { DAY, ORGANIZATION, API_KEY, PROVIDER, MODEL, USER, OPERATION, CREDENTIAL, METADATA } = UsageDimension
const generations = '/v1/images/generations'
/** 5,880 micro-USD for its image, and 5 for each token of its prompt. */
const cheap = { model: 'gpt-image-2', size: '1024x1024', quality: 'low' }

describe.each(['SQLite', 'PostgreSQL'])('on %s', (engine) => {
  const parts = new AsyncDisposableStack()
  let gateway: Gateway
  let usage: Client<typeof UsageService>
  let acme: { id: string; key: string }
  let ci: { id: string; key: string }

  beforeAll(async () => {
    const environment = engine === 'SQLite' ? {} : parts.use(await startSharedStorage()).environment
    gateway = parts.use(await startGateway({ environment, openai: { retired: [] } }))
    usage = createClient(UsageService, connectWith(gateway.url, gateway.adminKey))
    await adminOf(gateway).createOrganization({ id: 'acme' })
    acme = await createKey(gateway, { organizationId: 'acme', name: 'web' })
    ci = await createKey(gateway, { organizationId: 'acme', name: 'ci' })
    await ask({ ...cheap, prompt: 'a cat', user: 'alice' }, acme.key, { 'x-atelier-metadata': '{"team":"red","env":"prod"}' })
    await ask({ ...cheap, prompt: 'a dog', user: '=cmd|calc!A1' }, acme.key, { 'x-atelier-metadata': '{"team":"blue, or \\"green\\""}' })
    await ask({ ...cheap, prompt: 'two cats', n: 2, user: 'alice' }, ci.key)
    await ask({ ...cheap, prompt: '[moderated]', user: 'alice' }, ci.key)
    await ask({ model: 'sketch', prompt: 'a fern', size: '64x64' }, gateway.apiKey)
    const { id } = await submit(gateway, { ...cheap, prompt: 'later' }, { 'x-atelier-metadata': '{"team":"red"}' })
    await readTask(gateway, id)
    while ((await usage.queryUsage({})).total?.reservedMicros !== 0n) await sleep(20)
  })
  afterAll(() => parts.disposeAsync())

  async function ask(body: object, key: string, headers: Record<string, string> = {}): Promise<void> {
    const response = await gateway.post(generations, body, { authorization: `Bearer ${key}`, ...headers })
    await response.arrayBuffer()
  }

  async function spentBy(...groupBy: UsageDimension[]): Promise<[string, number, number, number][]> {
    const { groups } = await usage.queryUsage({ groupBy, metadataKey: groupBy.includes(METADATA) ? 'team' : '' })
    return groups.map(({ $typeName: _, $unknown: __, sums, operation, ...names }) => [
      [...Object.values(names), wireName(TaskOperationSchema, operation) ?? ''].filter((name) => name !== '').join(' '),
      Number(sums?.requests),
      Number(sums?.images),
      Number(sums?.spentMicros)
    ])
  }

  test('tells what was used and what it cost, broken down by what is asked for', async () => {
    const { total } = await usage.queryUsage({})
    expect(total).toMatchObject({ requests: 6n, attempts: 6n, images: 6n, unpricedAttempts: 0n, reservedMicros: 0n })
    expect(await spentBy(ORGANIZATION)).toEqual([
      ['acme', 4, 4, expect.any(Number)],
      ['default', 2, 2, expect.any(Number)]
    ])
    expect((await spentBy(API_KEY)).map(([name, ...sums]) => [name, ...sums.slice(0, 2)])).toEqual(
      expect.arrayContaining([
        [acme.id, 2, 2],
        [ci.id, 2, 2]
      ])
    )
    expect((await spentBy(PROVIDER, MODEL)).map(([name, ...sums]) => [name, ...sums.slice(0, 2)])).toEqual([
      ['openai gpt-image-2', 5, 5],
      ['sketch sketch', 1, 1]
    ])
    expect((await spentBy(USER)).map(([name]) => name).toSorted()).toEqual(['', '=cmd|calc!A1', 'alice'])
    expect((await spentBy(METADATA)).map(([name, ...sums]) => [name, sums[1]]).toSorted()).toEqual([
      ['', 3],
      ['blue, or "green"', 1],
      ['red', 2]
    ])
    expect((await spentBy(OPERATION)).map(([name]) => name)).toEqual(['generation'])
    expect((await spentBy(CREDENTIAL)).map(([name]) => name)).toEqual(expect.arrayContaining(['platform']))
    const today = new Date().toISOString().slice(0, 10)
    expect((await spentBy(DAY)).every(([day]) => day <= today)).toBe(true)
  })

  test('tells the same as the answers did, to the micro-dollar', async () => {
    const response = await gateway.post(
      generations,
      { ...cheap, prompt: 'a whale', user: 'to the micro-dollar' },
      { 'x-atelier-include': 'cost' }
    )
    const { atelier } = (await response.json()) as { atelier: { cost: { total_micros: number } } }
    expect(atelier.cost.total_micros).toBeGreaterThan(5_000)
    const spent = async () => (await usage.queryUsage({ filter: { user: 'to the micro-dollar' } })).total?.spentMicros
    await expect.poll(spent).toBe(BigInt(atelier.cost.total_micros))
    const { total } = await usage.queryUsage({ filter: { user: 'to the micro-dollar' } })
    expect(total).toMatchObject({ requests: 1n, images: 1n, pixels: 1_048_576n, outputTokens: 196n })
  })

  test('looks at the bookings that are asked for alone', async () => {
    const requests = async (filter: object) => Number((await usage.queryUsage({ filter })).total?.requests)
    const now = BigInt(Math.floor(Date.now() / 1000))
    expect(await requests({ organizationId: 'acme' })).toBe(4)
    expect(await requests({ apiKeyId: ci.id })).toBe(2)
    expect(await requests({ provider: 'sketch', user: '' })).toBe(1)
    expect(await requests({ model: 'gpt-image-2', user: 'alice' })).toBe(3)
    expect(await requests({ organizationId: 'acme', from: now + 60n })).toBe(0)
    expect(await requests({ organizationId: 'acme', to: now - 3_600n })).toBe(0)
    expect(await requests({ organizationId: 'acme', from: now - 3_600n, to: now + 60n })).toBe(4)
    expect(await requests({ organizationId: "nobody' or 1=1 --" })).toBe(0)
  })

  test('leaves out groups beyond the limit, and counts them all the same', async () => {
    const whole = await usage.queryUsage({ groupBy: [USER], filter: { organizationId: 'acme' } })
    const cut = await usage.queryUsage({ groupBy: [USER], filter: { organizationId: 'acme' }, limit: 1 })
    expect([cut.groups, cut.total, cut.omittedGroups]).toEqual([whole.groups.slice(0, 1), whole.total, 1])
  })

  test('lists every booking once, in pages, oldest first', async () => {
    const filter = { organizationId: 'acme' }
    const { entries: all } = await usage.listLedgerEntries({ filter, pageSize: 1000 })
    const paged: string[] = []
    let pageToken = ''
    do {
      const page = await usage.listLedgerEntries({ filter, pageSize: 3, pageToken })
      paged.push(...page.entries.map(({ id }) => id))
      pageToken = page.nextPageToken
    } while (pageToken !== '')
    expect(paged).toEqual(all.map(({ id }) => id))
    expect(all.length).toBe(8)
    expect(all.map(({ atMs }) => atMs)).toEqual(all.map(({ atMs }) => atMs).toSorted((one, other) => Number(one - other)))
    const cat = all.filter(({ metadata }) => metadata === '{"team":"red","env":"prod"}')
    const common = {
      organizationId: 'acme',
      apiKeyId: acme.id,
      provider: 'openai',
      model: 'gpt-image-2',
      credential: 'platform',
      user: 'alice'
    }
    expect(cat).toMatchObject([
      { ...common, kind: LedgerEntryKind.RESERVE, operation: TaskOperation.GENERATION, spentMicros: 0n, basis: LedgerEntryBasis.NONE },
      { ...common, kind: LedgerEntryKind.SETTLE, images: 1n, pixels: 1_048_576n, basis: LedgerEntryBasis.ACTUAL, priced: true }
    ])
    expect(cat.reduce((sum, { reservedMicros }) => sum + reservedMicros, 0n)).toBe(0n)
  })

  test('refuses what makes no sense, and whoever may not operate the server', async () => {
    const caller = createClient(UsageService, connectWith(gateway.url, acme.key))
    expect([
      await refusalOf(usage.queryUsage({ groupBy: [DAY, DAY] })),
      await refusalOf(usage.queryUsage({ groupBy: [DAY, USER, MODEL, PROVIDER] })),
      await refusalOf(usage.queryUsage({ groupBy: [METADATA] })),
      await refusalOf(usage.queryUsage({ groupBy: [DAY], metadataKey: 'team' })),
      await refusalOf(usage.queryUsage({ groupBy: [METADATA], metadataKey: "team' or 1=1" })),
      await refusalOf(usage.queryUsage({ limit: 10_001 })),
      await refusalOf(usage.listLedgerEntries({ pageSize: 1_001 })),
      await refusalOf(usage.listLedgerEntries({ pageToken: 'made-up' })),
      await refusalOf(caller.queryUsage({}))
    ]).toEqual([
      ['InvalidArgument', expect.stringContaining('group_by: ')],
      ['InvalidArgument', expect.stringContaining('group_by: ')],
      ['InvalidArgument', expect.stringContaining("'metadata_key'")],
      ['InvalidArgument', 'metadata_key: is for the dimension metadata, which is not asked for'],
      ['InvalidArgument', expect.stringContaining('metadata_key: ')],
      ['InvalidArgument', expect.stringContaining('limit: ')],
      ['InvalidArgument', expect.stringContaining('page_size: ')],
      ['InvalidArgument', 'page_token: must be the next_page_token of the page before'],
      ['PermissionDenied', expect.stringContaining('may not operate the server')]
    ])
  })

  test('prints a table with a total', async () => {
    const { code, stdout, stderr } = await run('usage', '--by', 'key,metadata:team', '--org', 'acme')
    expect([code, stderr]).toEqual([0, ''])
    const lines = stdout.split('\n')
    expect(lines[0]).toMatch(/^KEY +TEAM +REQUESTS {2}CALLS {2}IMAGES {2}MPIXELS {2}TOKENS IN {2}OUT +SPENT$/)
    expect(lines.find((line) => line.startsWith(acme.id) && line.includes('red'))).toMatch(/ red +1 +1 +1 +1\.0 +\d+ +196 +\$0\.00\d+$/)
    expect(lines.find((line) => line.startsWith(ci.id))).toMatch(/^\w+ +- +2 +2 +2 /)
    expect(lines.at(-2)).toMatch(/^total +4 +4 +4 /)
    expect(lines.filter((line) => [...line].length > 80)).toEqual([])
  })

  test('prints CSV that no spreadsheet takes for formulas, and JSON', async () => {
    const csv = await run('usage', '--by', 'user', '--org', 'acme', '--format', 'csv')
    expect(csv.stdout.split('\r\n').map((line) => line.split(',').slice(0, 4))).toEqual([
      ['user', 'requests', 'attempts', 'images'],
      ['alice', '3', '3', '3'],
      ["'=cmd|calc!A1", '1', '1', '1'],
      ['']
    ])
    const { groups, total, omitted_groups } = JSON.parse((await run('usage', '--by', 'user', '--org', 'acme', '--json')).stdout)
    expect(groups.map(({ user, requests }: { user: string; requests: number }) => [user, requests])).toEqual([
      ['alice', 3],
      ['=cmd|calc!A1', 1]
    ])
    expect([total.requests, total.images, omitted_groups]).toEqual([4, 4, 0])
  })

  test('exports every booking as CSV and as JSON', async () => {
    const { stdout, code } = await run('usage', 'export', '--org', 'acme')
    const lines = stdout.split('\r\n')
    expect([code, lines.length]).toEqual([0, 10])
    expect(lines[0]).toBe(
      'id,at,kind,organization_id,api_key_id,task_id,attempt_id,provider,model,operation,credential,reserved_micros,spent_micros,priced,basis,images,pixels,input_tokens,output_tokens,user,metadata'
    )
    expect(lines.filter((line) => line.includes('=cmd'))).toEqual(
      Array.from({ length: 2 }, () => expect.stringMatching(/,'=cmd\|calc!A1,"{""team"":""blue, or \\""green\\""""}"$/))
    )
    const entries = JSON.parse((await run('usage', 'export', '--org', 'acme', '--format', 'json')).stdout)
    expect(entries.length).toBe(8)
    expect(entries[0]).toMatchObject({ kind: 'reserve', user: 'alice', metadata: { team: 'red', env: 'prod' }, operation: 'generation' })
    expect(JSON.parse((await run('usage', 'export', '--org', 'nobody', '--json')).stdout)).toEqual([])
  })

  test('counts calls, images and money for Prometheus, and background tasks', async () => {
    const metrics = await (await fetch(`${gateway.url}/metrics`, { headers: { authorization: `Bearer ${gateway.adminKey}` } })).text()
    const figure = (line: string) =>
      Number(
        metrics
          .split('\n')
          .find((each) => each.startsWith(`${line} `))
          ?.split(' ')
          .at(-1)
      )
    const { total } = await usage.queryUsage({ filter: { provider: 'openai', model: 'gpt-image-2' } })
    const labels = 'provider="openai",model="gpt-image-2"'
    expect(figure(`atelier_spent_micros_total{${labels}}`)).toBe(Number(total?.spentMicros))
    expect(figure(`atelier_images_total{${labels}}`)).toBe(Number(total?.images))
    expect(figure(`atelier_attempts_total{${labels},outcome="rejected"}`)).toBe(1)
    expect(figure(`atelier_attempts_total{${labels},outcome="succeeded"}`)).toBe(Number(total?.attempts) - 1)
    expect(figure('atelier_tasks_total{operation="generation",mode="detached",state="succeeded"}')).toBe(1)
    expect(figure('atelier_tasks_total{operation="generation",mode="attached",state="failed"}')).toBe(1)
    expect(figure('atelier_task_wait_seconds_count')).toBe(1)
    expect(figure('atelier_task_duration_seconds_count')).toBe(1)
    expect(['running', 'queued'].map((what) => figure(`atelier_tasks_${what}`))).toEqual([0, 0])
    expect([figure('atelier_callbacks_pending'), figure('atelier_tasks_queued_oldest_seconds')]).toEqual([0, 0])
  })

  function run(...args: string[]) {
    return runInProcess(args, { environment: { ATELIER_URL: gateway.url, ATELIER_ADMIN_KEY: gateway.adminKey } })
  }
})

test.each([
  [['usage', '--by', 'week'], '--by knows day, org, key, provider, model, user, operation, credential, metadata:<key>, not week', 'usage'],
  [['usage', '--by', 'day:x'], expect.stringContaining('not day:x'), 'usage'],
  [['usage', '--by', 'metadata'], '--by metadata needs the key: metadata:<key>', 'usage'],
  [['usage', '--by', 'day,day'], '--by takes up to three different words, separated by commas', 'usage'],
  [['usage', '--format', 'xml'], '--format must be table, csv or json, not xml', 'usage'],
  [['usage', '--from', 'soon'], expect.stringContaining('--from must be a day such as 2026-11-30'), 'usage'],
  [['usage', '--from', '2026-02-30'], expect.stringContaining('not 2026-02-30'), 'usage'],
  [['usage', '--from', '2026-12', '--to', '2026-11'], '--from must be before --to', 'usage'],
  [['usage', 'exprot'], 'usage takes no argument, and there is exprot', 'usage'],
  [['usage', 'export', '--format', 'table'], '--format must be csv or json, not table', 'usage export'],
  [['usage', 'export', '--by', 'day'], 'usage export has no option --by', 'usage export']
])('arguments such as %j end the command with 2', async (args, problem, topic) => {
  const { code, stdout, stderr } = await runInProcess(args)
  const [first, second] = stderr.split('\n')
  expect([code, stdout, first?.replace('atelier: ', ''), second]).toEqual([2, '', problem, `\`atelier help ${topic}\` tells more.`])
})

test.each([
  ['b64_json', 64 * 32, 'as its file says'],
  ['url', 1792 * 1024, 'as it was asked for, where only a link to it passes through']
])('an image that comes as %s and of which its provider tells no size counts %i pixels: %s', async (form, expected) => {
  const { bytes } = await plainImage('teal', 'png', 64, 32)
  const data = form === 'url' ? { url: 'https://images.example/cat.png' } : { b64_json: bytes.toString('base64') }
  const body = Buffer.from(JSON.stringify({ created: 1, data: [data] }))
  const answer = { status: 200, headers: { 'content-type': 'application/json' }, body }
  await using gateway = await startGateway({ openai: { answer: () => answer } })
  const request = { model: 'dall-e-3', prompt: 'a cat', size: '1792x1024', response_format: form }
  expect((await (await gateway.post(generations, request)).json()).data.length).toBe(1)
  const usage = createClient(UsageService, connectWith(gateway.url, gateway.adminKey))
  await expect.poll(async () => (await usage.queryUsage({})).total).toMatchObject({ images: 1n, pixels: BigInt(expected) })
})

test('no name that a caller makes up gets into the metrics', async () => {
  await using gateway = await startGateway({ openai: { answer: () => ({ status: 404, headers: {}, body: Buffer.from('{}') }) } })
  const headers = { 'x-portkey-provider': 'openai' }
  await (await gateway.post(generations, { model: 'made-up-by-a-caller', prompt: 'a cat' }, headers)).arrayBuffer()
  const metrics = await (await fetch(`${gateway.url}/metrics`, { headers: { authorization: `Bearer ${gateway.adminKey}` } })).text()
  expect(metrics).toContain('atelier_attempts_total{provider="openai",model="other",outcome="rejected"} 1')
  expect(metrics).not.toContain('made-up')
})

test('a server that keeps no tasks answers with nothing', async () => {
  await using gateway = await startGateway({ settings: { tasks: 'off' } })
  await (await gateway.post(generations, { ...cheap, prompt: 'a cat' })).arrayBuffer()
  const usage = createClient(UsageService, connectWith(gateway.url, gateway.adminKey))
  expect((await usage.queryUsage({})).total).toMatchObject({ requests: 0n, spentMicros: 0n })
  const metrics = await (await fetch(`${gateway.url}/metrics`, { headers: { authorization: `Bearer ${gateway.adminKey}` } })).text()
  expect(metrics).not.toContain('atelier_tasks_queued ')
})
