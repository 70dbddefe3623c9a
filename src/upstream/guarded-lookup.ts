import { isIP, type LookupFunction } from 'node:net'
import { type AddressRules, isPublicAddress } from './address-rules.ts'
import { lookupAll } from './untrusted-url.ts'

export interface GuardedLookupOptions {
  /** Of the connections that it resolves for. */
  port: number
  rules: AddressRules
  /** Resolves a host name to all its addresses; the system's resolver unless told. */
  lookup?: (host: string) => Promise<readonly string[]>
}

/**
 * Resolves host names for connections, and gives none of the addresses where one of them is neither public nor allowed by the rules: what is
 * checked is what is connected to, whenever a connection is made. The error has the code `ERR_ADDRESS_NOT_PUBLIC`.
 */
export function createGuardedLookup({ port, rules, lookup = lookupAll }: GuardedLookupOptions): LookupFunction {
  const mayBeReached = (address: string) => isPublicAddress(address) || rules.allowsAddress(address, port)
  const resolve = async (host: string) => {
    const addresses = await lookup(host)
    if (addresses.length > 0 && (rules.allowsHost(host, port) || addresses.every(mayBeReached))) {
      return addresses.map((address) => ({ address, family: isIP(address) }))
    }
    throw Object.assign(new Error(`${host} is not a public host`), { code: 'ERR_ADDRESS_NOT_PUBLIC' })
  }
  return (host, { all }, callback) => {
    resolve(host).then(
      (found) => {
        if (all) callback(null, found)
        else callback(null, found[0]?.address ?? '', found[0]?.family)
      },
      (error: NodeJS.ErrnoException) => callback(error, '')
    )
  }
}
