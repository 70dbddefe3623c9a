import { readFile } from 'node:fs/promises'
import { isIPv6 } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import packageJson from '../package.json' with { type: 'json' }
import { createAuthenticator } from './admission/authenticate.ts'
import { createProviderKeyCallers } from './admission/provider-key-callers.ts'
import type { Settings } from './config.ts'
import { createDelivery } from './delivery/deliver.ts'
import { host } from './delivery/host.ts'
import { createTranscoder } from './delivery/transcode.ts'
import { createChooseByModel } from './invoke/choose-by-model.ts'
import { createOperations } from './invoke.ts'
import { createBudgets } from './ledger/budgets.ts'
import { syncConfiguredBudget } from './ledger/configured-budget.ts'
import { createPrices } from './ledger/prices.ts'
import type { Logger } from './log.ts'
import { loadCatalog } from './routing/catalog.ts'
import { createCredentials } from './routing/credentials.ts'
import { createModels } from './routing/models.ts'
import { createModelsOfCall } from './routing/models-of-call.ts'
import { createProviderNames } from './routing/provider-names.ts'
import { configureProviders } from './server/configure-providers.ts'
import { createCustomHosts } from './server/custom-hosts.ts'
import { openAdministration } from './server/open-administration.ts'
import { openApiKeys } from './server/open-api-keys.ts'
import { openContentPolicies } from './server/open-content-policies.ts'
import { openMetrics } from './server/open-metrics.ts'
import { openRateLimits } from './server/open-rate-limits.ts'
import { openStorage } from './server/open-storage.ts'
import { platformCredentials, withOwnKeys } from './server/platform-credentials.ts'
import { startTasks } from './server/start-tasks.ts'
import { createCostGate } from './services/cost-gate.ts'
import { createCreateVariations } from './services/create-variations.ts'
import { createDeleteImage } from './services/delete-image.ts'
import { createEditImages } from './services/edit-images.ts'
import { createEstimateCost } from './services/estimate-cost.ts'
import { createGenerateImages } from './services/generate-images.ts'
import { createGetModel, createListModels } from './services/models.ts'
import { createPlanEdit } from './services/plan-edit-run.ts'
import { createPlanGeneration } from './services/plan-run.ts'
import { createUploadImage } from './services/upload-image.ts'
import { createLiveCopies } from './storage/live-copies.ts'
import type { Checkpoint } from './tasks/checkpoint.ts'
import { createUntrustedUrlFetcher } from './upstream/untrusted-url.ts'
import { createCors } from './wire/cors.ts'
import { createDownloads } from './wire/downloads.ts'
import { createListener, type ListenerOptions } from './wire/listener.ts'
import { createProviderChoices } from './wire/provider-choice.ts'
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
  const { log, leaseMs = 15_000 } = deps
  await using parts = new AsyncDisposableStack()

  const built = Promise.withResolvers<void>()
  let handle: Parameters<typeof createListener>[1] = (request, response) => void built.promise.then(() => handle(request, response))
  const listener = parts.use(createListener(await listenerOptions(settings, log), (request, response) => handle(request, response)))
  // The port comes first: links to images may need its number, and a second server of the same address must not touch the data.
  const url = urlOf(await listener.listen(), settings)

  const storage = await openStorage(settings, settings.publicUrl ?? url, parts, log)
  const { database, links, blobs, scratch, uploads } = storage
  const copies = parts.use(await createLiveCopies({ database }))
  const { keys, firstKey } = await openApiKeys(settings, { database, copies }, parts)
  await syncConfiguredBudget(settings.monthlyBudget, { database, copies })
  const budgets = await createBudgets({ database, copies })

  const transcoder = parts.use(createTranscoder({ maxConcurrent: 2 }, { scratch }))
  const fetcher = parts.use(createUntrustedUrlFetcher({ allow: settings.egressAllow }))
  const catalog = loadCatalog({ files: settings.catalogFiles })
  const customHosts = parts.use(createCustomHosts({ origins: settings.customHosts, allow: settings.egressAllow }))
  const providers = configureProviders(settings, { catalog, customHosts }, parts)
  const credentialDeps = { database, copies, sealer: storage.credentialSealer, log }
  const credentials = parts.use(await createCredentials({ platform: platformCredentials(settings, catalog) }, credentialDeps))
  const modelsOf = createModelsOfCall({ models: createModels(settings, { catalog }), credentials })
  const prices = createPrices(settings)
  const planning = { modelsOf, providers, prices, uploads, blobs, fetcher }
  const planGeneration = createPlanGeneration(settings, planning)
  const planEdit = createPlanEdit(settings, planning)

  const { contentGate, contentPolicyOperations } = await openContentPolicies({ ...storage, copies, fetcher })
  const rateLimits = { isShared: settings.databaseUrl !== undefined, leaseMs }
  const { rateLimitGate, rateLimitOperations } = await openRateLimits(rateLimits, { database, copies }, parts)

  const metrics = openMetrics(settings, { catalog, database })
  const draining = new AbortController()
  const { runner, tasks, drain, sweep } = await startTasks(
    settings,
    {
      ...storage,
      providers,
      credentials,
      delivery: createDelivery({ fetcher, blobs, links, transcoder }),
      fetcher,
      planGeneration,
      planEdit,
      budgets,
      gates: [createCostGate({ keepsTasks: settings.tasks === 'on' }, { budgets }), rateLimitGate, contentGate],
      log,
      meter: metrics.tasks,
      version: packageJson.version,
      draining: draining.signal,
      checkpoint: deps.checkpoint ?? (() => undefined),
      leaseMs
    },
    parts
  )
  parts.defer(sweepRegularly([sweep, blobs.sweep], log))
  const names = createProviderNames([...providers.keys()], { catalog, credentials })
  const operations = createOperations(settings, {
    ...tasks,
    generateImages: createGenerateImages({ planGeneration, runner }),
    editImages: createEditImages({ planEdit, runner }),
    createVariations: createCreateVariations({ planEdit, runner }),
    uploadImage: createUploadImage({ uploads, blobs }),
    deleteImage: createDeleteImage({ blobs }),
    chooseByModel: createChooseByModel({ names, modelsOfCall: modelsOf }),
    estimateCost: createEstimateCost({ modelsOf, providers, prices }),
    listModels: createListModels({ modelsOf }),
    getModel: createGetModel({ modelsOf })
  })

  const administered = [
    ...openAdministration(settings, { ...storage, copies, keys, credentials }),
    rateLimitOperations,
    contentPolicyOperations
  ]

  const callerWithProviderKey = settings.allowProviderKeyOnly
    ? await createProviderKeyCallers({ providers: withOwnKeys(settings, catalog) }, { ...storage, copies })
    : undefined
  const unready = () => (draining.signal.aborted ? 'shutting down' : undefined)
  const wire = {
    operations,
    authenticator: createAuthenticator({ keys, ...(callerWithProviderKey && { callerWithProviderKey }) }),
    choices: createProviderChoices(settings, names),
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
    administered,
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
