import type { Call } from '../call.ts'
import { gatewayError } from '../errors.ts'
import type { AttemptContext, Provider, ProviderEvent } from '../providers/provider.ts'
import type { Part } from './parts.ts'
import type { Plan } from './plan.ts'

/** A provider as it is configured: the backend, its key and its patience. */
export interface ConfiguredProvider {
  backend: Provider
  /** Empty where the upstream asks for none. */
  credential: string
  /** Overrides the catalog's and the default time limit. */
  timeoutMs?: number
}

/** What is recorded of an attempt while it runs, and the job of an earlier process to go on with. */
export interface AttemptRecord {
  submitted?: (jobId: string) => Promise<void>
  idempotencyKey?: string
  jobId?: string
}

/** Seed 003 states 4 to 8 minutes for a 4K image, and the SDKs give up at 10. */
const defaultTimeoutMs = 600_000

/** Makes the one call that a part of a plan asks for, or goes on with the job that it led to. Throws PROVIDER_KEY_MISSING. */
export function attempt(
  plan: Plan,
  part: Part,
  providers: ReadonlyMap<string, ConfiguredProvider>,
  call: Call,
  { jobId, ...record }: AttemptRecord = {}
): AsyncIterable<ProviderEvent> {
  const { candidate } = plan
  const provider = providers.get(candidate.provider)
  if (!provider)
    throw gatewayError('PROVIDER_KEY_MISSING', { provider: candidate.provider, model: candidate.model }, { outcome: 'not_sent' })
  const context: AttemptContext = {
    credential: provider.credential,
    signal: call.signal,
    timeoutMs: Math.min(provider.timeoutMs ?? plan.timeoutMs ?? defaultTimeoutMs, Math.max(1, call.deadlineMs - Date.now())),
    get log() {
      return call.log
    },
    ...record
  }
  return jobId !== undefined && provider.backend.resume
    ? provider.backend.resume(jobId, part.work, context)
    : provider.backend.run(part.work, context)
}
