import { access, constants } from 'node:fs/promises'
import { validateHeaderName, validateHeaderValue } from 'node:http'
import { resolve } from 'node:path'
import type { Path } from '@bufbuild/protobuf/reflect'
import { type Config, ConfigSchema, type PriceRule, type ProviderConfig, ProviderConfigSchema } from '../../gen/atelier/v1/config_pb.ts'
import { violationsOf } from '../contract/validator.ts'
import { loadCatalog } from '../routing/catalog.ts'
import { createAddressRules } from '../upstream/address-rules.ts'
import { checkStorage } from './check-storage.ts'
import { addProblem, type Draft, type Report } from './draft.ts'
import { allowedWords, alternatives } from './schema-rules.ts'

/** Adds a problem for every rule of the schema that the draft breaks, and for what no schema can say. */
export async function checkConfig(draft: Draft, options: { directory: string }): Promise<void> {
  const report: Report = (path, problem) => {
    if (problem !== undefined) addProblem(draft, path, problem)
  }
  for (const violation of violationsOf(ConfigSchema, draft.config)) {
    report(pathText(violation.field), wordings[pathText(violation.field, true)] ?? violation.message)
  }
  report('listen', listenProblem(draft))
  report('public_url', urlProblem(draft.config.publicUrl))
  checkStorage(draft.config, report)
  for (const [name, provider] of Object.entries(draft.config.providers)) checkProvider(name, provider, report)
  for (const [name, target] of Object.entries(draft.config.aliases)) report(`aliases.${name}`, aliasProblem(name, target))
  for (const [index, entry] of (draft.config.egress?.allow ?? []).entries()) report(`egress.allow[${index}]`, egressProblem(entry))
  checkRequestCredentials(draft.config, report)
  for (const [index, rule] of draft.config.prices.entries()) checkPriceRule(`prices[${index}]`, rule, report)
  checkBudget(draft.config, report)
  await checkTlsFiles(draft, options.directory, report)
  report('catalog_files', catalogProblem(draft.config.catalogFiles.map((file) => resolve(options.directory, file))))
}

/** What to say of a field where the schema's rule is a pattern, which nobody wants to read. */
const wordings: Partial<Record<string, string>> = {
  listen: 'must be host:port, such as 127.0.0.1:8080 or [::1]:8080',
  public_url: 'must be an http or https URL without query and fragment',
  api_key: 'must be 16 to 512 visible ASCII characters',
  admin_key: 'must be 16 to 512 visible ASCII characters',
  master_key: 'must be 32 bytes in base64, 44 characters with the = at the end; `openssl rand -base64 32` makes one',
  previous_master_keys: 'must be at most 8 keys',
  'previous_master_keys[]': 'must be 32 bytes in base64, 44 characters with the = at the end, as master_key',
  data_dir: 'must not be empty',
  database_url: 'must begin with postgres:// and hold no blanks',
  's3.bucket': "must be a bucket's name: 3 to 63 lower-case letters, digits, - and .",
  's3.endpoint': 'must be an http or https URL without a path',
  's3.region': 'must be the name of a region, such as eu-central-1',
  's3.prefix': 'must be empty or end in /, and hold only letters, digits, -, _, . and single slashes',
  tasks: `must be ${alternatives(allowedWords(ConfigSchema.field.tasks))}`,
  default_model: 'must not be empty',
  log_level: `must be ${alternatives(allowedWords(ConfigSchema.field.logLevel))}`,
  'providers.*': 'the name must begin with a letter and hold only lower-case letters, digits, - and _, at most 63',
  'providers.*.adapter': `must be ${alternatives(allowedWords(ProviderConfigSchema.field.adapter))}`,
  'providers.*.base_url': 'must be an http or https URL without query and fragment',
  'providers.*.api_version': 'must be a version such as 2025-04-01-preview',
  'providers.*.deployments.*': "must be a deployment's name: letters, digits, -, _ and ., at most 64",
  'providers.*.auth': `must be ${alternatives(allowedWords(ProviderConfigSchema.field.auth))}`,
  'providers.*.retired': `must be ${alternatives(allowedWords(ProviderConfigSchema.field.retired))}`,
  'tls.certificate_file': 'must name a PEM file, as tls needs both files',
  'tls.key_file': 'must name a PEM file, as tls needs both files',
  monthly_budget_usd: 'must be a number above 0 and at most 1000000000',
  unknown_price_usd: 'must be a number from 0 to 1000000000',
  price_unit: 'must be 1 to 32 characters',
  'catalog_files[]': 'must not be empty',
  'prices[].models[]': 'must not be empty',
  'prices[].providers[]': 'must not be empty',
  'prices[].qualities[]': 'must be auto, standard, hd, low, medium, high, xhigh or max',
  'prices[].per_image': 'must be set, to a number from 0 to 1000000',
  'prices[].sizes[]': 'must be WIDTHxHEIGHT or auto',
  'prices[].other_sizes_factor': 'must be a number from 0 to 1000',
  custom_hosts: 'must be at most 64 origins',
  'custom_hosts[]': 'must be an origin such as https://llm.example.com, without a path',
  'cors.allow_origins[]': 'must be an origin such as https://app.example.com, or "*"'
}

