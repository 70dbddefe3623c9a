import type { Call } from '../call.ts'
import { GatewayError, gatewayError } from '../errors.ts'
import { estimateCost, orderOf } from '../ledger/estimate.ts'
import type { AttemptRecord } from '../routing/attempt.ts'
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
  readonly jobId: string | undefined
  record: AttemptRecord
}

/**
 * Takes up what an earlier process has begun of a part, where its provider allows that, or records the intent to begin it. Throws
 * OUTCOME_UNKNOWN where it cannot be gone on with, NOT_STARTED where it is not to be begun any more, and the reason of a call that was left
 * before.
 */
export async function beginAttempt(
  run: PartRun,
  { plan }: PlannedRun,
  call: Call,
  journal: TaskJournal,
  deps: Pick<PartRunDeps, 'providers' | 'checkpoint' | 'closing'>
): Promise<BegunAttempt> {
  const { known, part } = run
  const { candidate } = plan
  if (known?.state === 'intended' || known?.state === 'submitted') {
    const { id, jobId, provider } = known
    // The configuration may be another one by now.
    const backend = provider === candidate.provider ? deps.providers.get(provider)?.backend : undefined
    if (jobId !== undefined && backend?.resume) return { attemptId: id, isInherited: true, jobId, record: { jobId } }
    if (backend?.recovery === 'idempotent') return begun(id, true)
    run.lost()
    await journal.close(id, { outcome: 'unknown' })
    if (!run.mayRetry) throw interrupted(provider)
  } else if (known?.state === 'unknown') {
    run.lost()
    if (!run.mayRetry) throw interrupted(known.provider)
  } else if (!run.mayBegin) throw gatewayError('NOT_STARTED', {}, { outcome: 'not_sent' })
  if (call.signal.aborted) throw leftBefore(call)
  const { totalMicros } = estimateCost(orderOf(candidate, part.work))
  const attemptId = await journal.intend({
    part: run.position,
    ordinal: known ? known.ordinal + 1 : 0,
    provider: candidate.provider,
    model: candidate.model,
    reserveMicros: totalMicros === undefined ? undefined : Number(totalMicros)
  })
  if (call.signal.aborted) {
    await journal.close(attemptId, { outcome: 'not_sent' }, { withEnding: run.isOnly })
    throw leftBefore(call)
  }
  run.intended()
  deps.checkpoint('intended')
  return begun(attemptId, false)

  function begun(attemptId: string, isInherited: boolean): BegunAttempt {
    let jobId: string | undefined
    const record: AttemptRecord = {
      idempotencyKey: attemptId,
      // Without its record a job would be lost in a crash, so that its provider is rather polled later.
      submitted: async (named) => {
        jobId = named
        const failed = (err: unknown) => call.log.error({ err }, 'the job of a provider could not be recorded yet')
        await untilRecorded(() => journal.submitted(attemptId, named), failed, AbortSignal.any([deps.closing, call.signal]))
      }
    }
    return {
      attemptId,
      isInherited,
      get jobId() {
        return jobId
      },
      record
    }
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
