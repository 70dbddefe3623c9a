import { Document, isMap, isScalar, isSeq, type Node } from 'yaml'
import type { LoadedConfig, ProviderSettings, S3Settings, Settings } from '../config.ts'
import type { ConfiguredBudget } from '../ledger/configured-budget.ts'
import type { PriceRule } from '../ledger/price-list.ts'
import { maskDatabaseUrl } from './database-url.ts'
import { isSecret } from './draft.ts'

/**
 * The effective configuration as YAML in the shape of the file, each value followed by where it comes from. Of a secret only the last four
 * characters are shown, of a short one none.
 */
export function describeSettings(loaded: Pick<LoadedConfig, 'settings' | 'origins'>): string {
  const document = new Document(fileShape(loaded.settings))
  if (document.contents !== null) annotate(document.contents, '', loaded.origins)
  return document.toString({ lineWidth: 0, flowCollectionPadding: false })
}

/** `sk-…f3c9`: what is left of a secret when it is shown to its owner. */
export function maskSecret(secret: string): string {
  return secret.length < 12 ? '…' : `${secret.startsWith('sk-') ? 'sk-' : ''}…${secret.slice(-4)}`
}

function fileShape(settings: Settings): Record<string, unknown> {
  const { host, port } = settings.listen
  return {
    listen: host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`,
    ...(settings.publicUrl !== undefined && { public_url: settings.publicUrl }),
    data_dir: settings.dataDir,
    ...(settings.databaseUrl !== undefined && { database_url: settings.databaseUrl }),
    ...(settings.s3 && { s3: s3Shape(settings.s3) }),
    tasks: settings.tasks,
    default_model: settings.defaultModel,
    ...(settings.apiKey !== undefined && { api_key: settings.apiKey }),
    ...(settings.adminKey !== undefined && { admin_key: settings.adminKey }),
    ...(settings.masterKey !== undefined && { master_key: settings.masterKey }),
    ...(settings.previousMasterKeys.length > 0 && { previous_master_keys: settings.previousMasterKeys }),
    log_level: settings.logLevel,
    providers: Object.fromEntries(settings.providers.map((provider) => [provider.name, providerShape(provider)])),
    ...(Object.keys(settings.aliases).length > 0 && { aliases: settings.aliases }),
    ...(settings.catalogFiles.length > 0 && { catalog_files: settings.catalogFiles }),
    ...(settings.egressAllow.length > 0 && { egress: { allow: settings.egressAllow } }),
    allow_request_credentials: settings.allowRequestCredentials,
    allow_provider_key_only: settings.allowProviderKeyOnly,
    ...(settings.customHosts.length > 0 && { custom_hosts: settings.customHosts }),
    ...(settings.tls && { tls: { certificate_file: settings.tls.certificateFile, key_file: settings.tls.keyFile } }),
    ...(settings.corsOrigins.length > 0 && { cors: { allow_origins: settings.corsOrigins } }),
    limits: {
      max_in_flight: settings.maxInFlight,
      max_body_bytes: settings.maxBodyBytes,
      max_connections: settings.maxConnections,
      drain_seconds: settings.drainMs / 1000,
      max_running_tasks: settings.maxRunningTasks,
      max_queued_tasks: settings.maxQueuedTasks
    },
    keep_results_for_seconds: settings.keepResultsSeconds,
    keep_tasks_for_seconds: settings.keepTasksSeconds,
    link_lifetime_seconds: settings.linkLifetimeSeconds,
    ...(settings.monthlyBudget && budgetShape(settings.monthlyBudget)),
    ...(settings.prices.length > 0 && { prices: settings.prices.map(priceShape), price_unit: settings.priceUnit })
  }
}

function s3Shape(s3: S3Settings): Record<string, unknown> {
  return {
    bucket: s3.bucket,
    ...(s3.endpoint !== undefined && { endpoint: s3.endpoint }),
    region: s3.region,
    ...(s3.prefix !== '' && { prefix: s3.prefix }),
    access_key_id: s3.accessKeyId,
    secret_access_key: s3.secretAccessKey,
    ...(s3.sessionToken !== undefined && { session_token: s3.sessionToken })
  }
}

function providerShape(provider: ProviderSettings): Record<string, unknown> {
  return {
    adapter: provider.adapter,
    ...(provider.baseUrl !== undefined && { base_url: provider.baseUrl }),
    ...(provider.apiKey !== '' && { api_key: provider.apiKey }),
    ...(provider.models.length > 0 && { models: provider.models }),
    ...(Object.keys(provider.headers).length > 0 && { headers: provider.headers }),
    max_connections: provider.maxConnections,
    ...(provider.timeoutMs !== undefined && { timeout_seconds: provider.timeoutMs / 1000 }),
    ...(provider.apiVersion !== undefined && { api_version: provider.apiVersion }),
    ...(provider.deployments !== undefined && { deployments: provider.deployments }),
    ...(provider.auth !== undefined && { auth: provider.auth }),
    ...(provider.retired !== undefined && { retired: provider.retired })
  }
}

function budgetShape({ limitMicros, unknownPriceMicros }: ConfiguredBudget): Record<string, unknown> {
  return {
    monthly_budget_usd: limitMicros / 1_000_000,
    ...(unknownPriceMicros !== undefined && { unknown_price_usd: unknownPriceMicros / 1_000_000 })
  }
}

function priceShape(rule: PriceRule): Record<string, unknown> {
  const { models, providers, qualities, sizes, perImageMicros, otherSizesFactorMicros } = rule
  const lists = Object.entries({ models, providers, qualities, sizes }).filter(([, list]) => list.length > 0)
  return {
    ...Object.fromEntries(lists),
    per_image: perImageMicros / 1_000_000,
    ...(otherSizesFactorMicros !== undefined && { other_sizes_factor: otherSizesFactorMicros / 1_000_000 })
  }
}

function annotate(node: unknown, path: string, origins: LoadedConfig['origins']): void {
  if (isMap<{ value: string }, Node>(node)) {
    for (const pair of node.items) annotate(pair.value, path === '' ? pair.key.value : `${path}.${pair.key.value}`, origins)
  } else if (isSeq(node)) {
    for (const [index, item] of node.items.entries()) annotate(item, `${path}[${index}]`, origins)
  } else if (isScalar(node)) {
    if (path === 'database_url') node.value = maskDatabaseUrl(String(node.value))
    else if (isSecret(path)) node.value = maskSecret(String(node.value))
    node.comment = ` ${origins.get(path) ?? 'default'}`
  }
}
