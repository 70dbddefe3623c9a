import { retryAfterMs } from '../../providers/retry-after.ts'
import { UntrustedUrlError, type UntrustedUrlFetcher } from '../../upstream/untrusted-url.ts'
import type { CallbackSecrets } from './callback-secrets.ts'
import { callbackSignature } from './callback-signature.ts'

export interface CallbackSenderOptions {
  /** Of this program, for the `user-agent`. */
  version: string
  /** For one try, from the look-up to the answer; 20 s unless told. */
  timeoutMs?: number
}

export interface OutgoingCallback {
  /** The same for every try. */
  id: string
  organizationId: string
  url: string
  body: string
  /** Unix milliseconds of this try. */
  atMs: number
}

/** What the receiver said: `stopped` where it wants no more. The problem names its host at most, and is empty where there is none. */
export interface CallbackAnswer {
  verdict: 'delivered' | 'failed' | 'stopped'
  /** 0 where there was no answer. */
  status: number
  problem: string
  /** How long it asks to wait, where that counts. */
  retryAfterMs?: number
}

export type SendCallback = (callback: OutgoingCallback, signal: AbortSignal) => Promise<CallbackAnswer>

/** Posts a callback once, signed. Throws the signal's reason, and what the secrets throw; everything else is an answer. */
export function createCallbackSender(
  options: CallbackSenderOptions,
  deps: { fetcher: Pick<UntrustedUrlFetcher, 'post'>; secrets: Pick<CallbackSecrets, 'signing'> }
): SendCallback {
  const { timeoutMs } = options
  const fixed = { 'content-type': 'application/json', 'user-agent': `Atelier/${options.version}` }
  return async (callback, signal) => {
    const headers = { ...fixed, ...callbackSignature(callback, await deps.secrets.signing(callback.organizationId)) }
    const message = { body: callback.body, headers, signal, ...(timeoutMs === undefined ? {} : { timeoutMs }) }
    try {
      const { status, retryAfter } = await deps.fetcher.post(callback.url, message)
      return { ...judge(status), ...askedWait(status, retryAfter, callback.atMs) }
    } catch (error) {
      signal.throwIfAborted()
      if (error instanceof UntrustedUrlError) return { verdict: 'failed', status: 0, problem: error.message }
      throw error
    }
  }
}

function judge(status: number): CallbackAnswer {
  if (status >= 200 && status < 300) return { verdict: 'delivered', status, problem: '' }
  const said = `the receiver answered with status ${status}`
  if (status === 410) return { verdict: 'stopped', status, problem: `${said}: it wants no more callbacks` }
  if (status >= 300 && status < 400) return { verdict: 'failed', status, problem: `${said}: redirects are not followed` }
  return { verdict: 'failed', status, problem: said }
}

function askedWait(status: number, retryAfter: string | undefined, nowMs: number): { retryAfterMs?: number } {
  if (retryAfter === undefined || (status !== 429 && status !== 503)) return {}
  const waitMs = retryAfterMs({ 'retry-after': retryAfter }, nowMs)
  return waitMs === undefined ? {} : { retryAfterMs: waitMs }
}
