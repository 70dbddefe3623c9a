import { createClient } from '@connectrpc/connect'
import { describe, expect, test } from 'vitest'
import { BudgetPeriod, BudgetSource } from '../../gen/atelier/v1/budget_pb.ts'
import { BudgetService } from '../../gen/atelier/v1/budget_service_pb.ts'
import { ImageService } from '../../gen/atelier/v1/image_service_pb.ts'
import type { Settings } from '../../src/config.ts'
import { openDatabase } from '../../src/storage/database.ts'
import { auditBudgets } from '../chaos/audit-budgets.ts'
import { auditLedger } from '../chaos/audit-ledger.ts'
import { adminOf, connectWith, createKey, refusalOf } from '../support/admin.ts'
import { startAtelier, type TestServer } from '../support/atelier.ts'
import { basementAt, writeDimeCatalog } from '../support/dime-model.ts'
import { type HeldUpstream, startHeldUpstream } from '../support/held-upstream.ts'
import { createTemporaryDirectory } from '../support/temporary-directory.ts'

const { DAY, MONTH, TOTAL } = BudgetPeriod
const everything = { subject: { case: 'everything', value: true } } as const

describe('a budget', () => {
  test('refuses what it does not cover, before anything is sent, and the answer says why and not to send it again', async () => {
    await using rig = await startRig()
    const admin = adminOf(rig.atelier)
    await admin.createOrganization({ id: 'acme' })
    const { key } = await createKey(rig.atelier, { organizationId: 'acme' })
    const subject = { subject: { case: 'organizationId', value: 'acme' } } as const
    await rig.budgets.setBudget({ subject, period: TOTAL, limitMicros: 250_000n })
    const answers = [await rig.generate({}, key), await rig.generate({}, key), await rig.generate({}, key)]
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 429])
    const refused = answers[2]?.headers
    expect([refused?.get('x-should-retry'), refused?.get('retry-after')]).toEqual(['false', null])
    expect(await answers[2]?.json()).toEqual({
      error: {
        message:
          'the total budget of the organization acme ($0.25) does not cover this request, which may cost $0.10; it does not begin anew',
        type: 'insufficient_quota',
        param: null,
        code: 'insufficient_quota'
      }
    })
    const images = createClient(ImageService, connectWith(rig.atelier.url, key))
    expect(await refusalOf(images.generateImages({ prompt: 'a cat', modelSelector: dime }))).toEqual([
      'ResourceExhausted',
      'the total budget of the organization acme ($0.25) does not cover this request, which may cost $0.10; it does not begin anew'
    ])
    expect(rig.calls()).toBe(2)
    expect((await rig.generate({})).status).toBe(200)
  })

  test('is set, read, changed, listed and deleted', async () => {
    await using rig = await startRig()
    const { id: apiKeyId, key } = await createKey(rig.atelier)
    const subject = { subject: { case: 'apiKeyId', value: apiKeyId } } as const
    const { budget: first } = await rig.budgets.setBudget({ subject, period: MONTH, limitMicros: 5_000_000n })
    expect((await rig.generate({}, key)).status).toBe(200)
    const now = new Date()
    const { budget } = await rig.budgets.setBudget({ subject, period: MONTH, limitMicros: 150_000n, unknownPriceMicros: 7n })
    expect(budget).toMatchObject({
      id: first?.id,
      subject,
      period: MONTH,
      limitMicros: 150_000n,
      unknownPriceMicros: 7n,
      source: BudgetSource.CREATED,
      usedMicros: 100_000n,
      remainingMicros: 50_000n,
      resetsAt: BigInt(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 1) / 1000)
    })
    expect((await rig.generate({}, key)).status).toBe(429)
    expect((await rig.budgets.getBudget({ id: budget?.id ?? '' })).budget).toEqual(budget)
    await rig.budgets.setBudget({ subject: everything, period: DAY, limitMicros: 1n })
    const page = await rig.budgets.listBudgets({ pageSize: 1 })
    const next = await rig.budgets.listBudgets({ pageSize: 1, pageToken: page.nextPageToken })
    expect([page.budgets[0]?.period, next.budgets, next.nextPageToken]).toEqual([DAY, [budget], ''])
    expect((await rig.budgets.listBudgets({ organizationId: 'default' })).budgets).toEqual([budget])
    expect((await rig.budgets.listBudgets({ organizationId: 'acme' })).budgets).toEqual([])
    for (const each of [...page.budgets, ...next.budgets]) await rig.budgets.deleteBudget({ id: each.id })
    expect((await refusalOf(rig.budgets.deleteBudget({ id: budget?.id ?? '' })))[0]).toBe('NotFound')
    expect((await rig.budgets.listBudgets({})).budgets).toEqual([])
    expect((await rig.generate({}, key)).status).toBe(200)
  })

  test('is refused with what is wrong', async () => {
    await using rig = await startRig()
    const of = (subject: { case: 'organizationId' | 'apiKeyId'; value: string }) => ({ subject: { subject }, period: DAY, limitMicros: 1n })
    expect([
      await refusalOf(rig.budgets.setBudget(of({ case: 'organizationId', value: 'nobody' }))),
      await refusalOf(rig.budgets.setBudget(of({ case: 'apiKeyId', value: 'unknown' }))),
      await refusalOf(rig.budgets.setBudget({ period: DAY, limitMicros: 1n })),
      await refusalOf(rig.budgets.setBudget({ subject: {}, period: DAY, limitMicros: 1n })),
      await refusalOf(rig.budgets.setBudget({ subject: everything, limitMicros: 1n })),
      await refusalOf(rig.budgets.setBudget({ subject: everything, period: DAY, limitMicros: 0n })),
      await refusalOf(rig.budgets.setBudget({ subject: everything, period: DAY, limitMicros: 2n ** 60n })),
      await refusalOf(rig.budgets.getBudget({ id: 'budget_none' })),
      await refusalOf(rig.budgets.listBudgets({ pageToken: 'made-up' }))
    ]).toEqual([
      ['NotFound', "there is no organization 'nobody'"],
      ['NotFound', "there is no API key 'unknown'"],
      ['InvalidArgument', expect.stringContaining('subject')],
      ['InvalidArgument', expect.stringContaining('subject')],
      ['InvalidArgument', expect.stringContaining('period')],
      ['InvalidArgument', expect.stringContaining('limit_micros')],
      ['InvalidArgument', expect.stringContaining('limit_micros')],
      ['NotFound', "there is no budget 'budget_none'"],
      ['InvalidArgument', expect.stringContaining('page_token')]
    ])
  })

  test('ends a task in the background that it does not cover, which costs nothing', async () => {
    await using rig = await startRig()
    await rig.budgets.setBudget({ subject: everything, period: DAY, limitMicros: 100_000n })
    expect((await rig.generate({})).status).toBe(200)
    const accepted = await rig.generate({}, undefined, { prefer: 'respond-async' })
    const { id } = (await accepted.json()) as { id: string }
    const task = await (await rig.atelier.get(`/v1/tasks/${id}?wait=30`)).json()
    expect(task).toMatchObject({ status: 'failed', error: { code: 'insufficient_quota' }, attempts: [] })
    expect([accepted.status, rig.calls()]).toEqual([202, 1])
  })

  test('refuses what has no price, unless it says what that counts for', async () => {
    await using rig = await startRig()
    await rig.budgets.setBudget({ subject: everything, period: DAY, limitMicros: 1_000_000n })
    const refused = [
      await rig.generate({ model: 'priceless' }),
      await rig.generate({ model: 'priceless' }, undefined, { prefer: 'respond-async' })
    ]
    expect(refused.map(({ status }) => status)).toEqual([400, 400])
    expect(await refused[0]?.json()).toMatchObject({
      error: {
        code: 'price_unknown',
        message:
          'no price is known for this request to priceless, and the daily budget of this server ($1.00) counts nothing for such requests'
      }
    })
    await rig.budgets.setBudget({ subject: everything, period: DAY, limitMicros: 1_000_000n, unknownPriceMicros: 400_000n })
    const statuses: number[] = []
    for (let time = 0; time < 3; time += 1) statuses.push((await rig.generate({ model: 'priceless' })).status)
    expect(statuses).toEqual([200, 200, 429])
  })

  test('of the configuration caps everything, cannot be changed elsewhere, and leaves with it', async () => {
    await using directory = await createTemporaryDirectory()
    const settings = { dataDir: directory.path }
    {
      await using rig = await startRig({ environment: { ATELIER_MONTHLY_BUDGET_USD: '0.15' }, settings })
      const { budgets } = await rig.budgets.listBudgets({})
      expect(budgets).toMatchObject([{ subject: everything, period: MONTH, limitMicros: 150_000n, source: BudgetSource.CONFIG }])
      const changed = 'is a budget of the configuration (monthly_budget_usd, ATELIER_MONTHLY_BUDGET_USD): change it there'
      expect([
        await refusalOf(rig.budgets.setBudget({ subject: everything, period: MONTH, limitMicros: 1n })),
        await refusalOf(rig.budgets.deleteBudget({ id: budgets[0]?.id ?? '' }))
      ]).toEqual([
        ['InvalidArgument', `subject: ${changed}`],
        ['InvalidArgument', `id: ${changed}`]
      ])
      expect([(await rig.generate({})).status, (await rig.generate({})).status]).toEqual([200, 429])
    }
    {
      await using rig = await startRig({ environment: { ATELIER_MONTHLY_BUDGET_USD: '0.25', ATELIER_UNKNOWN_PRICE_USD: '0' }, settings })
      expect((await rig.budgets.listBudgets({})).budgets).toMatchObject([
        { limitMicros: 250_000n, usedMicros: 100_000n, unknownPriceMicros: 0n }
      ])
      expect([(await rig.generate({})).status, (await rig.generate({})).status]).toEqual([200, 429])
      expect((await rig.generate({ model: 'priceless' })).status).toBe(200)
    }
    await using rig = await startRig({ settings })
    expect((await rig.budgets.listBudgets({})).budgets).toEqual([])
    expect((await rig.generate({})).status).toBe(200)
  })

  test('is not told to tenants where it is what the operator spends on everybody', async () => {
    await using rig = await startRig({ environment: { ATELIER_MONTHLY_BUDGET_USD: '0.05' } })
    await adminOf(rig.atelier).createOrganization({ id: 'acme' })
    const { key } = await createKey(rig.atelier, { organizationId: 'acme' })
    const { error } = (await (await rig.generate({}, key)).json()) as { error: { message: string } }
    expect(error.message).toMatch(
      /^the monthly budget of this server does not cover this request, which may cost \$0\.10; it begins anew at /
    )
  })

  test('is not kept to where nothing is recorded, and what is under it is refused', async () => {
    await using rig = await startRig({ settings: { tasks: 'off' } })
    expect((await rig.generate({})).status).toBe(200)
    await rig.budgets.setBudget({ subject: everything, period: DAY, limitMicros: 1_000_000n })
    const refused = await rig.generate({})
    expect([refused.status, refused.headers.get('x-should-retry'), await refused.json()]).toMatchObject([
      500,
      'false',
      { error: { code: 'budget_unenforceable' } }
    ])
    expect(rig.calls()).toBe(1)
  })

  test('of $5.00 admits exactly 50 of 1,000 requests of $0.10 at a time', { timeout: 60_000 }, async () => {
    await using rig = await startRig()
    const { budget } = await rig.budgets.setBudget({ subject: everything, period: TOTAL, limitMicros: 5_000_000n })
    const statuses = await Promise.all(Array.from({ length: 1_000 }, async () => read(await rig.generate({}))))
    expect([statuses.filter((status) => status === 200).length, statuses.filter((status) => status === 429).length]).toEqual([50, 950])
    expect(rig.calls()).toBe(50)
    expect((await rig.budgets.getBudget({ id: budget?.id ?? '' })).budget).toMatchObject({ usedMicros: 5_000_000n, remainingMicros: 0n })
    await rig.atelier.drain()
    await using database = await openDatabase({ dataDir: rig.atelier.dataDir })
    expect([await auditBudgets(database), (await auditLedger(database)).problems]).toEqual([[], []])
  })
})

