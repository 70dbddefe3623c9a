import { GatewayError, gatewayError } from '../errors.ts'

/** What an aborted call ends with while its image is delivered: the signal's reason where that is for callers, else CANCELLED, `unknown`. */
export function abortError(signal: AbortSignal): GatewayError {
  return signal.reason instanceof GatewayError ? signal.reason : gatewayError('CANCELLED', {}, { outcome: 'unknown', cause: signal.reason })
}

/** The result of work that cannot be stopped, or the abort error as soon as the signal aborts; the work then goes on by itself. */
export function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(abortError(signal))
    if (signal.aborted) onAbort()
    signal.addEventListener('abort', onAbort, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}
