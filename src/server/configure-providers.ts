import type { Catalog } from '../../gen/atelier/v1/catalog_pb.ts'
import type { ProviderSettings, Settings } from '../config.ts'
import type { Provider } from '../providers/provider.ts'
import { createSketchProvider } from '../providers/sketch.ts'
import type { ConfiguredProvider } from '../routing/attempt.ts'
import { createUpstreamClient } from '../upstream/client.ts'
import { adapters } from './adapters.ts'
import type { CustomHosts } from './custom-hosts.ts'

export interface ConfigureProvidersDeps {
  catalog: readonly Catalog[]
  customHosts: Pick<CustomHosts, 'of'>
}

/** The providers of the settings by their names, in their order. `parts` owns their connections. */
export function configureProviders(
  { providers }: Pick<Settings, 'providers'>,
  deps: ConfigureProvidersDeps,
  parts: AsyncDisposableStack
): Map<string, ConfiguredProvider> {
  return new Map(providers.map((provider) => [provider.name, configure(provider, deps, parts)]))
}

function configure(provider: ProviderSettings, deps: ConfigureProvidersDeps, parts: AsyncDisposableStack): ConfiguredProvider {
  const { name, timeoutMs } = provider
  const backend = provider.adapter === 'sketch' ? createSketchProvider({ name }) : createRemoteProvider(provider, deps.catalog, parts)
  const backendAt = deps.customHosts.of(provider)
  return { backend, ...(backendAt && { backendAt }), ...(timeoutMs === undefined ? {} : { timeoutMs }) }
}

/** A provider at its configured address, else at its vendor's own, which the catalog knows. */
function createRemoteProvider(provider: ProviderSettings, catalog: readonly Catalog[], parts: AsyncDisposableStack): Provider {
  const { name, adapter, headers, maxConnections, apiVersion, auth } = provider
  const create = adapters[adapter]
  const baseUrl = provider.baseUrl ?? catalog.find(({ vendor }) => vendor === adapter)?.baseUrl
  if (!create || !baseUrl) throw new Error(`the provider ${name} has no ${create ? 'address' : `adapter ${adapter}`}`)
  const client = parts.use(createUpstreamClient({ provider: name, baseUrl, maxConnections }))
  return create({ name, baseUrl, headers, ...(apiVersion && { apiVersion }), ...(auth && { auth }) }, { client })
}
