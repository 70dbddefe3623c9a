import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort } from '../../bench/run-process.ts'
import { openDatabase } from '../../src/storage/database.ts'
import { startPostgres } from '../support/postgres.ts'
import { startS3, type TestS3 } from '../support/s3.ts'
import { createTemporaryDirectory } from '../support/temporary-directory.ts'
import { auditLedger } from './audit-ledger.ts'
import { runCallers } from './callers.ts'
import { startCountingUpstream } from './counting-upstream.ts'
import { createGatewayProcess } from './gateway-process.ts'

export interface ChaosOptions {
  engine: 'sqlite' | 'postgres'
  kills: number
  /** How often PostgreSQL itself is killed and started again meanwhile; none unless told. */
  databaseKills?: number
  /** Number that the choices come from; the same again makes the same choices. */
  seed: number
  log(line: string): void
}

export interface ChaosReport {
  kills: Record<string, number>
  databaseKills: number
  /** Starts that found no database. */
  failedStarts: number
  answers: Record<string, number>
  acknowledged: number
  upstreamCalls: number
  states: Record<string, number>
  /** Everything below must be empty. */
  paidTwice: string[]
  lost: string[]
  unfinished: string[]
  changedReplays: string[]
  ledgerProblems: string[]
}

/** Kills gateways under load, again and again, and then looks whether a promise was broken. */
export async function runChaos(options: ChaosOptions): Promise<ChaosReport> {
  await using parts = new AsyncDisposableStack()
  const directory = parts.use(await createTemporaryDirectory())
  const random = createRandom(options.seed)
  const upstream = parts.use(await startCountingUpstream(pixel, () => 5 + random() * 150))
  const receiver = createServer((request, response) => void request.resume().on('end', () => response.end()))
  receiver.listen(0, '127.0.0.1')
  await once(receiver, 'listening')
  parts.defer(() => void receiver.close())
  const receiverAddress = `127.0.0.1:${(receiver.address() as AddressInfo).port}`

  const postgres = options.engine === 'postgres' ? parts.use(await startPostgres()) : undefined
  const databaseUrl = await postgres?.createDatabase()
  const s3 = postgres && parts.use(await startS3())
  const apiKey = 'a-key-for-those-who-survive'
  const config = join(directory.path, 'chaos.yaml')
  await writeConfig(config, receiverAddress)
  const dataDir = (position: number) => join(directory.path, `data-${databaseUrl === undefined ? 0 : position}`)
  const environment = {
    ATELIER_API_KEY: apiKey,
    ATELIER_LOG_LEVEL: 'warn',
    ATELIER_CONFIG: config,
    OPENAI_API_KEY: 'sk-chaos',
    OPENAI_BASE_URL: upstream.url,
    ATELIER_MONTHLY_BUDGET_USD: '1000',
    ATELIER_UNKNOWN_PRICE_USD: '0.01',
    ...(databaseUrl !== undefined && s3 && { DATABASE_URL: databaseUrl, ATELIER_MASTER_KEY: masterKey, ...environmentOf(s3) })
  }

  let planned = 0
  let failedStarts = 0
  const kills: Record<string, number> = {}
  const gateways = await Promise.all(
    Array.from({ length: databaseUrl === undefined ? 1 : 2 }, async (_, position) =>
      createGatewayProcess({
        port: await freePort(),
        environment: { ...environment, ATELIER_DATA_DIR: dataDir(position) },
        logFile: join(directory.path, `gateway-${position}.log`),
        random,
        mayKill: () => planned++ < options.kills,
        killed(how) {
          kills[how] = (kills[how] ?? 0) + 1
          const done = Object.values(kills).reduce((sum, count) => sum + count, 0)
          if (done % 20 === 0) options.log(`${done} of ${options.kills} kills`)
        },
        endedByItself() {
          failedStarts += 1
          planned -= 1
        }
      })
    )
  )
  for (const gateway of gateways) parts.defer(() => gateway.stop())

  const enough = new AbortController()
  const callers = runCallers({
    urls: gateways.map(({ url }) => url),
    apiKey,
    callbackUrl: `http://${receiverAddress}/done`,
    count: 8,
    random,
    until: enough.signal
  })
  const suffering = Promise.all(gateways.map((gateway) => gateway.suffer()))
  let databaseKills = 0
  const killDatabase = async () => {
    while (postgres && databaseKills < (options.databaseKills ?? 0) && !enough.signal.aborted) {
      await sleep(1_500 + random() * 2_000)
      await postgres.kill9()
      databaseKills += 1
      await sleep(random() * 1_000)
      await postgres.start()
    }
  }
  await Promise.all([suffering, killDatabase()])
  await Promise.all(gateways.map((gateway) => gateway.start()))
  await sleep(1_000)
  enough.abort()
  const told = await callers
  options.log('looking at what is left')

  const states: Record<string, number> = {}
  const lost: string[] = []
  const unfinished: string[] = []
  const [first] = gateways
  for (const [id, prompt] of told.acknowledged) {
    const state = await finalState(`${first?.url}/v1/tasks/${id}`, apiKey)
    states[state] = (states[state] ?? 0) + 1
    if (state === '404') lost.push(`${id} (${prompt})`)
    else if (!finalStates.includes(state)) unfinished.push(`${id} (${prompt}) is ${state}`)
  }
  // Attached tasks of killed processes are brought to their end as well.
  await sleep(3_000)
  await Promise.all(gateways.map((gateway) => gateway.stop()))
  await using database = await openDatabase({ dataDir: dataDir(0), ...(databaseUrl !== undefined && { databaseUrl }) })
  const audit = await auditLedger(database)
  return {
    kills,
    databaseKills,
    failedStarts,
    answers: Object.fromEntries([...told.answers].sort()),
    acknowledged: told.acknowledged.size,
    upstreamCalls: upstream.calls.values().reduce((sum, count) => sum + count, 0),
    states,
    paidTwice: [...upstream.calls].filter(([, count]) => count > 1).map(([prompt, count]) => `${prompt}: ${count} times`),
    lost,
    unfinished: [...unfinished, ...audit.unfinished],
    changedReplays: told.changed,
    ledgerProblems: audit.problems
  }
}

const finalStates = ['succeeded', 'failed', 'cancelled', 'interrupted']
const masterKey = Buffer.from('a master key for chaos, 32 bytes').toString('base64')
const pixel = Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==', 'base64')

function environmentOf({ bucket, endpoint, region, accessKeyId, secretAccessKey }: TestS3): Record<string, string> {
  return {
    ATELIER_S3_BUCKET: bucket,
    ATELIER_S3_ENDPOINT: endpoint,
    AWS_REGION: region,
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey
  }
}

async function finalState(url: string, apiKey: string): Promise<string> {
  for (let tries = 0; ; tries += 1) {
    const response = await fetch(`${url}?wait=10`, { headers: { authorization: `Bearer ${apiKey}` } }).catch(() => undefined)
    if (response?.status === 404) return '404'
    const { status } = response?.status === 200 ? ((await response.json()) as { status: string }) : { status: `answer ${response?.status}` }
    if (finalStates.includes(status) || tries === 5) return status
  }
}

async function writeConfig(path: string, receiverAddress: string): Promise<void> {
  await writeFile(path, `egress:\n  allow: ["${receiverAddress}"]\n`)
}

/** mulberry32: small, and the same on every machine. */
function createRandom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
