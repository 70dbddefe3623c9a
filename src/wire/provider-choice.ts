import type { Caller, ProviderChoice } from '../call.ts'
import { gatewayError } from '../errors.ts'
import type { ProviderNames } from '../routing/provider-names.ts'
import type { PortkeyHeaders } from './portkey-headers.ts'

/** Who asks, and what the request brings. */
export interface Chooser {
  caller: Caller
  /** As it was sent; unset where the request brings none. */
  providerKey?: string
}

export interface ProviderChoices {
  /**
   * What a request's headers say about the provider that serves it and the key for that; undefined where they say nothing. Throws
   * PROVIDER_NOT_FOUND; INVALID_PARAMETER for what contradicts itself and for a host that the operator has not listed; and PERMISSION_DENIED
   * for a key where the operator takes none. A request that `callsProvider` is false of sends nothing to anybody, and its key is left alone.
   */
  ofHeaders(asked: PortkeyHeaders, chooser: Chooser, callsProvider: boolean): ProviderChoice | undefined
}

export interface ProviderChoicesOptions {
  /** Whether callers may bring a provider's key with their requests. */
  allowRequestCredentials: boolean
  /** Origins at which a caller may have a provider called, with a key of its own. */
  customHosts: readonly string[]
}

export function createProviderChoices(options: ProviderChoicesOptions, names: ProviderNames): ProviderChoices {
  const hosts = new Set(options.customHosts)

  /** Which provider is asked for, or whose stored credential; "@" stands before the name of the latter. */
  function chosen({ provider: written, virtualKey }: PortkeyHeaders, caller: Caller): ProviderChoice | undefined {
    const named = written === undefined ? undefined : providerNamed(written, caller)
    if (virtualKey === undefined) return named
    const provider = names.providerOfCredential(virtualKey, caller)
    if (provider === undefined) throw names.unknown('credential', virtualKey, caller)
    if (named && (named.provider !== provider || (named.credentialName ?? virtualKey) !== virtualKey)) {
      throw refused(virtualKeyHeader, `names a credential for ${provider}, and ${providerHeader} another`)
    }
    return { provider, credentialName: virtualKey }
  }

  function providerNamed(written: string, caller: Caller): ProviderChoice {
    const name = written.replace(/^@/, '')
    const isSlug = written !== name
    const ofCredential = isSlug ? names.providerOfCredential(name, caller) : undefined
    if (ofCredential !== undefined) return { provider: ofCredential, credentialName: name }
    const provider = names.findProvider(name)
    if (provider === undefined) throw names.unknown(isSlug ? 'provider or credential' : 'provider', name, caller)
    return { provider }
  }

  /** Only what the operator has listed, and only with the caller's own key: whoever names the destination brings the credential. */
  function checkedHost(text: string): string {
    const url = URL.canParse(text) ? new URL(text) : undefined
    const isPlain = url && /^https?:$/.test(url.protocol) && !url.username && !url.password && !/[?#]/.test(text)
    if (!isPlain) throw refused(hostHeader, 'must be an http or https URL without user name, query and fragment')
    if (!hosts.has(url.origin)) throw refused(hostHeader, 'is not among the hosts that the operator allows')
    return `${url.origin}${url.pathname.replace(/\/+$/, '')}`
  }

  return {
    ofHeaders(asked, { caller, providerKey }, callsProvider) {
      const choice = chosen(asked, caller)
      const { customHost } = asked
      if (customHost !== undefined && providerKey === undefined) {
        throw refused(hostHeader, 'needs a key for the provider that the request brings itself')
      }
      if (providerKey === undefined) return choice
      if (!options.allowRequestCredentials) {
        // Without a provider's name it may be meant for anybody, such as a proxy in front of this server.
        if (!callsProvider || (asked.provider === undefined && customHost === undefined)) return choice
        throw gatewayError(
          'PERMISSION_DENIED',
          { action: "bring a provider's key with a request: the operator has not set `allow_request_credentials`" },
          { outcome: 'not_sent' }
        )
      }
      if (!callsProvider && asked.provider === undefined) return choice
      if (choice?.provider === undefined || asked.provider === undefined)
        throw refused(providerHeader, 'must name the provider whose key the request brings')
      if (choice.credentialName !== undefined) {
        throw refused(providerHeader, `names the stored credential ${choice.credentialName}, and the request brings a key of its own`)
      }
      if (!/^[!-~]{1,4096}$/.test(providerKey)) throw refused(keyHeader, 'must be a key of at most 4096 visible ASCII characters')
      return { ...choice, credential: providerKey, ...(customHost !== undefined && { customHost: checkedHost(customHost) }) }
    }
  }
}

const providerHeader = 'x-portkey-provider'
const virtualKeyHeader = 'x-portkey-virtual-key'
const hostHeader = 'x-portkey-custom-host'
const keyHeader = 'x-portkey-api-key'

function refused(param: string, problem: string): Error {
  return gatewayError('INVALID_PARAMETER', { param, problem }, { outcome: 'not_sent' })
}
