import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { startSharedStorage } from '../test/support/shared-storage.ts'
import { createGuardedKey } from './guarded-key.ts'
import { freePort, runProcess } from './run-process.ts'
import { sharedStorageProblem } from './shared-storage-problem.ts'
import type { RunningTarget, StartOptions, Target } from './targets.ts'

const atelier: Target = {
  name: 'atelier',
  describe: () =>
    'this gateway with `tasks: off`: authentication, validation, routing, a log line and metrics for each request; nothing is kept',
  unavailable: () => undefined,
  start: (options) => startAtelier('off', options)
}

const atelierTasks: Target = {
  name: 'atelier-tasks',
  describe: () =>
    'this gateway as it is by default: each request is also recorded on the disk before it is sent, and its images are stored while they pass',
  unavailable: () => undefined,
  start: (options) => startAtelier('on', options)
}

const guards =
  'with a key of an organization under rate limits on requests, images, cost and requests in flight, under its own, the key’s and the monthly budget, and metadata for the usage'

const atelierGuarded: Target = {
  name: 'atelier-guarded',
  describe: () => `atelier-tasks ${guards}`,
  unavailable: () => undefined,
  start: startGuarded
}

const atelierPostgres: Target = {
  name: 'atelier-postgres',
  describe: () => 'atelier-guarded with its records in PostgreSQL, on this machine and with the settings that it comes with',
  unavailable: sharedStorageProblem,
  async start(options) {
    await using parts = new AsyncDisposableStack()
    const storage = parts.use(await startSharedStorage({ settings: ownSettings }))
    const running = parts.use(await startGuarded(options, storage.environment))
    const owned = parts.move()
    return { ...running, [Symbol.asyncDispose]: () => owned.disposeAsync() }
  }
}

/** Those that PostgreSQL comes with, where the tests have others. */
const ownSettings = ['shared_buffers=128MB', 'deadlock_timeout=1s']

/** This gateway, from what it does least to what it does most. */
export const atelierTargets: readonly Target[] = [atelier, atelierTasks, atelierGuarded, atelierPostgres]

/** What tasks that nobody waits for are made with. */
export const taskModel = 'thumbnail'

/** What `npm start` gives to Node: its flags and the program. */
export function startArguments(): string[] {
  const root = join(import.meta.dirname, '..')
  const { scripts }: { scripts: { start: string } } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  return scripts.start
    .split(' ')
    .slice(1)
    .map((argument) => (argument.startsWith('-') ? argument : join(root, argument)))
}

const apiKey = 'sk-bench-0123456789abcdefghij'
const adminKey = 'sk-bench-admin-0123456789abcdefghij'
const upstreamKey = 'sk-upstream-0123456789'

async function startGuarded(options: StartOptions, environment: Record<string, string> = {}): Promise<RunningTarget> {
  const budget = { ATELIER_MONTHLY_BUDGET_USD: '100000000', ATELIER_UNKNOWN_PRICE_USD: '0.04' }
  const running = await startAtelier('on', options, { ...environment, ...budget, ATELIER_ADMIN_KEY: adminKey })
  try {
    const key = await createGuardedKey({ url: new URL(running.url).origin, adminKey })
    return { ...running, headers: { authorization: `Bearer ${key}`, 'x-atelier-metadata': '{"team":"design","project":"cats"}' } }
  } catch (error) {
    await running[Symbol.asyncDispose]()
    throw error
  }
}

async function startAtelier(tasks: 'on' | 'off', options: StartOptions, environment: Record<string, string> = {}): Promise<RunningTarget> {
  const { directory, profileDirectory } = options
  const port = await freePort()
  const config = join(directory, 'atelier.yaml')
  await writeFile(config, atelierConfig(tasks, options))
  const running = await runProcess({
    command: process.execPath,
    args: [...profileFlags(profileDirectory), ...startArguments()],
    environment: {
      ATELIER_CONFIG: config,
      ATELIER_LISTEN: `127.0.0.1:${port}`,
      ATELIER_DATA_DIR: join(directory, 'data'),
      ATELIER_API_KEY: apiKey,
      OPENAI_API_KEY: upstreamKey,
      ...environment
    },
    port,
    logFile: join(directory, 'log')
  })
  return { ...running, url: `http://127.0.0.1:${port}/v1/images/generations`, headers: { authorization: `Bearer ${apiKey}` } }
}

function atelierConfig(tasks: 'on' | 'off', { upstreamUrl, taskUpstreamUrl }: StartOptions): string {
  const config = `tasks: ${tasks}\nproviders:\n  openai:\n    base_url: ${upstreamUrl}\n    max_connections: 1024\n`
  if (taskUpstreamUrl === undefined) return config
  return `${config}  quick:\n    adapter: openai\n    base_url: ${taskUpstreamUrl}\n    api_key: ${upstreamKey}\n    models: [${taskModel}]\n`
}

function profileFlags(directory: string | undefined): string[] {
  return directory === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${resolve(directory)}`]
}
