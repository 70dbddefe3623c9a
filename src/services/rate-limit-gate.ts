import type { Buckets, Shortage, Taking } from '../admission/rate-limits/buckets.ts'
import { isLimited, type RateLimit, type RateLimitsByOrganization } from '../admission/rate-limits/rate-limit.ts'
import type { Call } from '../call.ts'
import { gatewayError } from '../errors.ts'
import type { PlannedRun } from '../tasks/run-order.ts'
import type { Gate, Leave } from './guarded-runner.ts'
import { formatDuration, tellRateLimits } from './rate-limit-headers.ts'
import { describeLimit, describeUnits, subjectOf } from './rate-limit-words.ts'
import { unitsOf } from './requested-units.ts'

export interface RateLimitGateDeps {
  /** The limits that hold now. */
  limits: () => RateLimitsByOrganization
  buckets: Buckets
}

/**
 * Lets a request pass that no limit of its organization and its key stands against, and counts it for each of them; otherwise it counts for
 * none. Throws RATE_LIMITED, and INVALID_PARAMETER for what a limit could never let pass. The answer says how much is left, also where it is
 * a refusal. It answers at once wherever the buckets do.
 */
export function createRateLimitGate({ limits, buckets }: RateLimitGateDeps): Gate {
  return {
    enter(planned, call) {
      const known = limits().get(call.caller.organizationId)
      if (!known) return undefined
      const applying = known.filter((limit) => isLimited(call.caller, planned.plan.candidate, limit))
      if (applying.length === 0) return undefined
      const takings = applying.map((limit) => ({ limit, units: possibleUnits(limit, planned) }))
      const shortage = buckets.take(takings)
      return shortage instanceof Promise ? shortage.then((known) => decide(known, takings, call)) : decide(shortage, takings, call)
    }
  }

  function decide(shortage: Shortage | undefined, takings: readonly Taking[], call: Call): undefined | Leave {
    tellRateLimits(
      takings.map(({ limit }) => limit),
      buckets,
      call
    )
    if (shortage) throw refused(shortage)
    const inFlight = takings.filter(({ limit }) => limit.windowMs === 0)
    if (inFlight.length === 0) return undefined
    return () => {
      for (const taking of inFlight) buckets.giveBack(taking)
    }
  }
}

function refused({ limit, waitMs = unknownWaitMs }: Shortage): Error {
  const fields = { whose: subjectOf(limit), limit: describeLimit(limit), wait: formatDuration(waitMs) }
  return gatewayError('RATE_LIMITED', fields, { retryAfterMs: waitMs, outcome: 'not_sent' })
}

/** Requests in flight end when they end. */
const unknownWaitMs = 1_000

function possibleUnits(limit: RateLimit, planned: PlannedRun): number {
  const { units, param } = unitsOf(limit.metric, planned)
  if (units <= limit.capacity) return units
  const problem = `the request takes ${describeUnits(limit.metric, units)} and can never pass: ${subjectOf(limit)} is limited to ${describeLimit(limit)}`
  throw gatewayError('INVALID_PARAMETER', { param, problem }, { outcome: 'not_sent' })
}
