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
  readOpenAI(draft, read('OPENAI_API_KEY'), read('OPENAI_BASE_URL'))
}

/** Warnings about variables that look like a misspelling of ours. */
export function unknownVariables(environment: Readonly<Record<string, string | undefined>>): string[] {
  const known = ['ATELIER_CONFIG', ...variables.map(([, variable]) => variable)]
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

/** The provider `openai` exists as soon as one of its variables is set; what the file says of it counts more. */
function readOpenAI(draft: Draft, apiKey: string | undefined, baseUrl: string | undefined): void {
  if (apiKey === undefined && baseUrl === undefined) return
  const named = draft.config.providers.openai
  const openai = named ?? create(ProviderConfigSchema)
  if (named === undefined) {
    draft.config.providers = { openai, ...draft.config.providers }
    draft.origins.set('providers.openai', { label: apiKey === undefined ? 'OPENAI_BASE_URL' : 'OPENAI_API_KEY' })
  }
  if (apiKey !== undefined && openai.apiKey === '') {
    openai.apiKey = apiKey
    draft.origins.set('providers.openai.api_key', { label: 'OPENAI_API_KEY', written: apiKey })
  }
  if (baseUrl !== undefined && openai.baseUrl === '') {
    openai.baseUrl = baseUrl
    draft.origins.set('providers.openai.base_url', { label: 'OPENAI_BASE_URL', written: baseUrl })
  }
}
