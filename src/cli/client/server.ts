import { Code, ConnectError, type Transport } from '@connectrpc/connect'
import { createConnectTransport } from '@connectrpc/connect-node'
import { UsageError } from '../usage-error.ts'

/** A running server, seen from a command. */
export interface RemoteServer {
  readonly url: string
  readonly transport: Transport
  /** Waits for an answer; what goes wrong becomes an Error whose message tells the user what to do. */
  ask<T>(answer: Promise<T>): Promise<T>
}

/** A secret, and where it comes from, for telling the user about it. */
export interface FoundKey {
  key: string
  source: string
}

/** The server that `--url` or ATELIER_URL names, else the one of this machine. Throws UsageError where that is no address. */
export function serverUrl(given: string | undefined, environment: Readonly<Record<string, string | undefined>>): URL {
  const text = given ?? (environment.ATELIER_URL?.trim() || defaultUrl)
  const url = URL.parse(text)
  if (url && /^https?:$/.test(url.protocol) && url.username === '' && url.search === '' && url.hash === '') return url
  throw new UsageError(`the server's address must be like ${defaultUrl}, not ${text}`)
}

/** Whether nobody but this machine can be at the address. */
export function isLoopback({ hostname }: URL): boolean {
  return /^(127\.\d+\.\d+\.\d+|\[::1\]|localhost)$/.test(hostname)
}

export function connectTo(url: URL, { key, source }: FoundKey): RemoteServer {
  const address = url.href.replace(/\/$/, '')
  const transport = createConnectTransport({
    baseUrl: address,
    httpVersion: '1.1',
    interceptors: [
      (next) => (request) => {
        request.header.set('authorization', `Bearer ${key}`)
        return next(request)
      }
    ]
  })
  return {
    url: address,
    transport,
    async ask(answer) {
      try {
        return await answer
      } catch (error) {
        throw explain(error, address, source)
      }
    }
  }
}

const defaultUrl = 'http://127.0.0.1:8080'

function explain(error: unknown, address: string, source: string): unknown {
  if (!(error instanceof ConnectError)) return error
  const network = networkCode(error)
  if (network !== undefined) {
    return new Error(`no server answers at ${address} (${network}): start one with \`atelier serve\`, or name another with --url`)
  }
  // Only Atelier's own errors carry details; their messages are sentences for people.
  if (error.details.length === 0 && error.code !== Code.Canceled)
    return new Error(`${address} does not answer as Atelier does: ${error.message}`)
  if (error.code === Code.Unauthenticated) return new Error(`the server at ${address} does not accept the key from ${source}`)
  if (error.code === Code.PermissionDenied) return new Error(`${error.rawMessage}: the key is from ${source}`)
  return new Error(error.rawMessage, { cause: error })
}

function networkCode(error: ConnectError): string | undefined {
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    if (
      'code' in cause &&
      typeof cause.code === 'string' &&
      /^(E[A-Z]+|CERT_\w+|DEPTH_\w+|UNABLE_\w+|SELF_\w+|ERR_TLS\w*)$/.test(cause.code)
    ) {
      return cause.code
    }
  }
  return undefined
}
