import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { checkConfig } from './config/check-config.ts'
import { ConfigError } from './config/config-error.ts'
import { databaseSecrets } from './config/database-url.ts'
import { type Draft, emptyDraft } from './config/draft.ts'
import { makeSettings } from './config/make-settings.ts'
import { readEnvironment, unknownVariables } from './config/read-environment.ts'
import type { ReadYamlOptions } from './config/read-yaml.ts'
import type { ConfiguredBudget } from './ledger/configured-budget.ts'
import type { PriceRule } from './ledger/price-list.ts'
import type { RetiredPolicy } from './routing/retired.ts'

/** What the program runs on: every default applied, every unit in its name, every path absolute. */
export interface Settings {
  /** `host` without brackets; `port` 0 lets the system choose. */
  listen: { host: string; port: number }
  /** Without a trailing slash. Unset: the address that the server listens on. */
  publicUrl?: string
  dataDir: string
  /** Of PostgreSQL, with its password. Unset: a database in the data directory. Comes only with `masterKey` and `s3`. */
  databaseUrl?: string
  /** Unset: images lie in the data directory. */
  s3?: S3Settings
  /** Whether requests are recorded before they are sent. */
  tasks: 'on' | 'off'
  defaultModel: string
  /** Unset: the first start creates one. */
  apiKey?: string
  adminKey?: string
  /** 32 bytes in base64. Unset: a file in the data directory. */
  masterKey?: string
  /** Further master keys, newest first: for opening what they sealed and for their links. */
  previousMasterKeys: string[]
  logLevel: string
  /** In the order in which they are asked. `sketch` is last unless the file places it elsewhere or disables it. */
  providers: ProviderSettings[]
  /** Written name to `provider/model` or a model's name. Has no prototype, so that any name can be looked up. */
  aliases: Record<string, string>
  egressAllow: string[]
  /** Whether callers may bring a provider's key with a request, and whether that alone is enough to call. */
  allowRequestCredentials: boolean
  allowProviderKeyOnly: boolean
  /** Origins at which a caller may have a provider called with a key of its own. */
  customHosts: string[]
  /** The operator's own catalog files, after the built-in ones. */
  catalogFiles: string[]
  tls?: { certificateFile: string; keyFile: string }
  corsOrigins: string[]
  maxInFlight: number
  maxBodyBytes: number
  maxConnections: number
  drainMs: number
  /** Of the tasks that nobody waits for: how many this process works on at a time, and how many may wait. */
  maxRunningTasks: number
  maxQueuedTasks: number
  /** For how long a delivered result is kept where somebody waited for it. */
  keepResultsSeconds: number
  /** For how long any other task and its result are kept from their end on. */
  keepTasksSeconds: number
  linkLifetimeSeconds: number
  /** The most that everything together may cost at providers in a month. Unset: no limit. */
  monthlyBudget?: ConfiguredBudget
  /** What callers are charged; the first rule that fits counts. */
  prices: PriceRule[]
  priceUnit: string
}

export interface S3Settings {
  bucket: string
  /** Without a trailing slash. Unset: Amazon's in the region. */
  endpoint?: string
  region: string
  /** Empty, or ends in a slash. */
  prefix: string
  accessKeyId: string
  secretAccessKey: string
  sessionToken?: string
}

export interface ProviderSettings {
  name: string
  adapter: string
  /** Without a trailing slash. Unset: the vendor's own. */
  baseUrl?: string
  /** Empty: none. */
  apiKey: string
  /** Empty: the vendor's models in the catalog. */
  models: string[]
  headers: Record<string, string>
  maxConnections: number
  /** Unset: the model's in the catalog, else ten minutes. */
  timeoutMs?: number
  /** Of Azure: the version of the API. */
  apiVersion?: string
  /** Of Azure: names of deployments by model. Has no prototype. Unset: none is named. */
  deployments?: Record<string, string>
  /** Of Azure: how the key is sent. */
  auth?: 'api_key' | 'bearer'
  /** What becomes of models that the vendor has switched off. Unset: `replace` at the vendor's own address, `forward` elsewhere. */
  retired?: RetiredPolicy
}

