import { readFile } from 'node:fs/promises'
import { isIPv6 } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Catalog } from '../gen/atelier/v1/catalog_pb.ts'
import packageJson from '../package.json' with { type: 'json' }
import { type ApiKeyStore, type ConfiguredApiKey, createApiKeyStore } from './admission/api-key-store.ts'
import { createAuthenticator } from './admission/authenticate.ts'
import { callerScopes, operatorKeys } from './admission/operator-keys.ts'
import type { ProviderSettings, Settings } from './config.ts'
import { createDelivery } from './delivery/deliver.ts'
import { host } from './delivery/host.ts'
import { createTranscoder } from './delivery/transcode.ts'
import { createAdminOperations } from './invoke/admin-operations.ts'
import { createOperations } from './invoke.ts'
import { createPrices } from './ledger/prices.ts'
import type { Logger } from './log.ts'
import type { Provider } from './providers/provider.ts'
import { createSketchProvider } from './providers/sketch.ts'
import type { ConfiguredProvider } from './routing/attempt.ts'
import { loadCatalog } from './routing/catalog.ts'
import { createModels } from './routing/models.ts'
import { adapters } from './server/adapters.ts'
import { openStorage } from './server/open-storage.ts'
import { startTasks } from './server/start-tasks.ts'
import { createApiKeys } from './services/api-keys.ts'
import { createCreateVariations } from './services/create-variations.ts'
import { createDeleteImage } from './services/delete-image.ts'
import { createEditImages } from './services/edit-images.ts'
import { createEstimateCost } from './services/estimate-cost.ts'
import { createGenerateImages } from './services/generate-images.ts'
import { createGetModel, createListModels } from './services/models.ts'
import { createOrganizations } from './services/organizations.ts'
import { createPlanEdit } from './services/plan-edit-run.ts'
import { createPlanGeneration } from './services/plan-run.ts'
import { createUploadImage } from './services/upload-image.ts'
import type { Checkpoint } from './tasks/checkpoint.ts'
import { createUpstreamClient } from './upstream/client.ts'
import { createUntrustedUrlFetcher } from './upstream/untrusted-url.ts'
import { createCors } from './wire/cors.ts'
import { createDownloads } from './wire/downloads.ts'
import { createListener, type ListenerOptions } from './wire/listener.ts'
import { createMetrics } from './wire/metrics.ts'
import { createRequestRecords } from './wire/request-record.ts'
import { createRestHandler, createRestRoutes } from './wire/rest.ts'
import { createRpcHandler } from './wire/rpc.ts'

export interface Server extends AsyncDisposable {
  /** Where it listens, e.g. http://127.0.0.1:8080. */
  readonly url: string
  /** The API key that this start created, because there was none; shown once. */
  readonly firstKey: string | undefined
  /** Takes no new requests, lets those in flight finish within the drain time, then closes everything. */
  drain(): Promise<void>
}

export interface ServerDeps {
  log: Logger
  /** Told of the steps between which a crash makes a difference. */
  checkpoint?: Checkpoint
  /** How long other processes wait before they take over what this one works on. Unset: 15 s. */
  leaseMs?: number
}

