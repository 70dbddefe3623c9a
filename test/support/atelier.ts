import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadConfig, type Settings } from '../../src/config.ts'
import { createLog } from '../../src/log.ts'
import { startServer } from '../../src/server.ts'

export interface TestServer extends AsyncDisposable {
  /** Origin, e.g. http://127.0.0.1:41234. */
  readonly url: string
  readonly apiKey: string
  readonly adminKey: string
  readonly dataDir: string
  /** The log lines so far. */
  readonly logLines: string[]
  /** POSTs JSON with the API key. */
  post(path: string, body: unknown, headers?: Record<string, string>): Promise<Response>
  get(path: string, headers?: Record<string, string>): Promise<Response>
  drain(): Promise<void>
}

export interface TestServerOptions {
  /** As in atelier.yaml. */
  environment?: Record<string, string>
  /** Changes to the settings that the environment gives. */
  settings?: Partial<Settings>
}

const apiKey = 'test-key-for-every-caller'
const adminKey = 'test-key-for-the-operator'

/** The whole server in this process, on a free port with a data directory of its own. */
export async function startAtelier({ environment = {}, settings = {} }: TestServerOptions = {}): Promise<TestServer> {
  const dataDir = await mkdtemp(join(tmpdir(), 'atelier-'))
  const logLines: string[] = []
  const log = createLog({ level: 'info', destination: { write: (line) => logLines.push(line) } })
  const loaded = await loadConfig(
    { ATELIER_LISTEN: '127.0.0.1:0', ATELIER_DATA_DIR: dataDir, ATELIER_API_KEY: apiKey, ATELIER_ADMIN_KEY: adminKey, ...environment },
    { directory: dataDir }
  )
  const server = await startServer({ ...loaded.settings, ...settings }, { log })
  const authorized = (headers: Record<string, string>) => ({ authorization: `Bearer ${apiKey}`, ...headers })
  return {
    url: server.url,
    apiKey,
    adminKey,
    dataDir,
    logLines,
    post: (path, body, headers = {}) =>
      fetch(server.url + path, {
        method: 'POST',
        headers: authorized({ 'content-type': 'application/json', ...headers }),
        body: typeof body === 'string' ? body : JSON.stringify(body)
      }),
    get: (path, headers = {}) => fetch(server.url + path, { headers: authorized(headers) }),
    drain: () => server.drain(),
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]()
      await rm(dataDir, { recursive: true, force: true })
    }
  }
}
