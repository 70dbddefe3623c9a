import { lookup as systemLookup } from 'node:dns/promises'
import type { Client, Dispatcher } from 'undici'
import { createAddressRules } from './address-rules.ts'
import { createPinnedClient } from './pinned-client.ts'
import { acceptResponse, type Run, singleHeader, type UntrustedResponse } from './untrusted-body.ts'
import { checkedAddresses, parsePostTarget, parseTarget, type TargetUse } from './untrusted-target.ts'
import { UntrustedUrlError } from './untrusted-url-error.ts'

export type { UntrustedResponse } from './untrusted-body.ts'
export { UntrustedUrlError } from './untrusted-url-error.ts'

export interface UntrustedUrlOptions {
  /** Targets that may be reached besides public addresses on 443 and 80; see `createAddressRules` for the spelling. */
  allow: readonly string[]
  /** For everything of a fetch from the look-up to the last byte, redirects included; 60 s unless told. */
  timeoutMs?: number
  /** Size of the largest body that is fetched; 64 MiB unless told. */
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
  /**
   * Posts to a URL that somebody else wrote, by the same rules, and over https but where an entry of `allow` covers the target. Follows no
   * redirect, sends no header besides those given and what HTTP needs, and reads 20 kB of the answer at most: its status counts from the
   * moment it arrives. Throws UntrustedUrlErrors, after one that is not `refused` the body may have arrived; and the signal's reason.
   */
  readonly post: (url: string, options: UntrustedPostOptions) => Promise<UntrustedPostAnswer>
  /** Throws the UntrustedUrlError with which `post` refuses the URL whatever its host resolves to. Resolves and connects to nothing. */
  readonly checkPost: (url: string) => void
}

export interface UntrustedFetchOptions {
  signal: AbortSignal
  trustedOrigins?: readonly string[]
  /** The `accept` header; anything unless told. */
  accept?: string
}

export interface UntrustedPostOptions {
  signal: AbortSignal
  body: string
  headers: Readonly<Record<string, string>>
  /** For everything from the look-up to the answer; 20 s unless told. */
  timeoutMs?: number
}

export interface UntrustedPostAnswer {
  status: number
  /** The `retry-after` header as it came. */
  retryAfter?: string
  /** As much of the answer as arrived, 20 kB at most. */
  body: Buffer
}

const maxRedirects = 3
const lookupTimeoutMs = 5_000
const postTimeoutMs = 20_000
const maxPostAnswerBytes = 20_000

