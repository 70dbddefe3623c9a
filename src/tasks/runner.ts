import type { Call } from '../call.ts'
import { gatewayError } from '../errors.ts'
import type { GenerationEvent } from '../events.ts'
import { attempt, type ConfiguredProvider } from '../routing/attempt.ts'
import type { Plan } from '../routing/plan.ts'

/** Carries out plans. It is the only caller of `attempt`. */
export interface Runner {
  /** Refuses a request id (IDEMPOTENCY_UNAVAILABLE): without kept tasks a repetition would be executed, and billed, again. */
  run(plan: Plan, requestId: string, call: Call): AsyncIterable<GenerationEvent>
}

export function createRunner(deps: { providers: ReadonlyMap<string, ConfiguredProvider> }): Runner {
  return {
    run(plan, requestId, call) {
      if (requestId !== '') throw gatewayError('IDEMPOTENCY_UNAVAILABLE', { param: 'request_id' })
      return attempt(plan, '', deps.providers, call)
    }
  }
}
