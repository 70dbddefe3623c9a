import { resolve } from 'node:path'
import type { Config, PriceRule as PriceRuleConfig, ProviderConfig, S3Config } from '../../gen/atelier/v1/config_pb.ts'
import type { ProviderSettings, S3Settings, Settings } from '../config.ts'
import type { ConfiguredBudget } from '../ledger/configured-budget.ts'
import type { PriceRule } from '../ledger/price-list.ts'
import type { RetiredPolicy } from '../routing/retired.ts'

/** Applies the documented defaults to a configuration that has been checked. */
export function makeSettings(config: Config, options: { directory: string }): Settings {
  const inDirectory = (path: string) => resolve(options.directory, path)
  return {
    listen: parseListen(config.listen ?? '127.0.0.1:8080'),
    ...(config.publicUrl && { publicUrl: withoutSlash(config.publicUrl) }),
    dataDir: inDirectory(config.dataDir ?? 'data'),
    ...(config.databaseUrl && { databaseUrl: config.databaseUrl }),
    ...(config.s3 && { s3: makeS3(config.s3) }),
    tasks: config.tasks === 'off' ? 'off' : 'on',
    defaultModel: config.defaultModel ?? 'dall-e-3',
    ...(config.apiKey && { apiKey: config.apiKey }),
    ...(config.adminKey && { adminKey: config.adminKey }),
    ...(config.masterKey && { masterKey: config.masterKey }),
    previousMasterKeys: [...config.previousMasterKeys],
    logLevel: config.logLevel ?? 'info',
    providers: makeProviders(config.providers),
    aliases: withoutPrototype(config.aliases),
    catalogFiles: config.catalogFiles.map(inDirectory),
    egressAllow: [...(config.egress?.allow ?? [])],
    allowRequestCredentials: config.allowRequestCredentials,
    allowProviderKeyOnly: config.allowProviderKeyOnly,
    customHosts: [...new Set(config.customHosts.map((host) => new URL(host).origin))],
    ...(config.tls && { tls: { certificateFile: inDirectory(config.tls.certificateFile), keyFile: inDirectory(config.tls.keyFile) } }),
    corsOrigins: [...(config.cors?.allowOrigins ?? [])],
    maxInFlight: config.limits?.maxInFlight ?? 2048,
    maxBodyBytes: config.limits?.maxBodyBytes ?? 1_048_576,
    maxConnections: config.limits?.maxConnections ?? 10_000,
    drainMs: (config.limits?.drainSeconds ?? 30) * 1000,
    maxRunningTasks: config.limits?.maxRunningTasks ?? 64,
    maxQueuedTasks: config.limits?.maxQueuedTasks ?? 100_000,
    keepResultsSeconds: config.keepResultsForSeconds ?? 600,
    keepTasksSeconds: config.keepTasksForSeconds ?? 604_800,
    linkLifetimeSeconds: config.linkLifetimeSeconds ?? 3600,
    ...(config.monthlyBudgetUsd !== undefined && { monthlyBudget: makeBudget(config.monthlyBudgetUsd, config.unknownPriceUsd) }),
    prices: config.prices.map(makePriceRule),
    priceUnit: config.priceUnit ?? 'USD'
  }
}

function parseListen(listen: string): Settings['listen'] {
  const colon = listen.lastIndexOf(':')
  return { host: listen.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(listen.slice(colon + 1)) }
}

function makeS3(config: S3Config): S3Settings {
  const { bucket, prefix, accessKeyId, secretAccessKey } = config
  return {
    bucket,
    ...(config.endpoint && { endpoint: withoutSlash(config.endpoint) }),
    region: config.region ?? 'us-east-1',
    prefix,
    accessKeyId,
    secretAccessKey,
    ...(config.sessionToken && { sessionToken: config.sessionToken })
  }
}

function makeProviders(configured: Config['providers']): ProviderSettings[] {
  const enabled = Object.entries(configured).filter(([, provider]) => !provider.disabled)
  const providers = enabled.map(([name, provider]) => makeProvider(name, provider))
  return 'sketch' in configured ? providers : [...providers, makeProvider('sketch')]
}

function makeProvider(name: string, config?: ProviderConfig): ProviderSettings {
  return {
    name,
    adapter: config?.adapter || name,
    ...(config?.baseUrl && { baseUrl: withoutSlash(config.baseUrl) }),
    apiKey: config?.apiKey ?? '',
    models: [...(config?.models ?? [])],
    headers: withoutPrototype(config?.headers ?? {}),
    maxConnections: config?.maxConnections ?? 256,
    ...(config?.timeoutSeconds !== undefined && { timeoutMs: config.timeoutSeconds * 1000 }),
    ...(config?.apiVersion && { apiVersion: config.apiVersion }),
    ...(config && Object.keys(config.deployments).length > 0 && { deployments: withoutPrototype(config.deployments) }),
    ...(config?.auth && { auth: config.auth === 'bearer' ? 'bearer' : 'api_key' }),
    ...(config?.retired && { retired: retiredPolicies[config.retired] ?? 'forward' })
  }
}

function makeBudget(limitUsd: number, unknownPriceUsd: number | undefined): ConfiguredBudget {
  const limitMicros = millionths(limitUsd)
  return { limitMicros, ...(unknownPriceUsd !== undefined && { unknownPriceMicros: millionths(unknownPriceUsd) }) }
}

function makePriceRule(rule: PriceRuleConfig): PriceRule {
  const { models, providers, qualities, perImage = 0, sizes, otherSizesFactor } = rule
  return {
    models: [...models],
    providers: [...providers],
    qualities: [...qualities],
    perImageMicros: millionths(perImage),
    sizes: [...sizes],
    ...(otherSizesFactor !== undefined && { otherSizesFactorMicros: millionths(otherSizesFactor) })
  }
}

function millionths(value: number): number {
  return Math.round(value * 1_000_000)
}

const retiredPolicies: Readonly<Record<string, RetiredPolicy>> = { replace: 'replace', forward: 'forward', refuse: 'refuse' }

function withoutSlash(url: string): string {
  return url.replace(/\/+$/, '')
}

function withoutPrototype(entries: Record<string, string>): Record<string, string> {
  return Object.assign(Object.create(null), entries)
}