export interface LoadedConfig {
  settings: Settings
  /** The file that was read, as it was named; unset where there is none. */
  file?: string
  /** Where each value that was set stands, by its path in the file ("providers.openai.api_key"): "atelier.yaml:3:5", "OPENAI_API_KEY". */
  origins: ReadonlyMap<string, string>
  /** One line each: what was set and has no effect. */
  warnings: string[]
}

/** Reads the environment and the file that it names, else `atelier.yaml` in `directory` if there is one. Throws `ConfigError`. */
export async function loadConfig(
  environment: Readonly<Record<string, string | undefined>>,
  options: { directory?: string } = {}
): Promise<LoadedConfig> {
  const directory = options.directory ?? process.cwd()
  const file = await findFile(environment.ATELIER_CONFIG?.trim() ?? '', directory)
  const draft = file === undefined ? emptyDraft() : await readFromYaml(file.text, { name: file.name, environment })
  readEnvironment(draft, environment)
  await checkConfig(draft, { directory })
  if (draft.problems.size > 0)
    throw new ConfigError([...draft.problems.values()].sort((a, b) => a.offset - b.offset).map((problem) => problem.text))
  return {
    settings: makeSettings(draft.config, { directory }),
    origins: new Map([...draft.origins].map(([path, origin]) => [path, origin.label])),
    warnings: unknownVariables(environment),
    ...(file && { file: file.name })
  }
}

/** Loads the library for YAML only where there is a file. */
async function readFromYaml(text: string, options: ReadYamlOptions): Promise<Draft> {
  const { readYaml } = await import('./config/read-yaml.ts')
  return readYaml(text, options)
}

/** Every secret in the settings, for blanking them in the log. */
export function secretsOf(settings: Settings): string[] {
  const { apiKey, adminKey, masterKey, previousMasterKeys, databaseUrl, s3 } = settings
  const providers = settings.providers.flatMap((provider) => [provider.apiKey, ...Object.values(provider.headers)])
  const database = databaseUrl === undefined ? [] : databaseSecrets(databaseUrl)
  const all = [apiKey, adminKey, masterKey, ...previousMasterKeys, ...database, s3?.secretAccessKey, s3?.sessionToken, ...providers]
  return all.filter((secret) => secret !== undefined).filter((secret) => secret !== '')
}

const defaultFile = 'atelier.yaml'
const maxFileBytes = 1_048_576

async function findFile(named: string, directory: string): Promise<{ name: string; text: string } | undefined> {
  const name = named || defaultFile
  try {
    const bytes = await readFile(resolve(directory, name))
    if (bytes.length > maxFileBytes) throw new ConfigError([`${name}: is ${bytes.length} bytes long; the limit is ${maxFileBytes}`])
    return { name, text: new TextDecoder('utf-8', { fatal: true }).decode(bytes) }
  } catch (error) {
    if (error instanceof ConfigError) throw error
    if (!named && isSystemError(error) && error.code === 'ENOENT') return undefined
    throw new ConfigError([`${named ? `ATELIER_CONFIG: ${name}` : name}: ${readProblem(error)}`])
  }
}

function readProblem(error: unknown): string {
  if (!isSystemError(error)) return 'cannot be read'
  if (error.code === 'ENOENT') return 'there is no such file'
  if (error.code === 'EISDIR') return 'is a directory, and must be a file'
  if (error.code === 'ERR_ENCODING_INVALID_ENCODED_DATA') return 'is not valid UTF-8'
  return `cannot be read (${error.code})`
}

function isSystemError(error: unknown): error is Error & { code: string } {
  return error instanceof Error && 'code' in error && typeof error.code === 'string'
}
