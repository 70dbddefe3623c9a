import type { Catalog } from '../../gen/atelier/v1/catalog_pb.ts'
import type { Caller } from '../call.ts'
import { type GatewayError, gatewayError } from '../errors.ts'
import type { Credentials } from './credentials.ts'
import { fitsPattern } from './name-pattern.ts'

/** What callers may call providers, and the credentials that are stored for them. */
export interface ProviderNames {
  /** The configured provider that a name means: its own, or one that the vendor of that name also goes by. Undefined where there is none. */
  findProvider(name: string): string | undefined
  /** The provider that a credential of the caller's organization is for; undefined where there is no credential of that name. */
  providerOfCredential(name: string, caller: Caller): string | undefined
  /** The error for a name that means neither, or not what it has to mean. It names what there is for the caller. */
  unknown(kind: 'provider' | 'credential' | 'provider or credential', name: string, caller: Caller): GatewayError
}

export interface ProviderNamesDeps {
  catalog: readonly Catalog[]
  credentials: Pick<Credentials, 'providerOf' | 'namesOf'>
}

export function createProviderNames(providers: readonly string[], deps: ProviderNamesDeps): ProviderNames {
  const { catalog, credentials } = deps
  const configured = new Set(providers)
  const further = new Map(catalog.flatMap(({ vendor, vendorAliases }) => vendorAliases.map((alias) => [alias, vendor] as const)))
  // Never another provider with the same wire format: a key that is meant for a vendor must not reach somebody else.
  const findProvider = (name: string) =>
    [name, further.get(name), portkeyNames[name]].find((each) => each !== undefined && configured.has(each))

  return {
    findProvider,
    providerOfCredential: (name, { organizationId }) => credentials.providerOf(organizationId, name),
    unknown(kind, name, { organizationId, allowedProviders }) {
      const mayUse = (provider: string) => allowedProviders?.some((pattern) => fitsPattern(provider, pattern)) ?? true
      const ofOwn = credentials
        .namesOf(organizationId)
        .map((each) => ({ name: `@${each}`, provider: credentials.providerOf(organizationId, each) }))
      const own =
        kind === 'provider' ? [] : ofOwn.filter(({ provider }) => provider !== undefined && mayUse(provider)).map((each) => each.name)
      const names = kind === 'credential' ? own : [...providers.filter(mayUse), ...own]
      const known =
        names.length === 0 ? 'there is none' : `there ${names.length === 1 ? 'is' : 'are'} ${names.slice(0, maxNames).join(', ')}`
      const written = { kind, name: name.slice(0, 64), known: names.length > maxNames ? `${known} and others` : known }
      return gatewayError('PROVIDER_NOT_FOUND', written, { outcome: 'not_sent' })
    }
  }
}

const maxNames = 30

/** Portkey's names for vendors where they are not ours. */
const portkeyNames: Partial<Record<string, string>> = { 'azure-openai': 'azure' }