/** Listens, and builds every part in order. Throws where a setting, the data directory or the port cannot be used. */
export async function startServer(settings: Settings, deps: ServerDeps): Promise<Server> {
  const { log } = deps
  await using parts = new AsyncDisposableStack()

  const built = Promise.withResolvers<void>()
  let handle: Parameters<typeof createListener>[1] = (request, response) => void built.promise.then(() => handle(request, response))
  const listener = parts.use(createListener(await listenerOptions(settings, log), (request, response) => handle(request, response)))
  // The port comes first: links to images may need its number, and a second server of the same address must not touch the data.
  const url = urlOf(await listener.listen(), settings)

  const storage = await openStorage(settings, settings.publicUrl ?? url, parts, log)
  const { database, links, blobs, scratch, uploads } = storage
  const keys = parts.use(await createApiKeyStore({ database }))
  await keys.syncConfigured(configuredKeys(settings))
  const firstKey = keys.isEmpty('generate') ? await createFirstKey(settings, keys) : undefined

  const transcoder = parts.use(createTranscoder({ maxConcurrent: 2 }, { scratch }))
  const fetcher = parts.use(createUntrustedUrlFetcher({ allow: settings.egressAllow }))
  const catalog = loadCatalog({ files: settings.catalogFiles })
  const providers = new Map(settings.providers.map((provider) => [provider.name, configure(provider, catalog, parts)]))
  const models = createModels(settings, { catalog })
  const prices = createPrices(settings)
  const planning = { models, providers, prices, uploads, blobs, fetcher }
  const planGeneration = createPlanGeneration(settings, planning)
  const planEdit = createPlanEdit(settings, planning)

  const draining = new AbortController()
  const { runner, tasks, drain, sweep } = await startTasks(
    settings,
    {
      ...storage,
      providers,
      delivery: createDelivery({ fetcher, blobs, links, transcoder }),
      fetcher,
      planGeneration,
      planEdit,
      log,
      version: packageJson.version,
      draining: draining.signal,
      checkpoint: deps.checkpoint ?? (() => undefined),
      ...(deps.leaseMs !== undefined && { leaseMs: deps.leaseMs })
    },
    parts
  )
  parts.defer(sweepRegularly([sweep, blobs.sweep], log))
  const operations = createOperations(settings, {
    ...tasks,
    generateImages: createGenerateImages({ planGeneration, runner }),
    editImages: createEditImages({ planEdit, runner }),
    createVariations: createCreateVariations({ planEdit, runner }),
    uploadImage: createUploadImage({ uploads, blobs }),
    deleteImage: createDeleteImage({ blobs }),
    estimateCost: createEstimateCost({ models, providers, prices }),
    listModels: createListModels({ models }),
    getModel: createGetModel({ models })
  })

  const admin = createAdminOperations({
    organizations: createOrganizations({ database, keys }),
    apiKeys: createApiKeys({ database, keys })
  })

  const unready = () => (draining.signal.aborted ? 'shutting down' : undefined)
  const metrics = createMetrics()
  const wire = {
    operations,
    authenticator: createAuthenticator({ keys }),
    openRecord: createRequestRecords({ log, metrics }),
    cors: createCors(settings.corsOrigins),
    log,
    unready,
    draining: draining.signal
  }
  const restDeps = { ...wire, uploads, downloads: createDownloads({ blobs, links }), metrics }
  const rest = createRestHandler(createRestRoutes(settings, restDeps), restDeps)
  const rpc = createRpcHandler({
    ...wire,
    admin,
    uploads,
    hostImage: (image, provider, call) =>
      host(image, { provider, linkLifetimeSeconds: settings.linkLifetimeSeconds }, call, { blobs, links })
  })
  handle = (request, response) => {
    if (!rpc(request, response)) void rest(request, response)
  }
  built.resolve()

  const owned = parts.move()
  return {
    url,
    firstKey,
    async drain() {
      draining.abort(new Error('the server is shutting down'))
      const limit = new AbortController()
      await Promise.race([
        Promise.all([listener.drain(settings.drainMs), drain()]),
        sleep(settings.drainMs, undefined, { signal: limit.signal }).catch(() => undefined)
      ]).finally(() => limit.abort())
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync()
  }
}

const sweepEveryMs = 600_000

async function listenerOptions(settings: Settings, log: Logger): Promise<ListenerOptions> {
  const { listen, maxConnections, tls } = settings
  if (!tls) return { ...listen, maxConnections, log }
  const [certificate, key] = await Promise.all([readFile(tls.certificateFile), readFile(tls.keyFile)])
  return { ...listen, maxConnections, log, tls: { certificate, key } }
}

function urlOf(address: { host: string; port: number }, settings: Settings): string {
  const host = /^(0\.0\.0\.0|::)$/.test(address.host) ? 'localhost' : isIPv6(address.host) ? `[${address.host}]` : address.host
  return `${settings.tls ? 'https' : 'http'}://${host}:${address.port}`
}

function configuredKeys(settings: Settings): ConfiguredApiKey[] {
  return [
    ...(settings.apiKey === undefined ? [] : [{ key: settings.apiKey, scopes: callerScopes }]),
    ...(settings.adminKey === undefined ? [] : [{ key: settings.adminKey, scopes: ['admin'] as const }])
  ]
}

/** Only for a server that nobody else can reach: on any other address, whoever comes first would read the key from the terminal. */
async function createFirstKey(settings: Settings, keys: ApiKeyStore): Promise<string> {
  const { host } = settings.listen
  if (!/^(127\.\d+\.\d+\.\d+|::1|localhost)$/.test(host)) {
    throw new Error(
      `listening on ${host} needs an API key: set ATELIER_API_KEY, or make one with \`atelier new-key\` before the first start`
    )
  }
  return (await keys.create(operatorKeys.caller)).key
}

function sweepRegularly(sweeps: readonly ((nowMs: number) => Promise<number>)[], log: Logger): () => void {
  const sweepAll = async () => {
    for (const sweep of sweeps) {
      await sweep(Date.now()).catch((err: unknown) => log.error({ err }, 'what has expired could not be removed'))
    }
  }
  const timer = setInterval(() => void sweepAll(), sweepEveryMs)
  timer.unref()
  return () => clearInterval(timer)
}

function configure(provider: ProviderSettings, catalog: readonly Catalog[], parts: AsyncDisposableStack): ConfiguredProvider {
  const { name, apiKey: credential, timeoutMs } = provider
  const backend = provider.adapter === 'sketch' ? createSketchProvider({ name }) : createRemoteProvider(provider, catalog, parts)
  return { backend, credential, ...(timeoutMs === undefined ? {} : { timeoutMs }) }
}

/** A provider at its configured address, else at its vendor's own, which the catalog knows. */
function createRemoteProvider(provider: ProviderSettings, catalog: readonly Catalog[], parts: AsyncDisposableStack): Provider {
  const { name, adapter, headers, maxConnections, apiVersion, auth } = provider
  const create = adapters[adapter]
  const baseUrl = provider.baseUrl ?? catalog.find(({ vendor }) => vendor === adapter)?.baseUrl
  if (!create || !baseUrl) throw new Error(`the provider ${name} has no ${create ? 'address' : `adapter ${adapter}`}`)
  const client = parts.use(createUpstreamClient({ provider: name, baseUrl, maxConnections }))
  return create({ name, baseUrl, headers, ...(apiVersion && { apiVersion }), ...(auth && { auth }) }, { client })
}