function pathText(path: Path, general = false): string {
  return path.reduce((text, part) => {
    if (part.kind === 'map_sub') return `${text}.${general ? '*' : part.key}`
    if (part.kind === 'list_sub') return `${text}[${general ? '' : part.index}]`
    return part.kind === 'field' ? `${text}${text && '.'}${part.name}` : text
  }, '')
}

function listenProblem(draft: Draft): string | undefined {
  const port = Number(draft.config.listen?.replace(/^.*:/, '') ?? 0)
  return port <= 65535 ? undefined : 'the port must be from 0 to 65535'
}

function urlProblem(text: string): string | undefined {
  if (text === '') return undefined
  if (!URL.canParse(text)) return 'is not a valid URL'
  const { username, password } = new URL(text)
  return username || password ? 'must not hold a user name or password' : undefined
}

const adapters = allowedWords(ProviderConfigSchema.field.adapter)

function checkProvider(name: string, provider: ProviderConfig, report: Report): void {
  const path = `providers.${name}`
  const adapter = provider.adapter || name
  report(`${path}.adapter`, adapters.includes(adapter) ? undefined : `must be ${alternatives(adapters)}, as the provider is called ${name}`)
  if (adapter === 'sketch') {
    const unused = { base_url: provider.baseUrl !== '', api_key: provider.apiKey !== '', headers: Object.keys(provider.headers).length > 0 }
    for (const [key, isSet] of Object.entries(unused))
      report(`${path}.${key}`, isSet ? 'has no use with the adapter sketch, which calls nobody' : undefined)
  }
  if (adapter === 'azure') report(`${path}.base_url`, resourceProblem(provider.baseUrl))
  else {
    const unused = {
      api_version: provider.apiVersion !== '',
      deployments: Object.keys(provider.deployments).length > 0,
      auth: provider.auth !== ''
    }
    for (const [key, isSet] of Object.entries(unused))
      report(`${path}.${key}`, isSet ? `has no use with the adapter ${adapter}` : undefined)
  }
  report(`${path}.base_url`, urlProblem(provider.baseUrl))
  report(`${path}.api_key`, /^[\x21-\x7e]*$/.test(provider.apiKey) ? undefined : 'must be visible ASCII characters')
  for (const [index, model] of provider.models.entries()) report(`${path}.models[${index}]`, nameProblem(model))
  for (const model of Object.keys(provider.deployments)) report(`${path}.deployments.${model}`, nameProblem(model))
  for (const [header, value] of Object.entries(provider.headers)) report(`${path}.headers.${header}`, headerProblem(header, value))
}

function resourceProblem(baseUrl: string): string | undefined {
  if (baseUrl === '') return 'must be set, to the address of the Azure resource, such as https://my-resource.openai.azure.com'
  return /\/deployments(\/|$)/.test(baseUrl)
    ? 'must be the address of the resource alone: `deployments` names what is deployed there'
    : undefined
}

