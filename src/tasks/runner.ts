import type { Call } from '../call.ts'
import { gatewayError } from '../errors.ts'
import type { GenerationEvent } from '../events.ts'
import { actualCost } from '../ledger/actual-cost.ts'
import { orderOf } from '../ledger/estimate.ts'
import { withCost } from '../ledger/with-cost.ts'
import { attempt, type ConfiguredProvider } from '../routing/attempt.ts'
import type { Part } from '../routing/parts.ts'
import type { Plan } from '../routing/plan.ts'
import type { Spool } from '../storage/spool.ts'
import { withRevisedPrompts } from './revised-prompts.ts'
import { runParts } from './run-parts.ts'

export interface RunnerOptions {
  /** Most calls that one request makes at a time; 4 unless told. */
  maxParallel?: number
}

/** Carries out plans. It is the only caller of `attempt`. */
export interface Runner {
  /** Refuses a request id (IDEMPOTENCY_UNAVAILABLE): without kept tasks a repetition would be executed, and billed, again. */
  run(plan: Plan, requestId: string, call: Call): AsyncIterable<GenerationEvent>
}

export function createRunner(
  { maxParallel = 4 }: RunnerOptions,
  deps: { providers: ReadonlyMap<string, ConfiguredProvider>; spool: Spool }
): Runner {
  async function* execute(plan: Plan, call: Call): AsyncIterable<GenerationEvent> {
    const { candidate, parts, warnings, promptAsRevised } = plan
    yield { kind: 'accepted', taskId: '', provider: candidate.provider, model: candidate.model, warnings }
    const attemptPart = (part: Part, each: Call) =>
      withCost(attempt(plan, part, deps.providers, each), (delivered, ending) =>
        actualCost(orderOf(candidate, part.work), delivered, ending)
      )
    const [only] = parts
    const events =
      only && parts.length === 1
        ? attemptPart(only, call)
        : runParts(parts, { maxParallel, provider: candidate.provider }, call, { spool: deps.spool, attempt: attemptPart })
    yield* promptAsRevised === undefined ? events : withRevisedPrompts(events, promptAsRevised)
  }

  return {
    run(plan, requestId, call) {
      if (requestId !== '') throw gatewayError('IDEMPOTENCY_UNAVAILABLE', { param: 'request_id' })
      return execute(plan, call)
    }
  }
}
