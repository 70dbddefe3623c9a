import { lookup as systemLookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import type { Client, Dispatcher } from 'undici'
import { type AddressRules, createAddressRules, isPublicAddress } from './address-rules.ts'
import { createPinnedClient } from './pinned-client.ts'

export interface UntrustedUrlOptions {
  /** Targets that may be reached besides public addresses on 443 and 80; see `createAddressRules` for the spelling. */
  allow: readonly string[]
  /** For everything from the look-up to the last byte, redirects included; 60 s unless told. */
  timeoutMs?: number
  /** Size of the largest body that is read; 64 MiB unless told. */
  maxBytes?: number
  /** Resolves a host name to all its addresses; the system's resolver unless told. */
  lookup?: (host: string) => Promise<readonly string[]>
}

export interface UntrustedUrlFetcher extends AsyncDisposable {
  /**
   * Fetches a URL that somebody else wrote, at the address that was checked. Follows up to 3 redirects by the same rules; any status but 200
   * is a failure. A URL of a trusted origin (`http://127.0.0.1:1234`) may be private, on any port; a redirect from elsewhere may not lead there.
   * Throws UntrustedUrlErrors, also while the body is read, and the signal's reason when that aborts.
   */
  readonly fetch: (url: string, options: UntrustedFetchOptions) => Promise<UntrustedResponse>
}

export interface UntrustedFetchOptions {
  signal: AbortSignal
  trustedOrigins?: readonly string[]
  /** The `accept` header; anything unless told. */
  accept?: string
}

export interface UntrustedResponse {
  /** The declared type, lower case and without parameters; empty where there is none. A claim, not a fact. */
  mediaType: string
  /** The declared size. */
  sizeBytes?: number
  /**
   * Readable once. Leaving it early closes the connection; a body that nobody wants must be left too
   * (`body[Symbol.asyncIterator]().return?.()`), or the time limit closes it.
   */
  body: AsyncIterable<Uint8Array>
}

/**
 * `refused`: not a target that may be reached; nothing was sent there. `failed`: unreachable, or not a whole answer of status 200.
 * The message names the host at most: no path, no query, no resolved address.
 */
export class UntrustedUrlError extends Error {
  readonly kind: 'refused' | 'failed' | 'too_large' | 'timeout'

  constructor(kind: UntrustedUrlError['kind'], message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.name = 'UntrustedUrlError'
    this.kind = kind
  }
}

const maxUrlLength = 8192
const maxRedirects = 3
const lookupTimeoutMs = 5_000

/** The only way to fetch a URL that somebody else wrote. Disposing it ends every fetch under way. Throws a RangeError for a bad `allow` entry. */
export function createUntrustedUrlFetcher(options: UntrustedUrlOptions): UntrustedUrlFetcher {
  const rules = createAddressRules(options.allow)
  const timeoutMs = options.timeoutMs ?? 60_000
  const maxBytes = options.maxBytes ?? 64 * 1024 * 1024
  const lookup = options.lookup ?? lookupAll
  const running = new Set<AbortController>()

  async function fetchUntrusted(text: string, { signal, trustedOrigins = [], accept = '*/*' }: UntrustedFetchOptions) {
    const run = new AbortController()
    const onAbort = () => run.abort(signal.reason)
    const onTimeout = () => run.abort(new UntrustedUrlError('timeout', `the url was not fetched within ${timeoutMs / 1000} seconds`))
    const timer = setTimeout(onTimeout, timeoutMs)
    const end = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
      running.delete(run)
    }
    running.add(run)
    run.signal.addEventListener('abort', end, { once: true })
    signal.addEventListener('abort', onAbort, { once: true })
    if (signal.aborted) onAbort()
    try {
      return await follow(text, trustedOrigins, { accept, signal: run.signal, end })
    } catch (error) {
      end()
      run.signal.throwIfAborted()
      throw error
    }
  }

  async function follow(text: string, trustedOrigins: readonly string[], run: Run): Promise<UntrustedResponse> {
    let url = parseUrl(text)
    let trusted = true
    for (let redirects = 0; redirects <= maxRedirects; redirects++) {
      trusted &&= trustedOrigins.includes(url.origin)
      const addresses = await checkedAddresses(url, trusted, rules, (host) => resolveHost(host, lookup, run.signal))
      run.signal.throwIfAborted()
      const client = createPinnedClient(url, addresses, run.signal)
      try {
        const response = await send(client, url, run)
        const location = redirectTarget(response, url)
        if (location === undefined) return accepted(response, url, maxBytes, run, client)
        await client.destroy()
        url = location
      } catch (error) {
        await client.destroy()
        throw error
      }
    }
    throw new UntrustedUrlError('failed', `${url.host} is reached only after more than ${maxRedirects} redirects`)
  }

  return {
    fetch: fetchUntrusted,
    async [Symbol.asyncDispose]() {
      for (const run of running) run.abort(new UntrustedUrlError('failed', 'the server is shutting down'))
    }
  }
}

interface Run {
  accept: string
  /** Aborts with the error that the fetch then throws. */
  signal: AbortSignal
  /** Called once nothing more happens: releases the timer and the listener. */
  end(): void
}

function parseUrl(text: string, base?: URL): URL {
  const url = text.length <= maxUrlLength && URL.canParse(text, base) ? new URL(text, base) : undefined
  if (url === undefined || url.host.length > 260) throw new UntrustedUrlError('refused', 'the url is not valid')
  if (url.protocol !== 'https:' && url.protocol !== 'http:')
    throw new UntrustedUrlError('refused', `the url is not http or https but ${url.protocol.slice(0, 20)}`)
  if (url.username !== '' || url.password !== '') throw new UntrustedUrlError('refused', `the url to ${url.host} holds credentials`)
  return url
}

