import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type HeldUpstream, startHeldUpstream } from './held-upstream.ts'
import { startPostgres } from './postgres.ts'
import { startProgram } from './run-atelier.ts'
import { startS3 } from './s3.ts'
import { createTemporaryDirectory } from './temporary-directory.ts'

/** Gateways, each a process of its own, on one PostgreSQL database and one S3 bucket, with one upstream behind them. */
export interface GatewayCluster extends AsyncDisposable {
  readonly upstream: HeldUpstream
  readonly databaseUrl: string
  /** Of every gateway. */
  readonly adminKey: string
  /** One more gateway; the first one calls the upstream with the key `gateway-1`, and so on. */
  start(): Promise<ClusterGateway>
}

export interface ClusterGateway {
  readonly url: string
  /** Asks for an image of gpt-image-1. */
  generate(body: { prompt: string; response_format?: 'url' }, headers?: Record<string, string>): Promise<Response>
  /** Asks for one in the background, and returns the id of the task. */
  submit(prompt: string): Promise<string>
  /** The task, which is waited for. */
  task(id: string): Promise<ClusterTask>
  /** Ids of the tasks that run, newest first. */
  running(): Promise<string[]>
  cancel(id: string): Promise<void>
  /** Ends the process by SIGKILL. */
  kill(): Promise<void>
}

export interface ClusterTask {
  status: string
  error: { code: string; message: string } | null
  result: { data: { url: string }[] } | null
  attempts: { status: string }[]
}

export interface ClusterOptions {
  /** Most background tasks of one gateway at a time; 4 unless told. */
  maxRunningTasks?: number
  /** How long the upstream takes for an image; no time unless told. */
  upstreamDelayMs?: number
}

const program = fileURLToPath(new URL('./gateway-program.ts', import.meta.url))
const apiKey = 'a-key-for-both-of-them'
const adminKey = 'a-key-to-operate-them-all'

export async function startGatewayCluster({ maxRunningTasks = 4, upstreamDelayMs = 0 }: ClusterOptions = {}): Promise<GatewayCluster> {
  await using parts = new AsyncDisposableStack()
  const directory = parts.use(await createTemporaryDirectory())
  const upstream = parts.use(await startHeldUpstream({ delayMs: upstreamDelayMs }))
  const s3 = parts.use(await startS3())
  const postgres = parts.use(await startPostgres())
  const databaseUrl = await postgres.createDatabase()
  const config = join(directory.path, 'atelier.yaml')
  await writeFile(config, `limits:\n  max_running_tasks: ${maxRunningTasks}\n`)
  const environment = {
    ATELIER_CONFIG: config,
    ATELIER_LISTEN: '127.0.0.1:0',
    ATELIER_API_KEY: apiKey,
    ATELIER_ADMIN_KEY: adminKey,
    ATELIER_MASTER_KEY: Buffer.from('one master key for both of them.').toString('base64'),
    DATABASE_URL: databaseUrl,
    ATELIER_S3_BUCKET: s3.bucket,
    ATELIER_S3_ENDPOINT: s3.endpoint,
    AWS_REGION: s3.region,
    AWS_ACCESS_KEY_ID: s3.accessKeyId,
    AWS_SECRET_ACCESS_KEY: s3.secretAccessKey,
    OPENAI_BASE_URL: upstream.url
  }
  const owned = parts.move()
  let gateways = 0

  return {
    upstream,
    databaseUrl,
    adminKey,
    async start() {
      const name = `gateway-${++gateways}`
      const own = { ...environment, OPENAI_API_KEY: name, ATELIER_DATA_DIR: join(directory.path, name) }
      const run = owned.use(startProgram([], { directory: directory.path, environment: own, script: program }))
      const url = String((await run.logged('listening')).url)
      return createGateway(url, async () => await run[Symbol.asyncDispose]())
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync()
  }
}

function createGateway(url: string, kill: () => Promise<void>): ClusterGateway {
  const ask = (method: string, path: string, body?: object, headers: Record<string, string> = {}) =>
    fetch(url + path, {
      method,
      headers: { authorization: `Bearer ${apiKey}`, ...(body && { 'content-type': 'application/json' }), ...headers },
      ...(body && { body: JSON.stringify(body) })
    })
  const generate: ClusterGateway['generate'] = (body, headers) =>
    ask('POST', '/v1/images/generations', { model: 'gpt-image-1', size: '1024x1024', quality: 'low', ...body }, headers)
  return {
    url,
    generate,
    async submit(prompt) {
      const answer = await generate({ prompt }, { prefer: 'respond-async' })
      if (answer.status !== 202) throw new Error(`the task was not accepted: ${answer.status} ${await answer.text()}`)
      return ((await answer.json()) as { id: string }).id
    },
    async task(id) {
      const answer = await ask('GET', `/v1/tasks/${id}?wait=60`)
      if (answer.status !== 200) throw new Error(`the task was not found: ${answer.status} ${await answer.text()}`)
      return (await answer.json()) as ClusterTask
    },
    async running() {
      const { data } = (await (await ask('GET', '/v1/tasks?status=running')).json()) as { data: { id: string }[] }
      return data.map(({ id }) => id)
    },
    async cancel(id) {
      const answer = await ask('DELETE', `/v1/tasks/${id}`)
      if (answer.status !== 200) throw new Error(`the task was not cancelled: ${answer.status} ${await answer.text()}`)
    },
    kill
  }
}
