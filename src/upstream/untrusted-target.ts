import { isIP } from 'node:net'
import { type AddressRules, isPublicAddress } from './address-rules.ts'
import { UntrustedUrlError } from './untrusted-url-error.ts'

const maxUrlLength = 8192

/** Reads an http or https URL without credentials. Throws an UntrustedUrlError of the kind `refused` for anything else. */
export function parseTarget(text: string, base?: URL): URL {
  const url = text.length <= maxUrlLength && URL.canParse(text, base) ? new URL(text, base) : undefined
  if (url === undefined || url.host.length > 260) throw new UntrustedUrlError('refused', 'the url is not valid')
  if (url.protocol !== 'https:' && url.protocol !== 'http:')
    throw new UntrustedUrlError('refused', `the url is not http or https but ${url.protocol.slice(0, 20)}`)
  if (url.username !== '' || url.password !== '') throw new UntrustedUrlError('refused', `the url to ${url.host} holds credentials`)
  return url
}

/**
 * Reads a URL that something may be posted to as far as that can be said without resolving its host: https on 443 to a public address, or
 * what an entry of the rules covers. Throws an UntrustedUrlError of the kind `refused` for anything else.
 */
export function parsePostTarget(text: string, rules: AddressRules): URL {
  const url = parseTarget(text)
  const host = bareHost(url)
  const port = portOf(url)
  if (isIP(host) === 0 ? rules.mayAllow(host, port) : rules.allowsAddress(host, port)) return url
  if (url.protocol !== 'https:') throw new UntrustedUrlError('refused', `the url to ${url.host} is not https`)
  if (url.port !== '') throw portRefused(url)
  if (isIP(host) !== 0 && !isPublicAddress(host)) throw new UntrustedUrlError('refused', notPublic(url))
  return url
}

/** What the rules leave open: a `trusted` target may be private and on any port; `isPost` wants https of every public one. */
export interface TargetUse {
  trusted?: boolean
  isPost?: boolean
}

/** The addresses that may be connected to: those of the host, if all of them may be reached. */
export async function checkedAddresses(
  url: URL,
  { trusted = false, isPost = false }: TargetUse,
  rules: AddressRules,
  resolve: (host: string) => Promise<readonly string[]>
): Promise<readonly string[]> {
  const host = bareHost(url)
  const port = portOf(url)
  if (url.port !== '' && !trusted && !rules.namesPort(port)) throw portRefused(url)
  // One sentence for what does not resolve and what resolves to the inside, so that it does not tell which internal names exist.
  const message = notPublic(url)
  const unresolved = (error: unknown) => {
    throw new UntrustedUrlError('failed', message, error)
  }
  const addresses = isIP(host) === 0 ? await resolve(host).catch(unresolved) : [host]
  if (addresses.length === 0) throw new UntrustedUrlError('failed', message)
  const isOpenToPublic = url.port === '' && (url.protocol === 'https:' || !isPost)
  const mayBeReached = (address: string) => (isOpenToPublic && isPublicAddress(address)) || rules.allowsAddress(address, port)
  if (trusted || rules.allowsHost(host, port) || addresses.every(mayBeReached)) return addresses
  throw new UntrustedUrlError('refused', message)
}

/** The host without the brackets of IPv6 and without the dot that ends an absolute name. */
function bareHost(url: URL): string {
  return url.hostname.replace(/^\[|\]$|\.$/g, '')
}

function portOf(url: URL): number {
  return Number(url.port) || (url.protocol === 'https:' ? 443 : 80)
}

function portRefused(url: URL): UntrustedUrlError {
  return new UntrustedUrlError('refused', `the port of ${url.host} is not allowed`)
}

function notPublic(url: URL): string {
  return `${url.host} is not a public host`
}
