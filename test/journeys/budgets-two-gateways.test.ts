import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createClient } from '@connectrpc/connect'
import { expect, test } from 'vitest'
import { BudgetPeriod } from '../../gen/atelier/v1/budget_pb.ts'
import { BudgetService } from '../../gen/atelier/v1/budget_service_pb.ts'
import { openDatabase } from '../../src/storage/database.ts'
import { auditBudgets } from '../chaos/audit-budgets.ts'
import { auditLedger } from '../chaos/audit-ledger.ts'
import { connectWith } from '../support/admin.ts'
import { writeDimeCatalog } from '../support/dime-model.ts'
import { type HeldUpstream, startHeldUpstream } from '../support/held-upstream.ts'
import { startProgram } from '../support/run-atelier.ts'
import { startSharedStorage } from '../support/shared-storage.ts'
import { createTemporaryDirectory } from '../support/temporary-directory.ts'

const program = fileURLToPath(new URL('../support/gateway-program.ts', import.meta.url))
const apiKey = 'a-key-for-both-of-them'
const adminKey = 'a-key-for-the-operator'

test('1,000 requests of $0.10 at a time over two processes are admitted as often as $5.00 covers, 50 times', {
  timeout: 120_000
}, async () => {
  await using rig = await startTwo()
  const { budget } = await setBudget(rig.urls[0], 5_000_000n)
  // The other process follows within a second.
  while ((await budgetsAt(rig.urls[1]).listBudgets({})).budgets.length === 0);
  await new Promise((resolve) => setTimeout(resolve, 1_000))
  const answers = await Promise.all(Array.from({ length: 1_000 }, (_, index) => generate(rig.urls[index % 2] ?? '', `cat ${index}`)))
  expect(answers.filter(([status]) => status === 200).length).toBe(50)
  expect(new Set(answers.map(([status, code]) => `${status} ${code}`))).toEqual(new Set(['200 undefined', '429 insufficient_quota']))
  expect(rig.upstream.calls.size).toBe(50)
  const { budget: after } = await budgetsAt(rig.urls[1]).getBudget({ id: budget?.id ?? '' })
  expect([after?.usedMicros, after?.remainingMicros]).toEqual([5_000_000n, 0n])
  await using database = await openDatabase({ dataDir: rig.directory, databaseUrl: rig.databaseUrl })
  expect([await auditBudgets(database), (await auditLedger(database)).problems]).toEqual([[], []])
})

test('a process that was killed leaves no budget wrong: what was on its way counts as spent', { timeout: 60_000 }, async () => {
  await using rig = await startTwo()
  const { budget } = await setBudget(rig.urls[0], 1_000_000n)
  const lost = Array.from({ length: 4 }, (_, index) => generate(rig.urls[0], `held ${index}`).catch(() => undefined))
  await rig.upstream.arrived('held', 4)
  await rig.killFirst()
  await Promise.all(lost)
  await using database = await openDatabase({ dataDir: rig.directory, databaseUrl: rig.databaseUrl })
  const open = database.query.selectFrom('attempts').select('id').where('closed_at_ms', 'is', null)
  while ((await open.execute()).length > 0) await new Promise((resolve) => setTimeout(resolve, 100))
  const { budget: after } = await budgetsAt(rig.urls[1]).getBudget({ id: budget?.id ?? '' })
  expect(after?.usedMicros).toBe(400_000n)
  const statuses: number[] = []
  for (let count = 0; count < 7; count += 1) statuses.push((await generate(rig.urls[1], 'a cat'))[0])
  expect(statuses).toEqual([200, 200, 200, 200, 200, 200, 429])
  expect([await auditBudgets(database), (await auditLedger(database)).problems]).toEqual([[], []])
})

interface Two extends AsyncDisposable {
  readonly urls: readonly [string, string]
  readonly upstream: HeldUpstream
  readonly directory: string
  readonly databaseUrl: string
  /** Ends the first process by SIGKILL. */
  killFirst(): Promise<void>
}

async function startTwo(): Promise<Two> {
  await using parts = new AsyncDisposableStack()
  const directory = parts.use(await createTemporaryDirectory())
  const upstream = parts.use(await startHeldUpstream({ delayMs: 20 }))
  const { environment: shared } = parts.use(await startSharedStorage())
  const config = join(directory.path, 'atelier.yaml')
  const catalog = await writeDimeCatalog(directory.path)
  await writeFile(config, `providers: { basement: { adapter: openai, base_url: "${upstream.url}" } }\ncatalog_files: ["${catalog}"]\n`)
  const environment = {
    ...shared,
    ATELIER_CONFIG: config,
    ATELIER_LISTEN: '127.0.0.1:0',
    ATELIER_API_KEY: apiKey,
    ATELIER_ADMIN_KEY: adminKey,
    ATELIER_LOG_LEVEL: 'info'
  }
  const start = async (name: string) => {
    const own = { ...environment, ATELIER_DATA_DIR: join(directory.path, name) }
    const run = parts.use(startProgram([], { directory: directory.path, environment: own, script: program }))
    return { run, url: String((await run.logged('listening')).url) }
  }
  const [first, second] = [await start('one'), await start('other')]
  const owned = parts.move()
  return {
    urls: [first.url, second.url],
    upstream,
    directory: directory.path,
    databaseUrl: shared.DATABASE_URL ?? '',
    killFirst: async () => await first.run[Symbol.asyncDispose](),
    [Symbol.asyncDispose]: () => owned.disposeAsync()
  }
}

function budgetsAt(url: string) {
  return createClient(BudgetService, connectWith(url, adminKey))
}

function setBudget(url: string, limitMicros: bigint) {
  const subject = { subject: { case: 'everything', value: true } } as const
  return budgetsAt(url).setBudget({ subject, period: BudgetPeriod.TOTAL, limitMicros })
}

/** The status of the answer, and the code of its error. */
async function generate(url: string, prompt: string): Promise<[status: number, code: string | undefined]> {
  const response = await fetch(`${url}/v1/images/generations`, {
    method: 'POST',
    headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'dime', prompt, response_format: 'b64_json' })
  })
  const body = (await response.json()) as { error?: { code: string } }
  return [response.status, body.error?.code]
}
