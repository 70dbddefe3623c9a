import type { IncomingMessage, ServerResponse } from 'node:http'

/** Lets browser pages of the listed origins call; answers a preflight itself and then returns true. Off while the list is empty. */
export type Cors = (request: IncomingMessage, response: ServerResponse) => boolean

/** What else an answer says would be hidden from pages: OpenAI's SDK would send again what x-should-retry forbids. */
const exposed = [
  'x-request-id',
  'x-atelier-model',
  'x-atelier-provider',
  'x-atelier-credential',
  'x-atelier-warnings',
  'x-atelier-cost',
  'x-atelier-task-id',
  'x-atelier-replayed',
  'location',
  'preference-applied',
  ...['requests', 'images'].flatMap((metric) => ['limit', 'remaining', 'reset'].map((word) => `x-ratelimit-${word}-${metric}`)),
  'retry-after',
  'retry-after-ms',
  'x-should-retry',
  'x-portkey-gateway-exception',
  'x-portkey-trace-id',
  'x-portkey-provider',
  'x-portkey-retry-attempt-count',
  'x-portkey-last-used-option-index',
  'x-portkey-cache-status',
  'grpc-retry-pushback-ms',
  'grpc-status',
  'grpc-message',
  'grpc-status-details-bin'
]

export function createCors(allowOrigins: readonly string[]): Cors {
  if (allowOrigins.length === 0) return () => false
  return (request, response) => {
    const origin = request.headers.origin
    response.setHeader('vary', 'origin')
    if (origin === undefined || !(allowOrigins.includes('*') || allowOrigins.includes(origin))) return false
    // Credentials are never allowed: callers authenticate by header, so that echoing an origin opens nothing to a browser's cookies.
    response.setHeader('access-control-allow-origin', allowOrigins.includes('*') ? '*' : origin)
    response.setHeader('access-control-expose-headers', exposed.join(', '))
    if (request.method !== 'OPTIONS' || request.headers['access-control-request-method'] === undefined) return false
    response.setHeader('access-control-allow-methods', 'GET, HEAD, POST, DELETE, OPTIONS')
    const asked = request.headers['access-control-request-headers']
    if (typeof asked === 'string' && /^[\w\-, ]{1,1024}$/.test(asked)) response.setHeader('access-control-allow-headers', asked)
    response.setHeader('access-control-max-age', '7200')
    response.writeHead(204)
    response.end()
    return true
  }
}
