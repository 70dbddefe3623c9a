import type { GenerateImagesRequest } from '../../gen/atelier/v1/image_service_pb.ts'
import { ModelSchema } from '../../gen/atelier/v1/model_pb.ts'
import type { Call } from '../call.ts'
import { wireName } from '../contract/wire-names.ts'
import type { PlannedRequest, Prices } from '../ledger/prices.ts'
import { backendOf, type ConfiguredProvider } from '../routing/attempt.ts'
import type { ModelsOfCall } from '../routing/models-of-call.ts'
import { planGeneration } from '../routing/plan.ts'
import { understoodOptions } from '../routing/understood-options.ts'
import type { PlannedRun } from '../tasks/run-order.ts'
import type { RequestWays } from './task-order.ts'

export interface PlanRunOptions {
  /** How long hosted images and their links last. */
  linkLifetimeSeconds: number
}

export interface PlanRunDeps {
  modelsOf: ModelsOfCall
  providers: ReadonlyMap<string, ConfiguredProvider>
  prices: Prices
}

/** How a planned run differs from that of a caller who waits and sends no request id. */
export interface PlanRunWays extends RequestWays {
  /** Whether every linked image is stored here, because its link must work for longer than a provider's. */
  hostsAll?: boolean
}

/** Plans a generation: resolves the model and decides how it is served. Throws what the contract refuses. */
export function createPlanGeneration(options: PlanRunOptions, deps: PlanRunDeps) {
  const understands = understoodOptions(deps.providers)
  return (request: GenerateImagesRequest, ways: PlanRunWays, call: Call): PlannedRun => {
    const resolution = deps.modelsOf(call).resolve(writtenModel(request))
    const plan = planGeneration(request, resolution, understands)
    return toPlannedRun('generation', { request, resolution, plan }, ways, options, deps, call)
  }
}

/** What the runner needs besides the plan. */
export function toPlannedRun(
  operation: PlannedRun['operation'],
  planned: PlannedRequest,
  ways: PlanRunWays,
  options: PlanRunOptions,
  deps: PlanRunDeps,
  { choice }: Pick<Call, 'choice'>,
  release: () => Promise<void> = async () => undefined
): PlannedRun {
  const { request, plan } = planned
  const { provider } = plan.candidate
  const configured = deps.providers.get(provider)
  const { permanentLinks = false, hostsAll = false, notes = [] } = ways
  return {
    operation,
    request,
    plan: notes.length === 0 ? plan : { ...plan, warnings: [...plan.warnings, ...notes] },
    wish: {
      form: plan.form,
      keepProviderUrls: plan.keepProviderUrls && !permanentLinks && !hostsAll && request.requestId === '',
      output: plan.output,
      linkLifetimeSeconds: options.linkLifetimeSeconds,
      provider,
      trustedOrigins: configured ? backendOf(configured, choice).trustedOrigins : []
    },
    permanentLinks,
    charge: (cost, delivered) => deps.prices.withCharge(cost, planned, delivered),
    [Symbol.asyncDispose]: release
  }
}

/** The model as the caller wrote it; undefined where the request names none. */
export function writtenModel({ modelSelector }: GenerateImagesRequest): string | undefined {
  return modelSelector.case === 'model' ? wireName(ModelSchema, modelSelector.value) : modelSelector.value
}
