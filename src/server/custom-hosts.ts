import { isIP } from 'node:net'
import type { ProviderSettings } from '../config.ts'
import { gatewayError } from '../errors.ts'
import type { Provider } from '../providers/provider.ts'
import { createAddressRules } from '../upstream/address-rules.ts'
import { createUpstreamClient, type UpstreamClient } from '../upstream/client.ts'
import { createGuardedLookup } from '../upstream/guarded-lookup.ts'
import { type AdapterOptions, adapters } from './adapters.ts'

export interface CustomHosts extends AsyncDisposable {
  /** What calls a configured provider at base URLs of the listed origins; undefined for one that calls nobody. Elsewhere INVALID_PARAMETER is thrown. */
  of(provider: ProviderSettings): ((baseUrl: string) => Provider) | undefined
}

export interface CustomHostsOptions {
  /** As the operator lists them. */
  origins: readonly string[]
  /** As `egress.allow`: addresses to which the names of these hosts may lead although they are not public. */
  allow: readonly string[]
}

/**
 * Adapters for hosts that callers name. Of what is configured for a provider they send no header, as those may be the operator's secrets. The
 * connections of each provider to each origin are pooled as its own are.
 */
export function createCustomHosts(options: CustomHostsOptions): CustomHosts {
  const origins = new Set(options.origins)
  const rules = createAddressRules(options.allow)
  const clients = new Map<string, UpstreamClient>()
  const parts = new AsyncDisposableStack()

  function clientOf({ name, maxConnections }: ProviderSettings, { origin, protocol, port }: URL): UpstreamClient {
    const key = `${name} ${origin}`
    const known = clients.get(key)
    if (known) return known
    const lookup = createGuardedLookup({ port: Number(port) || (protocol === 'https:' ? 443 : 80), rules })
    const client = parts.use(createUpstreamClient({ provider: name, baseUrl: origin, maxConnections, lookup }))
    clients.set(key, client)
    return client
  }

  return {
    of(provider) {
      const create = adapters[provider.adapter]
      if (!create) return undefined
      const { name, apiVersion, auth } = provider
      return (baseUrl) => {
        const url = new URL(baseUrl)
        // A task may have been accepted before the operator changed the list.
        if (!origins.has(url.origin)) throw notListed()
        const client = below(url.pathname.replace(/\/+$/, ''), clientOf(provider, url))
        const adapterOptions: AdapterOptions = { name, baseUrl, headers: {}, ...(apiVersion && { apiVersion }), ...(auth && { auth }) }
        // Only an address that the operator wrote down may be private: a name may lead anywhere tomorrow.
        const trustedOrigins = isIP(url.hostname.replace(/^\[|\]$/g, '')) === 0 ? [] : [url.origin]
        return { ...create(adapterOptions, { client }), trustedOrigins }
      }
    },
    [Symbol.asyncDispose]: () => parts.disposeAsync()
  }
}

function notListed(): Error {
  const problem = 'is not among the hosts that the operator allows'
  return gatewayError('INVALID_PARAMETER', { param: 'x-portkey-custom-host', problem }, { outcome: 'not_sent' })
}

function below(basePath: string, client: UpstreamClient): UpstreamClient {
  return { ...client, send: (request) => client.send({ ...request, path: basePath + request.path }) }
}
