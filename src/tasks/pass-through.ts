import type { Call } from '../call.ts'
import type { Delivery } from '../delivery/deliver.ts'
import { gatewayError } from '../errors.ts'
import type { GenerationEvent } from '../events.ts'
import { actualCost } from '../ledger/actual-cost.ts'
import { orderOf } from '../ledger/estimate.ts'
import { withCost } from '../ledger/with-cost.ts'
import { attempt, type ConfiguredProvider } from '../routing/attempt.ts'
import type { Part } from '../routing/parts.ts'
import type { Spool } from '../storage/spool.ts'
import { withRevisedPrompts } from './revised-prompts.ts'
import type { RunOrder } from './run-order.ts'
import { runParts } from './run-parts.ts'
import type { Runner } from './runner.ts'

export interface PassThroughDeps {
  providers: ReadonlyMap<string, ConfiguredProvider>
  delivery: Delivery
  spool: Spool
}

/** A runner that keeps nothing: an answer only passes through, and what its caller misses is gone. */
export function createPassThrough({ maxParallel = 4 }: { maxParallel?: number }, deps: PassThroughDeps): Runner {
  return {
    run(order, call) {
      if (order.request.requestId !== '') throw gatewayError('IDEMPOTENCY_UNAVAILABLE', { param: 'request_id' })
      return passThrough(order, call)
    }
  }

  async function* passThrough(order: RunOrder, call: Call): AsyncGenerator<GenerationEvent, void, undefined> {
    await using _ = order
    const { plan, wish } = order
    const { candidate, parts, warnings, promptAsRevised } = plan
    const { provider, model } = candidate
    const createdAt = Math.floor(Date.now() / 1000)
    yield { kind: 'accepted', taskId: '', createdAt, isReplay: false, provider, model, warnings }
    const attemptPart = (part: Part, each: Call) => {
      const upstream = withCost(attempt(plan, part, deps.providers, each), (delivered, ending) =>
        actualCost(orderOf(candidate, part.work), delivered, ending)
      )
      const delivered = deps.delivery.deliver(upstream, wish, each)
      return promptAsRevised === undefined ? delivered : withRevisedPrompts(delivered, promptAsRevised)
    }
    const [only] = parts
    const events =
      only && parts.length === 1
        ? attemptPart(only, call)
        : runParts(parts, { maxParallel, provider }, call, { spool: deps.spool, attempt: attemptPart })
    yield* withCost(events, (delivered, { cost }) => order.charge(cost, delivered))
  }
}