describe('the most that a request may cost', () => {
  test.each([
    ['0.10', 200],
    ['$0.1', 200],
    ['0.099999', 400],
    ['0', 400]
  ])('is %s in x-atelier-max-cost for one of $0.10: %i', async (maximum, status) => {
    await using rig = await startRig()
    const answer = await rig.generate({}, undefined, { 'x-atelier-max-cost': maximum })
    expect([answer.status, rig.calls()]).toEqual([status, status === 200 ? 1 : 0])
  })

  test('counts every image, and the refusal names both amounts', async () => {
    await using rig = await startRig()
    const answer = await rig.generate({ n: 3 }, undefined, { 'x-atelier-max-cost': '0.29' })
    expect([answer.status, await answer.json()]).toEqual([
      400,
      {
        error: {
          message: 'this request may cost $0.30 at the provider, and x-atelier-max-cost allows $0.29',
          type: 'invalid_request_error',
          param: 'x-atelier-max-cost',
          code: 'cost_above_maximum'
        }
      }
    ])
    const images = createClient(ImageService, connectWith(rig.atelier.url, rig.atelier.apiKey))
    const asked = images.generateImages({ prompt: 'a cat', modelSelector: dime, maxCostMicros: 99_999n })
    expect(await refusalOf(asked)).toEqual([
      'InvalidArgument',
      'this request may cost $0.10 at the provider, and max_cost_micros allows $0.099999'
    ])
    expect(rig.calls()).toBe(0)
  })

  test('refuses what has no price, and holds for tasks in the background', async () => {
    await using rig = await startRig()
    const headers = { 'x-atelier-max-cost': '0.05' }
    const unpriced = await rig.generate({ model: 'priceless' }, undefined, headers)
    expect(await unpriced.json()).toMatchObject({
      error: {
        code: 'cost_above_maximum',
        message: 'what this request costs is not known (no price is known for priceless), and x-atelier-max-cost allows $0.05'
      }
    })
    expect((await rig.generate({}, undefined, { ...headers, prefer: 'respond-async' })).status).toBe(400)
    expect(rig.calls()).toBe(0)
  })

  test.each(['-1', '1e3', 'abc', '0.1234567', '9999999999', ''])('is refused where it is no amount: %j', async (maximum) => {
    await using rig = await startRig()
    const answer = await rig.generate({}, undefined, { 'x-atelier-max-cost': maximum })
    expect([answer.status, await answer.json()]).toMatchObject([400, { error: { param: 'x-atelier-max-cost', code: 'invalid_value' } }])
  })
})

