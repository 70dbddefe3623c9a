import { readFile } from 'node:fs/promises'
import { isIPv6 } from 'node:net'
import { join } from 'node:path'
import type { Catalog } from '../gen/atelier/v1/catalog_pb.ts'
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
import { createApiKeys } from './services/api-keys.ts'
import { createCreateVariations } from './services/create-variations.ts'
import { createEditImages } from './services/edit-images.ts'
import { createEstimateCost } from './services/estimate-cost.ts'
import { createGenerateImages } from './services/generate-images.ts'
import { createGetModel, createListModels } from './services/models.ts'
import { createOrganizations } from './services/organizations.ts'
import { createUploadImage } from './services/upload-image.ts'
import type { BlobStore } from './storage/blob-store.ts'
import { openDatabase } from './storage/database.ts'
import { createDiskBlobStore } from './storage/disk-blob-store.ts'
import { createLinks } from './storage/links.ts'
import { openMasterKey } from './storage/master-key.ts'
import { createScratchFiles } from './storage/scratch-files.ts'
import { createSpool } from './storage/spool.ts'
import { createUploads } from './storage/uploads.ts'
import { createRunner } from './tasks/runner.ts'
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

/** Listens, and builds every part in order. Throws where a setting, the data directory or the port cannot be used. */
export async function startServer(settings: Settings, deps: { log: Logger }): Promise<Server> {
  const { log } = deps
  await using parts = new AsyncDisposableStack()

  const built = Promise.withResolvers<void>()
  let handle: Parameters<typeof createListener>[1] = (request, response) => void built.promise.then(() => handle(request, response))
  const listener = parts.use(createListener(await listenerOptions(settings, log), (request, response) => handle(request, response)))
  // The port comes first: links to images may need its number, and a second server of the same address must not touch the data.
  const url = urlOf(await listener.listen(), settings)

  const database = parts.use(await openDatabase({ dataDir: settings.dataDir }))
  const masterKey = await openMasterKey({
    dataDir: settings.dataDir,
    ...(settings.masterKey === undefined ? {} : { masterKey: settings.masterKey })
  })
  const keys = parts.use(await createApiKeyStore({ database }))
  await keys.syncConfigured(configuredKeys(settings))
  const firstKey = keys.isEmpty('generate') ? await createFirstKey(settings, keys) : undefined

  const links = createLinks({
    publicUrl: settings.publicUrl ?? url,
    signingKey: masterKey.derive('links'),
    lifetimeSeconds: settings.linkLifetimeSeconds
  })
  const blobs = await createDiskBlobStore({ directory: join(settings.dataDir, 'images') }, { database })
  parts.defer(sweepRegularly(blobs, log))
  const scratch = createScratchFiles({ directory: join(settings.dataDir, 'scratch') })
  const transcoder = parts.use(createTranscoder({ maxConcurrent: 2 }, { scratch }))
  const spool = createSpool({ directory: join(settings.dataDir, 'spool') })
  const uploads = createUploads({ directory: join(settings.dataDir, 'uploads') })

  const fetcher = parts.use(createUntrustedUrlFetcher({ allow: settings.egressAllow }))
  const catalog = loadCatalog({ files: settings.catalogFiles })
  const providers = new Map(settings.providers.map((provider) => [provider.name, configure(provider, catalog, parts)]))
  const models = createModels(settings, { catalog })
  const prices = createPrices(settings)
  const delivery = createDelivery({ fetcher, blobs, links, transcoder })
  const generation = { models, providers, runner: createRunner({}, { providers, spool }), prices, delivery }
  const editImages = createEditImages(settings, { ...generation, uploads, blobs, fetcher })
  const operations = createOperations(settings, {
    generateImages: createGenerateImages(settings, generation),
    editImages,
    createVariations: createCreateVariations({ models, editImages }),
    uploadImage: createUploadImage({ uploads, blobs }),
    estimateCost: createEstimateCost({ models, providers, prices }),
    listModels: createListModels({ models }),
    getModel: createGetModel({ models })
  })

  const admin = createAdminOperations({
    organizations: createOrganizations({ database, keys }),
    apiKeys: createApiKeys({ database, keys })
  })

  let draining = false
  const unready = () => (draining ? 'shutting down' : undefined)
  const metrics = createMetrics()
  const wire = {
    operations,
    authenticator: createAuthenticator({ keys }),
    openRecord: createRequestRecords({ log, metrics }),
    cors: createCors(settings.corsOrigins),
    log,
    unready
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
      draining = true
      await listener.drain(settings.drainMs)
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

function sweepRegularly(blobs: BlobStore, log: Logger): () => void {
  const timer = setInterval(() => {
    blobs.sweep(Date.now()).catch((err: unknown) => log.error({ err }, 'expired images could not be removed'))
  }, sweepEveryMs)
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
