import type { Call } from '../call.ts'
import type { Delivery } from '../delivery/deliver.ts'
import { gatewayError } from '../errors.ts'
import { startingWith, untilOver } from '../events/event-iterators.ts'
import type { GenerationEvent } from '../events.ts'
import { actualCost } from '../ledger/actual-cost.ts'
import { orderOf } from '../ledger/estimate.ts'
import { withCost } from '../ledger/with-cost.ts'
import type { ProviderEvent } from '../providers/provider.ts'
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

  function passThrough(order: RunOrder, call: Call): AsyncIterable<GenerationEvent> {
    const accept = (): AsyncIterable<GenerationEvent> => {
      const { provider, model } = order.plan.candidate
      const { warnings } = order.plan
      const createdAt = Math.floor(Date.now() / 1000)
      const accepted = { kind: 'accepted', taskId: '', createdAt, isReplay: false, provider, model, warnings } as const
      return startingWith<GenerationEvent>(accepted, () => attemptAll(order, call))
    }
    return untilOver(accept, () => order[Symbol.asyncDispose]())
  }

  function attemptAll({ plan, wish, charge }: RunOrder, call: Call): AsyncIterable<ProviderEvent> {
    const { candidate, parts, promptAsRevised } = plan
    const attemptPart = (part: Part, each: Call, finalCost: RunOrder['charge']) => {
      const upstream = withCost(attempt(plan, part, deps.providers, each), (delivered, ending) =>
        finalCost(actualCost(orderOf(candidate, part.work), delivered, ending), delivered)
      )
      const delivered = deps.delivery.deliver(upstream, wish, each)
      return promptAsRevised === undefined ? delivered : withRevisedPrompts(delivered, promptAsRevised)
    }
    const [only] = parts
    if (only && parts.length === 1) return attemptPart(only, call, charge)
    const events = runParts(parts, { maxParallel, provider: candidate.provider }, call, {
      spool: deps.spool,
      attempt: (part, each) => attemptPart(part, each, (cost) => cost)
    })
    return withCost(events, (delivered, { cost }) => charge(cost, delivered))
  }
}