const dime = { case: 'modelName', value: 'dime' } as const

interface Rig extends AsyncDisposable {
  readonly atelier: TestServer
  readonly upstream: HeldUpstream
  readonly budgets: ReturnType<typeof budgetsOf>
  /** Asks for an image of `dime`. */
  generate(body: object, key?: string, headers?: Record<string, string>): Promise<Response>
  /** How many images the provider was asked for. */
  calls(): number
}

function budgetsOf(atelier: TestServer) {
  return createClient(BudgetService, connectWith(atelier.url, atelier.adminKey))
}

async function startRig(options: { environment?: Record<string, string>; settings?: Partial<Settings> } = {}): Promise<Rig> {
  await using parts = new AsyncDisposableStack()
  const directory = parts.use(await createTemporaryDirectory())
  const upstream = parts.use(await startHeldUpstream())
  const catalogFiles = [await writeDimeCatalog(directory.path)]
  const { environment = {}, settings = {} } = options
  const atelier = parts.use(
    await startAtelier({ environment, settings: { catalogFiles, providers: [basementAt(upstream.url)], ...settings } })
  )
  const owned = parts.move()
  return {
    atelier,
    upstream,
    budgets: budgetsOf(atelier),
    generate: (body, key = atelier.apiKey, headers = {}) =>
      atelier.post('/v1/images/generations', { model: 'dime', prompt: 'a cat', ...body }, { ...headers, authorization: `Bearer ${key}` }),
    calls: () => upstream.calls.values().reduce((sum, count) => sum + count, 0),
    [Symbol.asyncDispose]: () => owned.disposeAsync()
  }
}

async function read(response: Response): Promise<number> {
  await response.arrayBuffer()
  return response.status
}
