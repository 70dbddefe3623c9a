import type { CredentialUse, ProviderChoice } from '../call.ts'
import type { Logger } from '../log.ts'
import type { Database } from '../storage/database.ts'
import { createLastUses } from '../storage/last-uses.ts'
import type { LiveCopies } from '../storage/live-copies.ts'
import type { Sealer } from '../storage/seal.ts'
import { loadOrganizationCredentials, type OwnCredential } from './organization-credentials.ts'

/** A key to call a provider with. */
export interface ChosenCredential extends CredentialUse {
  /** The key; empty where the provider asks for none. Never logged. */
  secret: string
}

/** Decides whose keys requests are served with. All of it is in memory; changes of other processes arrive within about a second. */
export interface Credentials extends AsyncDisposable {
  /**
   * The keys to call a provider with, in the order in which they are tried while it refuses them. Empty where none may be used. What came
   * with the request, or is named by it, is the only one; else the organization's own come first, by their weights, and the platform's is
   * there only as far as the operator allows that.
   */
  choose(organizationId: string, provider: string, choice?: ProviderChoice): readonly ChosenCredential[]
  /** The key of an earlier call to a provider; undefined where it is not there any more. */
  find(use: CredentialUse, organizationId: string, provider: string, choice?: ProviderChoice): ChosenCredential | undefined
  /** Names of the providers for which `choose` finds a key, in configuration order. */
  callable(organizationId: string, choice?: ProviderChoice): readonly string[]
  /** The provider that an organization's own credential of this name is for; undefined where there is none. */
  providerOf(organizationId: string, name: string): string | undefined
  /** Names of the organization's own credentials, in order. */
  namesOf(organizationId: string): readonly string[]
  /** Notes that a provider is called with a key now. */
  recordUse(use: CredentialUse): void
  /** Unix milliseconds of the last use in this process that is not in the database yet; undefined where there is none. */
  unwrittenUse(id: string): number | undefined
}

/** The operator's own key for a provider. */
export interface PlatformCredential {
  /** Name of the provider in the configuration. */
  provider: string
  /** Empty where there is none. */
  apiKey: string
  /** Whether the provider cannot be called without a key. */
  asksForKey: boolean
}

export interface CredentialsOptions {
  /** Of every configured provider, in configuration order. */
  platform: readonly PlatformCredential[]
}

export interface CredentialsDeps {
  database: Database
  copies: Pick<LiveCopies, 'keep'>
  sealer: Pick<Sealer, 'open'>
  log: Logger
  /** From 0 to 1, without 1. Unset: Math.random. */
  random?: () => number
}

/** Loads and opens what is stored. Throws where the database does. Disposing it writes the last uses. */
export async function createCredentials({ platform }: CredentialsOptions, deps: CredentialsDeps): Promise<Credentials> {
  const { random = Math.random } = deps
  const known = await deps.copies.keep(() => loadOrganizationCredentials(deps))
  const lastUses = createLastUses('credentials', deps)
  const platformOf = new Map(platform.map((each) => [each.provider, toPlatformUse(each)]))
  const byPlatform = platform.map(({ provider }) => provider).filter((provider) => platformOf.get(provider) !== undefined)

  const ownOf = (organizationId: string): readonly OwnCredential[] => known().get(organizationId)?.own ?? []

  /** What a request asks for by itself; undefined where it leaves the choice. */
  function chosenBy(choice: ProviderChoice | undefined, organizationId: string, provider: string): readonly ChosenCredential[] | undefined {
    if (choice === undefined) return undefined
    const { provider: chosen, credential, credentialName, customHost } = choice
    if (chosen !== undefined && chosen !== provider) return []
    // Whoever names the destination brings the key: no stored one is ever sent to a host that a caller chose.
    if (credential !== undefined) return chosen === provider ? [{ kind: 'request', id: '', secret: credential }] : []
    if (customHost !== undefined) return []
    if (credentialName === undefined) return undefined
    return ownOf(organizationId)
      .filter((own) => own.name === credentialName && own.provider === provider)
      .flatMap(toUse)
  }

  function choose(organizationId: string, provider: string, choice?: ProviderChoice): readonly ChosenCredential[] {
    const chosen = chosenBy(choice, organizationId, provider)
    if (chosen) return chosen
    const platformUse = platformOf.get(provider)
    const organization = known().get(organizationId)
    if (!organization) return platformUse ? [platformUse] : []
    const own = organization.own.filter((each) => each.provider === provider && each.weight > 0)
    const mayUsePlatform =
      own.length === 0 ? organization.platform !== 'never' || platformUse?.kind === 'none' : organization.platform === 'also_when_refused'
    return [...inWeightedOrder(own, random).flatMap(toUse), ...(mayUsePlatform && platformUse ? [platformUse] : [])]
  }

  return {
    choose,
    find(use, organizationId, provider, choice) {
      if (use.kind !== 'organization') {
        const found = use.kind === 'request' ? chosenBy(choice, organizationId, provider)?.[0] : platformOf.get(provider)
        return found?.kind === use.kind ? found : undefined
      }
      const own = ownOf(organizationId).find(({ id }) => id === use.id)
      return own?.provider === provider ? toUse(own)[0] : undefined
    },
    callable(organizationId, choice) {
      if (choice === undefined && !known().has(organizationId)) return byPlatform
      return platform.map(({ provider }) => provider).filter((provider) => choose(organizationId, provider, choice).length > 0)
    },
    providerOf: (organizationId, name) => ownOf(organizationId).find((own) => own.name === name)?.provider,
    namesOf: (organizationId) => ownOf(organizationId).map(({ name }) => name),
    recordUse({ kind, id }) {
      if (kind === 'organization') lastUses.record(id)
    },
    unwrittenUse: lastUses.unwritten,
    [Symbol.asyncDispose]: () => lastUses[Symbol.asyncDispose]()
  }
}

function toPlatformUse({ apiKey, asksForKey }: PlatformCredential): ChosenCredential | undefined {
  if (apiKey !== '') return { kind: 'platform', id: '', secret: apiKey }
  return asksForKey ? undefined : { kind: 'none', id: '', secret: '' }
}

function toUse({ id, secret }: OwnCredential): ChosenCredential[] {
  return secret === undefined ? [] : [{ kind: 'organization', id, secret }]
}

/** Each comes first as often as its weight says, and so on for the rest (Efraimidis and Spirakis). */
function inWeightedOrder(credentials: readonly OwnCredential[], random: () => number): readonly OwnCredential[] {
  if (credentials.length < 2) return credentials
  const drawn = credentials.map((credential) => ({ credential, time: -Math.log(1 - random()) / credential.weight }))
  return drawn.sort((one, other) => one.time - other.time).map(({ credential }) => credential)
}
