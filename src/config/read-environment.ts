import { create } from '@bufbuild/protobuf'
import { ConfigSchema, ProviderConfigSchema } from '../../gen/atelier/v1/config_pb.ts'
import type { Draft } from './draft.ts'
import { nearest } from './nearest.ts'

/** Lays the environment over the draft. A variable that is set and empty counts as unset. */
export function readEnvironment(draft: Draft, environment: Readonly<Record<string, string | undefined>>): void {
  const read = (variable: string) => environment[variable]?.trim() || undefined
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
  // Each goes before all others, so the last one is laid first.
  for (const vendor of vendors.toReversed()) readVendor(draft, vendor, read)
}

/** Warnings about variables that look like a misspelling of ours. */
export function unknownVariables(environment: Readonly<Record<string, string | undefined>>): string[] {
  const known = ['ATELIER_CONFIG', 'ATELIER_URL', ...variables.map(([, variable]) => variable)]
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
  ['apiKey', 'ATELIER_API_KEY'],
  ['adminKey', 'ATELIER_ADMIN_KEY'],
  ['masterKey', 'ATELIER_MASTER_KEY'],
  ['logLevel', 'ATELIER_LOG_LEVEL']
] as const

/** The providers that the environment alone can make, in the order in which they are asked. Each is called like its adapter. */
const vendors = [
  { name: 'openai', apiKey: 'OPENAI_API_KEY', baseUrl: 'OPENAI_BASE_URL' },
  { name: 'stability', apiKey: 'STABILITY_API_KEY', baseUrl: 'STABILITY_BASE_URL' },
  { name: 'google', apiKey: 'GEMINI_API_KEY', baseUrl: 'GEMINI_BASE_URL' },
  { name: 'azure', apiKey: 'AZURE_OPENAI_API_KEY', baseUrl: 'AZURE_OPENAI_ENDPOINT' }
] as const satisfies readonly { name: string; apiKey: string; baseUrl: string }[]

/** A vendor's provider exists as soon as one of its variables is set; what the file says of it counts more. */
function readVendor(draft: Draft, vendor: (typeof vendors)[number], read: (variable: string) => string | undefined): void {
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