/** The only way to reach a URL that somebody else wrote. Disposing it ends everything under way. Throws a RangeError for a bad `allow` entry. */
export function createUntrustedUrlFetcher(options: UntrustedUrlOptions): UntrustedUrlFetcher {
  const rules = createAddressRules(options.allow)
  const fetchTimeoutMs = options.timeoutMs ?? 60_000
  const maxBytes = options.maxBytes ?? 64 * 1024 * 1024
  const lookup = options.lookup ?? lookupAll
  const running = new Set<AbortController>()

  return {
    fetch: fetchUntrusted,
    post: postUntrusted,
    checkPost(text) {
      parsePostTarget(text, rules)
    },
    async [Symbol.asyncDispose]() {
      for (const run of running) run.abort(new UntrustedUrlError('failed', 'the server is shutting down'))
    }
  }

  async function fetchUntrusted(text: string, { signal, trustedOrigins = [], accept = '*/*' }: UntrustedFetchOptions) {
    const run = begin(signal, fetchTimeoutMs, 'the url was not fetched')
    try {
      return await follow(text, trustedOrigins, accept, run)
    } catch (error) {
      run.end()
      run.signal.throwIfAborted()
      throw error
    }
  }

  function begin(signal: AbortSignal, timeoutMs: number, failure: string): Run {
    const run = new AbortController()
    const onAbort = () => run.abort(signal.reason)
    const onTimeout = () => run.abort(new UntrustedUrlError('timeout', `${failure} within ${timeoutMs / 1000} seconds`))
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
    return { signal: run.signal, end }
  }

  async function follow(text: string, trustedOrigins: readonly string[], accept: string, run: Run): Promise<UntrustedResponse> {
    let url = parseTarget(text)
    let trusted = true
    for (let redirects = 0; redirects <= maxRedirects; redirects++) {
      trusted &&= trustedOrigins.includes(url.origin)
      const client = await connectTo(url, { trusted }, run)
      try {
        const headers = { accept, 'accept-encoding': 'identity', 'user-agent': 'atelier' }
        const response = await send(client, url, { method: 'GET', headers }, run)
        const location = redirectTarget(response, url)
        if (location === undefined) return acceptResponse(response, url, maxBytes, run, client)
        await client.destroy()
        url = location
      } catch (error) {
        await client.destroy()
        throw error
      }
    }
    throw new UntrustedUrlError('failed', `${url.host} is reached only after more than ${maxRedirects} redirects`)
  }

  async function postUntrusted(text: string, { signal, timeoutMs = postTimeoutMs, ...message }: UntrustedPostOptions) {
    const run = begin(signal, timeoutMs, 'the url did not answer')
    try {
      return await postOnce(parsePostTarget(text, rules), message, run)
    } catch (error) {
      run.signal.throwIfAborted()
      throw error
    } finally {
      run.end()
    }
  }

  async function postOnce(url: URL, message: { body: string; headers: Readonly<Record<string, string>> }, run: Run) {
    const client = await connectTo(url, { isPost: true }, run)
    try {
      const { statusCode: status, headers, body } = await send(client, url, { method: 'POST', ...message }, run)
      const some = await readSome(body)
      const retryAfter = singleHeader(headers['retry-after'])
      return { status, ...(retryAfter === '' ? {} : { retryAfter }), body: some }
    } finally {
      await client.destroy()
    }
  }

  async function connectTo(url: URL, use: TargetUse, run: Run): Promise<Client> {
    const addresses = await checkedAddresses(url, use, rules, (host) => resolveHost(host, lookup, run.signal))
    run.signal.throwIfAborted()
    return createPinnedClient(url, addresses, run.signal)
  }
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

/** All addresses that the system's resolver has for a host, unchecked. */
export async function lookupAll(host: string): Promise<readonly string[]> {
  return (await systemLookup(host, { all: true })).map(({ address }) => address)
}

type Message = Pick<Dispatcher.RequestOptions, 'method' | 'body'> & { headers: Readonly<Record<string, string>> }

function send(client: Client, url: URL, { headers, ...message }: Message, { signal }: Run): Promise<Dispatcher.ResponseData> {
  const request = { ...message, headers: { ...headers }, path: `${url.pathname}${url.search}`, signal, reset: true }
  return client.request(request).catch((error: unknown) => {
    throw new UntrustedUrlError('failed', `${url.host} could not be reached (${codeOf(error)})`, error)
  })
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'connection failed'
}

/** Where a redirect leads; undefined for an answer that is none. */
function redirectTarget({ statusCode, headers }: Dispatcher.ResponseData, url: URL): URL | undefined {
  if (![301, 302, 303, 307, 308].includes(statusCode)) return undefined
  const location = singleHeader(headers.location)
  if (location === '') throw new UntrustedUrlError('failed', `${url.host} redirects without saying where`)
  const target = parseTarget(location, url)
  if (url.protocol === 'https:' && target.protocol === 'http:')
    throw new UntrustedUrlError('refused', `${url.host} redirects from https to http`)
  return target
}

/** Lets a well-behaved receiver finish its answer; what becomes of the rest changes nothing about its status. */
async function readSome(body: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  let sizeBytes = 0
  try {
    for await (const chunk of body) {
      chunks.push(chunk)
      sizeBytes += chunk.length
      if (sizeBytes >= maxPostAnswerBytes) break
    }
  } catch {}
  return Buffer.concat(chunks).subarray(0, maxPostAnswerBytes)
}
