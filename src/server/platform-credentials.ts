import type { Catalog } from '../../gen/atelier/v1/catalog_pb.ts'
import type { Settings } from '../config.ts'
import type { PlatformCredential } from '../routing/credentials.ts'
import { asksForKey } from '../routing/served-models.ts'

/** What the operator calls each provider with. */
export function platformCredentials({ providers }: Settings, catalog: readonly Catalog[]): PlatformCredential[] {
  return providers.map((provider) => ({ provider: provider.name, apiKey: provider.apiKey, asksForKey: asksForKey(provider, catalog) }))
}

/** Providers that check the key that they are called with. */
export function withOwnKeys(settings: Settings, catalog: readonly Catalog[]): string[] {
  const credentials = platformCredentials(settings, catalog)
  return credentials.filter(({ apiKey, asksForKey }) => apiKey !== '' || asksForKey).map(({ provider }) => provider)
}