/** The addresses that may be connected to: those of the host, if all of them may be reached. */
async function checkedAddresses(url: URL, trusted: boolean, rules: AddressRules, resolve: (host: string) => Promise<readonly string[]>) {
  const host = bareHost(url)
  const port = Number(url.port) || (url.protocol === 'https:' ? 443 : 80)
  if (url.port !== '' && !trusted && !rules.namesPort(port))
    throw new UntrustedUrlError('refused', `the port of ${url.host} is not allowed`)
  // One sentence for what does not resolve and what resolves to the inside, so that it does not tell which internal names exist.
  const message = `${url.host} is not a public host`
  const unresolved = (error: unknown) => {
    throw new UntrustedUrlError('failed', message, error)
  }
  const addresses = isIP(host) === 0 ? await resolve(host).catch(unresolved) : [host]
  if (addresses.length === 0) throw new UntrustedUrlError('failed', message)
  const mayBeReached = (address: string) => (url.port === '' && isPublicAddress(address)) || rules.allowsAddress(address, port)
  if (trusted || rules.allowsHost(host, port) || addresses.every(mayBeReached)) return addresses
  throw new UntrustedUrlError('refused', message)
}

/** The host without the brackets of IPv6 and without the dot that ends an absolute name. */
function bareHost(url: URL): string {
  return url.hostname.replace(/^\[|\]$|\.$/g, '')
}

async function resolveHost(
  host: string,
  lookup: (host: string) => Promise<readonly string[]>,
  signal: AbortSignal
): Promise<readonly string[]> {
  signal.throwIfAborted()
  const { promise: stopped, reject } = Promise.withResolvers<never>()
  const onAbort = () => reject(signal.reason)
  const timer = setTimeout(() => reject(new Error(`no answer from the resolver within ${lookupTimeoutMs} ms`)), lookupTimeoutMs)
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await Promise.race([lookup(host), stopped])
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', onAbort)
  }
}

async function lookupAll(host: string): Promise<readonly string[]> {
  return (await systemLookup(host, { all: true })).map(({ address }) => address)
}

function send(client: Client, url: URL, { accept, signal }: Run): Promise<Dispatcher.ResponseData> {
  const headers = { accept, 'accept-encoding': 'identity', 'user-agent': 'atelier' }
  return client.request({ method: 'GET', path: `${url.pathname}${url.search}`, headers, signal, reset: true }).catch((error: unknown) => {
    throw new UntrustedUrlError('failed', `${url.host} could not be reached (${codeOf(error)})`, error)
  })
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'connection failed'
}

/** Where a redirect leads; undefined for an answer that is none. */
function redirectTarget({ statusCode, headers }: Dispatcher.ResponseData, url: URL): URL | undefined {
  if (![301, 302, 303, 307, 308].includes(statusCode)) return undefined
  const location = single(headers.location)
  if (location === '') throw new UntrustedUrlError('failed', `${url.host} redirects without saying where`)
  const target = parseUrl(location, url)
  if (url.protocol === 'https:' && target.protocol === 'http:')
    throw new UntrustedUrlError('refused', `${url.host} redirects from https to http`)
  return target
}

function accepted(
  { statusCode, headers, body }: Dispatcher.ResponseData,
  url: URL,
  maxBytes: number,
  run: Run,
  client: Client
): UntrustedResponse {
  if (statusCode !== 200) throw new UntrustedUrlError('failed', `${url.host} answered with status ${statusCode}`)
  const encoding = single(headers['content-encoding']).toLowerCase()
  if (encoding !== '' && encoding !== 'identity')
    throw new UntrustedUrlError('failed', `${url.host} answered in a content encoding that was not asked for`)
  const sizeBytes = headers['content-length'] === undefined ? undefined : Number(single(headers['content-length']))
  if (sizeBytes !== undefined && sizeBytes > maxBytes) throw tooLarge(url, maxBytes)
  const mediaType = single(headers['content-type']).split(';', 1).join().trim().toLowerCase()
  return { mediaType, ...(sizeBytes === undefined ? {} : { sizeBytes }), body: createBody(body, url, maxBytes, run, client) }
}

/** Written out because `return` does not reach the `finally` of a generator that nobody has begun to read. */
function createBody(source: AsyncIterable<Uint8Array>, url: URL, maxBytes: number, run: Run, client: Client): AsyncIterable<Uint8Array> {
  const chunks = source[Symbol.asyncIterator]()
  let sizeBytes = 0
  const close = () => {
    run.end()
    return client.destroy()
  }
  const iterator: AsyncIterator<Uint8Array> = {
    async next() {
      try {
        const result = await chunks.next()
        if (result.done) await close()
        else sizeBytes += result.value.length
        if (sizeBytes > maxBytes) throw tooLarge(url, maxBytes)
        return result
      } catch (error) {
        await close()
        run.signal.throwIfAborted()
        throw error instanceof UntrustedUrlError ? error : new UntrustedUrlError('failed', `${url.host} broke off its answer`, error)
      }
    },
    async return() {
      await close()
      return { done: true, value: undefined }
    }
  }
  return { [Symbol.asyncIterator]: () => iterator }
}

function tooLarge(url: URL, maxBytes: number): UntrustedUrlError {
  return new UntrustedUrlError('too_large', `${url.host} answered with more than the ${maxBytes} bytes that are read`)
}

function single(header: string | string[] | undefined): string {
  return (Array.isArray(header) ? header[0] : header) ?? ''
}
