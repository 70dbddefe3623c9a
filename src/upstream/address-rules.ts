import { isIP, isIPv4 } from 'node:net'
import ipaddr from 'ipaddr.js'

/** Which targets a URL that somebody else wrote may reach besides public addresses on 443 and 80. */
export interface AddressRules {
  /** Whether any entry names this port. */
  namesPort(port: number): boolean
  /** Whether an entry names this host on this port; it may then resolve to any address. */
  allowsHost(host: string, port: number): boolean
  /** Whether an entry may cover this host name on this port: it names the host, or addresses to which the name may resolve. */
  mayAllow(host: string, port: number): boolean
  /** Whether an entry covers this address on this port. */
  allowsAddress(address: string, port: number): boolean
}

/**
 * Reads entries like `10.1.2.3:8080`, `10.1.2.0/24:443`, `[fd00::1]:443`, `[fd00::/8]:443` and `host.example:8443`. Throws a
 * RangeError that names the entry and what is wrong with it.
 */
export function createAddressRules(entries: readonly string[]): AddressRules {
  const rules = entries.map(parseEntry)
  return {
    namesPort: (port) => rules.some((rule) => rule.port === port),
    allowsHost: (host, port) => rules.some((rule) => rule.port === port && rule.host === host),
    mayAllow: (host, port) => rules.some((rule) => rule.port === port && (rule.host ?? host) === host),
    allowsAddress: (address, port) => {
      if (isIP(address) === 0) return false
      const parsed = ipaddr.parse(address)
      return rules.some((rule) => rule.port === port && rule.network?.kind() === parsed.kind() && parsed.match(rule.network, rule.bits))
    }
  }
}

/**
 * Whether an address is global unicast and nobody's inside: not private, local, shared, reserved, for documentation, multicast, and not an
 * IPv6 address that a gateway may translate to an IPv4 address. Takes what `node:net` takes as an address; anything else is not public.
 */
export function isPublicAddress(address: string): boolean {
  if (isIP(address) === 0) return false
  const parsed = ipaddr.parse(address)
  if (parsed.range() !== 'unicast') return false
  return parsed instanceof ipaddr.IPv4
    ? !within(parsed, deniedIPv4)
    : within(parsed, globalIPv6) && !within(parsed, deniedIPv6) && !isIsatap(parsed)
}

type Network = readonly [ipaddr.IPv4 | ipaddr.IPv6, number]

/** Azure's metadata and DNS address looks public; ipaddr.js knows the other special IPv4 networks. */
const deniedIPv4: readonly Network[] = [ipaddr.parseCIDR('168.63.129.16/32')]

/**
 * IANA has given out nothing but 2000::/3 as global unicast. The rest holds ::/96 (IPv4-compatible), 64:ff9b::/96 and 64:ff9b:1::/48
 * (NAT64), 5f00::/16, fc00::/7, fe80::/10, fec0::/10, of which ipaddr.js takes some as unicast.
 */
const globalIPv6: readonly Network[] = [ipaddr.parseCIDR('2000::/3')]

const deniedIPv6: readonly Network[] = [
  '2001::/23', // Teredo, benchmarking, ORCHID and other protocol assignments
  '2001:db8::/32',
  '2002::/16', // 6to4
  '2620:4f:8000::/48', // AS112
  '3ffe::/16', // 6bone, given back
  '3fff::/20'
].map((network) => ipaddr.parseCIDR(network))

function within(address: ipaddr.IPv4 | ipaddr.IPv6, networks: readonly Network[]): boolean {
  return networks.some(([network, bits]) => address.match(network, bits))
}

/** ISATAP hides an IPv4 address behind the interface identifier ::0:5efe or ::200:5efe of any prefix. */
function isIsatap(address: ipaddr.IPv6): boolean {
  return address.parts[5] === 0x5efe && (address.parts[4] === 0 || address.parts[4] === 0x200)
}

interface Rule {
  port: number
  host?: string
  network?: ipaddr.IPv4 | ipaddr.IPv6
  bits: number
}

function parseEntry(entry: string): Rule {
  const [, bracketed, plain, portText] = /^(?:\[([^\]]*)\]|([^:[\]]*)):(\d{1,5})$/.exec(entry) ?? []
  const port = Number(portText)
  if (portText === undefined || port < 1 || port > 65535)
    throw bad(entry, 'it must be an address, a network or a host name, then a colon and a port')
  const target = bracketed ?? plain ?? ''
  const [address = '', bitsText] = target.split(/\/(.*)/s)
  if (isIP(address) === 0 || address.includes('%'))
    return { port, host: parseHost(entry, bracketed === undefined ? target : `[${target}]`), bits: 0 }
  if (isIPv4(address) !== (bracketed === undefined)) throw bad(entry, 'IPv6 addresses, and only they, stand in square brackets')
  const widthBits = isIPv4(address) ? 32 : 128
  const bits = bitsText === undefined ? widthBits : /^\d{1,3}$/.test(bitsText) ? Number(bitsText) : Number.NaN
  if (!(bits <= widthBits)) throw bad(entry, `the network size must be a number of bits from 0 to ${widthBits}`)
  const network = ipaddr.parse(address)
  const base =
    network instanceof ipaddr.IPv4
      ? ipaddr.IPv4.networkAddressFromCIDR(`${address}/${bits}`)
      : ipaddr.IPv6.networkAddressFromCIDR(`${address}/${bits}`)
  if (base.toString() !== network.toString()) throw bad(entry, `the network of that size begins at ${base}`)
  return { port, network, bits }
}

function parseHost(entry: string, target: string): string {
  const labels = /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$/
  const host = target.toLowerCase()
  // A name that the URL parser rewrites (127.1, 0x7f000001) is an address in disguise and would never match.
  if (!labels.test(host) || !URL.canParse(`http://${host}`) || new URL(`http://${host}`).hostname !== host)
    throw bad(entry, 'that is neither an address nor a host name')
  return host
}

function bad(entry: string, problem: string): RangeError {
  return new RangeError(`'${entry}' is not a target that can be allowed: ${problem}`)
}
