import { setTimeout as sleep } from 'node:timers/promises'
import type { Log } from '../log.ts'
import type { Provider } from '../providers/provider.ts'

/**
 * Asks a provider to stop a job that nobody wants any more. `rejected` where it says that the job was stopped, so that nothing is billed;
 * `unknown` where that came too late, failed, or took longer than 5 s. Never rejects.
 */
export async function stopJob(jobId: string, backend: Provider, credential: string, log: Log): Promise<'rejected' | 'unknown'> {
  const limit = new AbortController()
  try {
    const asked = backend.cancel?.(jobId, { credential, signal: limit.signal, timeoutMs: limitMs, log })
    const said = await Promise.race([asked, sleep(limitMs, undefined, { signal: limit.signal, ref: false })])
    return said === 'cancelled' ? 'rejected' : 'unknown'
  } catch (err) {
    log.warn({ err }, 'a job could not be stopped at its provider')
    return 'unknown'
  } finally {
    limit.abort()
  }
}

const limitMs = 5_000
