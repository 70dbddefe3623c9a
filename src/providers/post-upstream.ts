import type { GatewayError } from '../errors.ts'
import type { UpstreamClient, UpstreamRequest, UpstreamResponse } from '../upstream/client.ts'
import { type ErrorContext, readHead } from './error-answer.ts'
import type { AttemptContext } from './provider.ts'
import type { UpstreamHeaders } from './retry-after.ts'

export interface ErrorAnswer {
  status: number
  headers: UpstreamHeaders
  /** Its first 64 KiB. */
  body: Uint8Array
}

/**
 * Posts an attempt's request and returns the answer, where its status is 2xx. For any other it throws what `toError` reads out of the
 * answer, and logs what an operator needs to ask the vendor about it; the vendor's own sentence may quote the prompt and is not logged.
 */
export async function postUpstream(
  client: UpstreamClient,
  request: Pick<UpstreamRequest, 'path' | 'headers' | 'body'>,
  attempt: AttemptContext,
  context: ErrorContext,
  toError: (answer: ErrorAnswer, context: ErrorContext) => GatewayError
): Promise<UpstreamResponse> {
  const { signal, timeoutMs, log } = attempt
  const response = await client.send({
    method: 'POST',
    path: request.path,
    headers: request.headers,
    body: request.body,
    signal,
    timeoutMs
  })
  const { status, headers } = response
  const requestId = headers['x-request-id']
  const upstreamRequestId = (Array.isArray(requestId) ? requestId[0] : requestId)?.slice(0, 200)
  const answered = { provider: context.provider, status, upstreamRequestId }
  if (status >= 200 && status <= 299) {
    log.debug(answered, 'upstream answered')
    return response
  }
  const error = toError({ status, headers, body: await readHead(response.body, signal) }, context)
  log.warn({ ...answered, reason: error.reason }, 'upstream refused')
  throw error
}

/** The configured headers as they are sent: a call's own ones, in lower case, go before them. */
export function lowerCaseNames(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]))
}
