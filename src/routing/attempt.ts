import type { Call, ProviderChoice } from '../call.ts'
import { GatewayError, gatewayError } from '../errors.ts'
import type { AttemptContext, Provider, ProviderEvent } from '../providers/provider.ts'
import type { ChosenCredential } from './credentials.ts'
import type { Candidate } from './models.ts'
import type { Part } from './parts.ts'
import type { Plan } from './plan.ts'

/** A provider as it is configured: the backend and its patience. */
export interface ConfiguredProvider {
  backend: Provider
  /** The same adapter at another address, for callers who may name one. Unset where it calls nobody. */
  backendAt?(baseUrl: string): Provider
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

/** Makes the one call that a part of a plan asks for, with this key, or goes on with the job that it led to. Throws PROVIDER_KEY_MISSING. */
export function attempt(
  plan: Plan,
  part: Part,
  providers: ReadonlyMap<string, ConfiguredProvider>,
  credential: ChosenCredential,
  call: Call,
  { jobId, ...record }: AttemptRecord = {}
): AsyncIterable<ProviderEvent> {
  const { candidate } = plan
  const provider = providers.get(candidate.provider)
  if (!provider) throw keyMissing(candidate)
  const context: AttemptContext = {
    ...record,
    credential: credential.secret,
    isForeignKey: credential.kind === 'organization' || credential.kind === 'request',
    signal: call.signal,
    timeoutMs: Math.min(provider.timeoutMs ?? plan.timeoutMs ?? defaultTimeoutMs, Math.max(1, call.deadlineMs - Date.now())),
    log: call.log
  }
  const backend = backendOf(provider, call.choice)
  return jobId !== undefined && backend.resume ? backend.resume(jobId, part.work, context) : backend.run(part.work, context)
}

/** What calls the provider where the request wants it called. */
export function backendOf({ backend, backendAt }: ConfiguredProvider, choice: ProviderChoice | undefined): Provider {
  if (choice?.customHost === undefined) return backend
  if (!backendAt)
    throw gatewayError('INVALID_PARAMETER', { param: 'x-portkey-custom-host', problem: 'has no use for a provider that calls nobody' })
  return backendAt(choice.customHost)
}

/** The error for a candidate that there is no key to call with. */
export function keyMissing({ provider, model }: Pick<Candidate, 'provider' | 'model'>): GatewayError {
  return gatewayError('PROVIDER_KEY_MISSING', { provider, model }, { outcome: 'not_sent' })
}

/** Whether a provider refused the key, or its account, so that nothing was made and another key may do. */
export function isKeyRefused(error: unknown): boolean {
  return error instanceof GatewayError && error.reason === 'PROVIDER_KEY_REFUSED' && error.outcome === 'rejected'
}
