import type { Call } from '../call.ts'
import { GatewayError, gatewayError } from '../errors.ts'
import { estimateCost, orderOf } from '../ledger/estimate.ts'
import { type AttemptRecord, keyMissing } from '../routing/attempt.ts'
import type { ChosenCredential } from '../routing/credentials.ts'
import type { PartRun, PartRunDeps } from './part-run.ts'
import type { PlannedRun } from './run-order.ts'
import type { TaskJournal } from './task-store.ts'
import { untilRecorded } from './until-recorded.ts'
import { withOutcome } from './with-outcome.ts'

/** A recorded attempt that may be carried out. */
export interface BegunAttempt {
  attemptId: string
  /** Whether an earlier process has begun it, so that what it came to may not be known from what this one sees. */
  isInherited: boolean
  /** The provider's name for its job, as soon as it has one. */
  jobId: string | undefined
  record: AttemptRecord
  credential: ChosenCredential
  /** Records the intent to call the provider with the next key, after it has refused this one. Unset where there is no other. */
  beginNext?: (() => Promise<BegunAttempt>) | undefined
}

/**
 * Takes up what an earlier process has begun of a part, where its provider allows that and its key is there, or records the intent to
 * begin it with the first of the keys that may be used. Throws PROVIDER_KEY_MISSING,
 * OUTCOME_UNKNOWN where it cannot be gone on with, NOT_STARTED where it is not to be begun any more, and the reason of a call that was left
 * before.
 */
export async function beginAttempt(
  run: PartRun,
  { plan }: PlannedRun,
  call: Call,
  journal: TaskJournal,
  deps: Pick<PartRunDeps, 'providers' | 'credentials' | 'checkpoint' | 'closing'>
): Promise<BegunAttempt> {
  const { known, part } = run
  const { candidate } = plan
  const { organizationId } = call.caller
  if (known?.state === 'intended' || known?.state === 'submitted') {
    const { id, jobId, provider } = known
    // The configuration may be another one by now.
    const backend = provider === candidate.provider ? deps.providers.get(provider)?.backend : undefined
    // Another account knows nothing of what was begun with this one.
    const credential = deps.credentials.find(known.credential, organizationId, provider, call.choice)
    if (credential && jobId !== undefined && backend?.resume) {
      return { attemptId: id, isInherited: true, jobId, record: { jobId }, credential: taken(credential) }
    }
    if (credential && backend?.recovery === 'idempotent') return begun(id, true, taken(credential))
    run.lost()
    await journal.close(id, { outcome: 'unknown' })
    if (!run.mayRetry) throw interrupted(provider)
  } else if (known?.state === 'unknown') {
    run.lost()
    if (!run.mayRetry) throw interrupted(known.provider)
  } else if (!run.mayBegin) throw gatewayError('NOT_STARTED', {}, { outcome: 'not_sent' })
  const { totalMicros } = estimateCost(orderOf(candidate, part.work))
  return intend(known ? known.ordinal + 1 : 0, deps.credentials.choose(organizationId, candidate.provider, call.choice))

  async function intend(ordinal: number, [credential, ...others]: readonly ChosenCredential[]): Promise<BegunAttempt> {
    if (!credential) throw keyMissing(candidate)
    if (call.signal.aborted) throw leftBefore(call)
    const attemptId = await journal.intend({
      part: run.position,
      ordinal,
      provider: candidate.provider,
      model: candidate.model,
      reserveMicros: totalMicros === undefined ? undefined : Number(totalMicros),
      credential: { kind: credential.kind, id: credential.id }
    })
    if (call.signal.aborted) {
      await journal.close(attemptId, { outcome: 'not_sent' }, { withEnding: run.isOnly })
      throw leftBefore(call)
    }
    taken(credential)
    deps.checkpoint('intended')
    return begun(attemptId, false, credential, others.length === 0 ? undefined : () => intend(ordinal + 1, others))
  }

  function taken(credential: ChosenCredential): ChosenCredential {
    run.intended({ kind: credential.kind, id: credential.id })
    deps.credentials.recordUse(credential)
    return credential
  }

  function begun(
    attemptId: string,
    isInherited: boolean,
    credential: ChosenCredential,
    beginNext?: () => Promise<BegunAttempt>
  ): BegunAttempt {
    const attempt: BegunAttempt = {
      attemptId,
      isInherited,
      jobId: undefined,
      record: {
        idempotencyKey: attemptId,
        // Without its record a job would be lost in a crash, so that its provider is rather polled later.
        submitted: async (named) => {
          attempt.jobId = named
          const failed = (err: unknown) => call.log.error({ err }, 'the job of a provider could not be recorded yet')
          await untilRecorded(() => journal.submitted(attemptId, named), failed, AbortSignal.any([deps.closing, call.signal]))
        }
      },
      credential,
      beginNext
    }
    return attempt
  }
}

/** What is known about an opaque call after the process that made it has died. */
export function interrupted(provider: string, cause?: unknown): GatewayError {
  const problem = 'the server ended while the request was on its way'
  return gatewayError('OUTCOME_UNKNOWN', { provider, problem }, { outcome: 'unknown', ...(cause !== undefined && { cause }) })
}

function leftBefore({ signal: { reason } }: Call): GatewayError {
  if (reason instanceof GatewayError) return withOutcome(reason, 'not_sent')
  return gatewayError('CANCELLED', {}, { outcome: 'not_sent', cause: reason })
}