function nameProblem(name: string): string | undefined {
  return /^\S+$/.test(name) ? undefined : 'must be the name of a model, without spaces'
}

function aliasProblem(name: string, target: string): string | undefined {
  if (!/^\S+$/.test(name)) return 'the name on the left must not be empty or hold spaces'
  if (name === target) return 'must not lead to itself'
  return nameProblem(target)
}

function checkPriceRule(path: string, rule: PriceRule, report: Report): void {
  for (const [key, value] of Object.entries({ per_image: rule.perImage, other_sizes_factor: rule.otherSizesFactor })) {
    report(`${path}.${key}`, isInMillionths(value ?? 0) ? undefined : 'must have at most six decimals')
  }
  const idle = rule.otherSizesFactor !== undefined && rule.sizes.length === 0
  report(`${path}.other_sizes_factor`, idle ? 'has no use without sizes: the rule is for every size' : undefined)
}

function checkBudget(config: Config, report: Report): void {
  const { monthlyBudgetUsd, unknownPriceUsd, tasks } = config
  for (const [key, value] of Object.entries({ monthly_budget_usd: monthlyBudgetUsd, unknown_price_usd: unknownPriceUsd })) {
    report(key, isInMillionths(value ?? 0) ? undefined : 'must have at most six decimals')
  }
  const needsTasks = monthlyBudgetUsd !== undefined && tasks === 'off'
  report('monthly_budget_usd', needsTasks ? 'needs tasks: on, as what is recorded nowhere cannot be added up' : undefined)
  const isIdle = unknownPriceUsd !== undefined && monthlyBudgetUsd === undefined
  report('unknown_price_usd', isIdle ? 'has no use without monthly_budget_usd (ATELIER_MONTHLY_BUDGET_USD)' : undefined)
}

function isInMillionths(value: number): boolean {
  return Math.round(value * 1_000_000) / 1_000_000 === value
}

/** Headers that belong to the connection or that the adapter writes itself. */
const reserved = ['connection', 'content-length', 'content-type', 'host', 'keep-alive', 'te', 'transfer-encoding', 'upgrade']

function headerProblem(name: string, value: string): string | undefined {
  if (reserved.includes(name.toLowerCase())) return 'is set by the server itself'
  try {
    validateHeaderName(name)
    validateHeaderValue(name, value)
    return undefined
  } catch {
    return 'is not a valid header name and value'
  }
}

function egressProblem(entry: string): string | undefined {
  try {
    createAddressRules([entry])
    return undefined
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    return error.message.replace(/^.*?: /s, '')
  }
}

function checkRequestCredentials(config: Config, report: Report): void {
  const { allowRequestCredentials, allowProviderKeyOnly, customHosts } = config
  const needsIt = allowRequestCredentials ? undefined : 'needs allow_request_credentials: true'
  report('allow_provider_key_only', allowProviderKeyOnly ? needsIt : undefined)
  report('custom_hosts', customHosts.length > 0 ? needsIt : undefined)
  for (const [index, host] of customHosts.entries()) {
    report(`custom_hosts[${index}]`, URL.canParse(host) ? undefined : 'is not a valid URL')
  }
}

function catalogProblem(files: readonly string[]): string | undefined {
  if (files.length === 0) return undefined
  try {
    loadCatalog({ files })
    return undefined
  } catch (error) {
    // YAML's messages go on with an excerpt.
    return error instanceof Error ? error.message.split('\n', 1)[0]?.replace(/:$/, '') : String(error)
  }
}

async function checkTlsFiles(draft: Draft, directory: string, report: Report): Promise<void> {
  const { tls } = draft.config
  if (tls === undefined) return
  for (const [path, file] of [
    ['tls.certificate_file', tls.certificateFile],
    ['tls.key_file', tls.keyFile]
  ] as const) {
    const isReadable = await access(resolve(directory, file), constants.R_OK).then(
      () => true,
      () => false
    )
    report(path, isReadable ? undefined : 'there is no such file, or it may not be read')
  }
}
