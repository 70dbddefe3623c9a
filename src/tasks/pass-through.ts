import type { Call } from '../call.ts'
import type { Delivery } from '../delivery/deliver.ts'
import { gatewayError } from '../errors.ts'
import { openEvents, startingWith, untilOver } from '../events/event-iterators.ts'
import type { GenerationEvent } from '../events.ts'
import { actualCost } from '../ledger/actual-cost.ts'
import { orderOf } from '../ledger/estimate.ts'
import { type CostOf, withCost } from '../ledger/with-cost.ts'
import type { ProviderEvent } from '../providers/provider.ts'
import { attempt, type ConfiguredProvider, isKeyRefused, keyMissing } from '../routing/attempt.ts'
import type { ChosenCredential, Credentials } from '../routing/credentials.ts'
import type { Part } from '../routing/parts.ts'
import type { Spool } from '../storage/spool.ts'
import { createCredentialNotes } from './credential-notes.ts'
import { withRevisedPrompts } from './revised-prompts.ts'
import type { RunOrder } from './run-order.ts'
import { runParts } from './run-parts.ts'
import type { Runner } from './runner.ts'

export interface PassThroughDeps {
  providers: ReadonlyMap<string, ConfiguredProvider>
  credentials: Pick<Credentials, 'choose' | 'recordUse'>
  delivery: Delivery
  spool: Spool
}

/** A runner that keeps nothing: an answer only passes through, and what its caller misses is gone. */
export function createPassThrough({ maxParallel = 4 }: { maxParallel?: number }, deps: PassThroughDeps): Runner {
  return {
    run(order, call) {
      if (order.request.requestId === '') return passThrough(order, call)
      return openEvents(async () => {
        await order[Symbol.asyncDispose]()
        throw gatewayError('IDEMPOTENCY_UNAVAILABLE', { param: 'request_id' })
      })
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
    const { provider } = candidate
    const notes = createCredentialNotes(call.calledWith)
    const credentials = () => ({ credentials: notes.kinds() })

    const attemptWith = (credential: ChosenCredential, part: Part, each: Call, finalCost: RunOrder['charge']) => {
      notes.note(parts.indexOf(part), credential)
      deps.credentials.recordUse(credential)
      const costOf: CostOf = (delivered, ending) => finalCost(actualCost(orderOf(candidate, part.work), delivered, ending), delivered)
      const upstream = withCost(attempt(plan, part, deps.providers, credential, each), costOf, credentials)
      const delivered = deps.delivery.deliver(upstream, wish, each)
      return promptAsRevised === undefined ? delivered : withRevisedPrompts(delivered, promptAsRevised)
    }
    const attemptPart = (part: Part, each: Call, finalCost: RunOrder['charge']) => {
      const [first, ...others] = deps.credentials.choose(call.caller.organizationId, provider, call.choice)
      if (!first) throw keyMissing(candidate)
      return others.length === 0 ? attemptWith(first, part, each, finalCost) : attemptInTurn([first, ...others], part, each, finalCost)
    }
    /** With the next key where the provider refuses one, which it does before anything else. */
    async function* attemptInTurn(
      [credential, ...others]: readonly ChosenCredential[],
      part: Part,
      each: Call,
      finalCost: RunOrder['charge']
    ): AsyncGenerator<ProviderEvent, void, undefined> {
      if (!credential) throw keyMissing(candidate)
      let isBegun = false
      try {
        for await (const event of attemptWith(credential, part, each, finalCost)) {
          isBegun = true
          yield event
        }
        return
      } catch (error) {
        if (isBegun || others.length === 0 || each.signal.aborted || !isKeyRefused(error)) throw error
      }
      yield* attemptInTurn(others, part, each, finalCost)
    }

    const [only] = parts
    if (only && parts.length === 1) return attemptPart(only, call, charge)
    const events = runParts(parts, { maxParallel, provider }, call, {
      spool: deps.spool,
      attempt: (part, each) => attemptPart(part, each, (cost) => cost)
    })
    return withCost(events, (delivered, { cost }) => charge(cost, delivered), credentials)
  }
}
