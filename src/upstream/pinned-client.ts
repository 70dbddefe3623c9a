import { connect, isIP, type LookupFunction, type Socket } from 'node:net'
import { connect as connectSecurely } from 'node:tls'
import ipaddr from 'ipaddr.js'
import type { Client } from 'undici'
import { loadClient } from './undici.ts'

const connectTimeoutMs = 10_000
const maxHeaderBytes = 16_384

/**
 * A client for one exchange with the host of `url` that connects to one of the given addresses and to nothing else: the name is not
 * resolved again. The certificate is checked against the host. Aborting the signal ends an attempt to connect.
 */
export function createPinnedClient(url: URL, addresses: readonly string[], signal: AbortSignal): Client {
  const Client = loadClient()
  return new Client(url.origin, {
    allowH2: false,
    connect: ({ hostname, port, protocol }, callback) => {
      const target = { host: hostname, port: Number(port) || (protocol === 'https:' ? 443 : 80), lookup: pinnedLookup(addresses) }
      // A name with a final dot is legal in a URL and not in TLS; an address is no server name at all.
      const names = isIP(hostname) === 0 ? { servername: hostname.replace(/\.$/, '') } : {}
      const socket = protocol === 'https:' ? connectSecurely({ ...target, ...names, ALPNProtocols: ['http/1.1'] }) : connect(target)
      socket.once('connect', () => {
        if (!isOneOf(socket.remoteAddress, addresses)) socket.destroy(new Error('connected to an address that was not checked'))
      })
      connected(socket, protocol === 'https:' ? 'secureConnect' : 'connect', signal).then(
        () => callback(null, socket),
        (error) => callback(error, null)
      )
    },
    maxHeaderSize: maxHeaderBytes,
    // The whole exchange has one time limit, which is the caller's.
    headersTimeout: 0,
    bodyTimeout: 0
  })
}

function pinnedLookup(addresses: readonly string[]): LookupFunction {
  const pinned = addresses.map((address) => ({ address, family: isIP(address) }))
  return (_host, { all }, callback) => {
    if (all) callback(null, pinned)
    else callback(null, pinned[0]?.address ?? '', pinned[0]?.family)
  }
}

function isOneOf(connected: string | undefined, addresses: readonly string[]): boolean {
  if (connected === undefined) return false
  const normalized = ipaddr.parse(connected).toNormalizedString()
  return addresses.some((address) => ipaddr.parse(address).toNormalizedString() === normalized)
}

async function connected(socket: Socket, event: 'connect' | 'secureConnect', signal: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const timer = setTimeout(() => socket.destroy(new Error(`no connection within ${connectTimeoutMs} ms`)), connectTimeoutMs)
  const onAbort = () => socket.destroy(signal.reason)
  signal.addEventListener('abort', onAbort, { once: true })
  if (signal.aborted) onAbort()
  socket.setNoDelay(true)
  // The error listener stays: an error between here and the client's own listener would end the process.
  socket.once(event, () => (socket.destroyed ? undefined : resolve())).on('error', reject)
  socket.once('close', () => reject(new Error('closed while connecting')))
  try {
    await promise
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', onAbort)
  }
}
