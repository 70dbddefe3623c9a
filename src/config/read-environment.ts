import { create } from '@bufbuild/protobuf'
import { ConfigSchema, ProviderConfigSchema, S3ConfigSchema } from '../../gen/atelier/v1/config_pb.ts'
import { addProblem, type Draft } from './draft.ts'
import { nearest } from './nearest.ts'

/** Lays the environment over the draft. A variable that is set and empty counts as unset. */
export function readEnvironment(draft: Draft, environment: Readonly<Record<string, string | undefined>>): void {
  const read: Read = (variable) => environment[variable]?.trim() || undefined
  const port = read('PORT')
  // Laid over by ATELIER_LISTEN below.
  if (port !== undefined) {
    draft.config.listen = `0.0.0.0:${port}`
    draft.origins.set('listen', { label: 'PORT', written: port })
  }
  for (const [key, variable] of variables) {
    const value = read(variable)
    if (value === undefined) continue
    draft.config[key] = value
    draft.origins.set(ConfigSchema.field[key].name, { label: variable, written: value })
  }
  readAmounts(draft, read)
  readPreviousKeys(draft, read)
  readSwitches(draft, read)
  readCustomHosts(draft, read)
  readS3(draft, read)
  // Each goes before all others, so the last one is laid first.
  for (const vendor of vendors.toReversed()) readVendor(draft, vendor, read)
}

type Read = (variable: string) => string | undefined

/** Warnings about variables that look like a misspelling of ours. */
export function unknownVariables(environment: Readonly<Record<string, string | undefined>>): string[] {
  const all = [
    'ATELIER_CONFIG',
    'ATELIER_URL',
    previousKeysVariable,
    customHostsVariable,
    ...switches.map(([, variable]) => variable),
    ...amounts.map(([, variable]) => variable),
    ...variables.map(([, variable]) => variable),
    ...s3Own.map(([, variable]) => variable)
  ]
  const known = all.filter((variable) => variable.startsWith('ATELIER_'))
  return Object.keys(environment).flatMap((name) => {
    if (!name.startsWith('ATELIER_') || known.includes(name)) return []
    // Compared without the prefix: orchestrators set variables such as ATELIER_PORT for a service that is called atelier.
    const guess = nearest(
      name.slice(8),
      known.map((variable) => variable.slice(8))
    )
    return guess === undefined ? [] : [`${name}: unknown variable, without effect; did you mean ATELIER_${guess}?`]
  })
}

const variables = [
  ['listen', 'ATELIER_LISTEN'],
  ['publicUrl', 'ATELIER_PUBLIC_URL'],
  ['dataDir', 'ATELIER_DATA_DIR'],
  ['databaseUrl', 'DATABASE_URL'],
  ['apiKey', 'ATELIER_API_KEY'],
  ['adminKey', 'ATELIER_ADMIN_KEY'],
  ['masterKey', 'ATELIER_MASTER_KEY'],
  ['logLevel', 'ATELIER_LOG_LEVEL']
] as const

const switches = [
  ['allowRequestCredentials', 'ATELIER_ALLOW_REQUEST_CREDENTIALS'],
  ['allowProviderKeyOnly', 'ATELIER_ALLOW_PROVIDER_KEY_ONLY']
] as const

function readSwitches(draft: Draft, read: Read): void {
  for (const [key, variable] of switches) {
    const value = read(variable)
    if (value === undefined) continue
    const path = ConfigSchema.field[key].name
    draft.config[key] = value === 'true'
    draft.origins.set(path, { label: variable, written: value })
    if (!/^(true|false)$/.test(value)) addProblem(draft, path, 'must be true or false')
  }
}

const amounts = [
  ['monthlyBudgetUsd', 'ATELIER_MONTHLY_BUDGET_USD'],
  ['unknownPriceUsd', 'ATELIER_UNKNOWN_PRICE_USD']
] as const

function readAmounts(draft: Draft, read: Read): void {
  for (const [key, variable] of amounts) {
    const value = read(variable)
    if (value === undefined) continue
    const path = ConfigSchema.field[key].name
    const isNumber = /^\d+(\.\d+)?$/.test(value)
    draft.config[key] = isNumber ? Number(value) : undefined
    draft.origins.set(path, { label: variable, written: value })
    if (!isNumber) addProblem(draft, path, 'must be a number of USD, such as 50 or 12.50')
  }
}

const customHostsVariable = 'ATELIER_CUSTOM_HOSTS'

function readCustomHosts(draft: Draft, read: Read): void {
  const hosts = listIn(read(customHostsVariable))
  if (hosts === undefined) return
  draft.config.customHosts = hosts
  draft.origins.set('custom_hosts', { label: customHostsVariable })
  for (const [index, written] of hosts.entries()) draft.origins.set(`custom_hosts[${index}]`, { label: customHostsVariable, written })
}

const previousKeysVariable = 'ATELIER_PREVIOUS_MASTER_KEYS'

function readPreviousKeys(draft: Draft, read: Read): void {
  const keys = listIn(read(previousKeysVariable))
  if (keys === undefined) return
  draft.config.previousMasterKeys = keys
  for (const path of ['previous_master_keys', ...keys.map((_, index) => `previous_master_keys[${index}]`)]) {
    draft.origins.set(path, { label: previousKeysVariable })
  }
}

function listIn(text: string | undefined): string[] | undefined {
  return text
    ?.split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '')
}

/** These count more than the file, as they can mean nothing else. */
const s3Own = [
  ['bucket', 'ATELIER_S3_BUCKET'],
  ['endpoint', 'ATELIER_S3_ENDPOINT']
] as const

/** These fill in what the file leaves open: they may be there for other programs. */
const s3Shared = [
  ['region', 'AWS_REGION'],
  ['accessKeyId', 'AWS_ACCESS_KEY_ID'],
  ['secretAccessKey', 'AWS_SECRET_ACCESS_KEY']
] as const

type S3Field = (typeof s3Own | typeof s3Shared)[number][0] | 'sessionToken'

function readS3(draft: Draft, read: Read): void {
  const own = s3Own.flatMap(([field, variable]) => {
    const value = read(variable)
    return value === undefined ? [] : [{ field, value, variable }]
  })
  if (own[0] !== undefined && draft.config.s3 === undefined) {
    draft.config.s3 = create(S3ConfigSchema)
    draft.origins.set('s3', { label: own[0].variable })
  }
  const { s3 } = draft.config
  if (s3 === undefined) return
  const set = (field: S3Field, value: string, variable: string) => {
    s3[field] = value
    draft.origins.set(`s3.${S3ConfigSchema.field[field].name}`, { label: variable, written: value })
  }
  for (const { field, value, variable } of own) set(field, value, variable)
  // A token belongs to one access key, and must not be sent with another.
  const token = s3.accessKeyId === '' ? read('AWS_SESSION_TOKEN') : undefined
  for (const [field, variable] of s3Shared) {
    const value = read(variable)
    if (value !== undefined && !s3[field]) set(field, value, variable)
  }
  if (token !== undefined && s3.sessionToken === '') set('sessionToken', token, 'AWS_SESSION_TOKEN')
}

/** The providers that the environment alone can make, in the order in which they are asked. Each is called like its adapter. */
const vendors = [
  { name: 'openai', apiKey: 'OPENAI_API_KEY', baseUrl: 'OPENAI_BASE_URL' },
  { name: 'stability', apiKey: 'STABILITY_API_KEY', baseUrl: 'STABILITY_BASE_URL' },
  { name: 'google', apiKey: 'GEMINI_API_KEY', baseUrl: 'GEMINI_BASE_URL' },
  { name: 'azure', apiKey: 'AZURE_OPENAI_API_KEY', baseUrl: 'AZURE_OPENAI_ENDPOINT' }
] as const satisfies readonly { name: string; apiKey: string; baseUrl: string }[]

/** A vendor's provider exists as soon as one of its variables is set; what the file says of it counts more. */
function readVendor(draft: Draft, vendor: (typeof vendors)[number], read: Read): void {
  const set = (['apiKey', 'baseUrl'] as const).flatMap((field) => {
    const value = read(vendor[field])
    return value === undefined ? [] : [{ field, value, variable: vendor[field] }]
  })
  if (set[0] === undefined) return
  const path = `providers.${vendor.name}`
  const named = draft.config.providers[vendor.name]
  const provider = named ?? create(ProviderConfigSchema)
  if (named === undefined) {
    draft.config.providers = { [vendor.name]: provider, ...draft.config.providers }
    draft.origins.set(path, { label: set[0].variable })
  }
  for (const { field, value, variable } of set) {
    if (provider[field] !== '') continue
    provider[field] = value
    draft.origins.set(`${path}.${ProviderConfigSchema.field[field].name}`, { label: variable, written: value })
  }
}
