import type { GenerateImagesRequest } from '../../gen/atelier/v1/image_service_pb.ts'
import { ModelSchema } from '../../gen/atelier/v1/model_pb.ts'
import type { Call } from '../call.ts'
import { wireName } from '../contract/wire-names.ts'
import type { Delivery } from '../delivery/deliver.ts'
import type { GenerationEvent } from '../events.ts'
import type { Ending } from '../ledger/actual-cost.ts'
import type { PlannedRequest, Prices } from '../ledger/prices.ts'
import { withCost } from '../ledger/with-cost.ts'
import type { ConfiguredProvider } from '../routing/attempt.ts'
import type { Models } from '../routing/models.ts'
import { modelsFor } from '../routing/models-for.ts'
import { planGeneration } from '../routing/plan.ts'
import { understoodOptions } from '../routing/understood-options.ts'
import type { Runner } from '../tasks/runner.ts'

export interface GenerateImagesOptions {
  /** How long hosted images and their links last. */
  linkLifetimeSeconds: number
}

export interface GenerateImagesDeps {
  models: Models
  providers: ReadonlyMap<string, ConfiguredProvider>
  runner: Runner
  prices: Prices
  delivery: Delivery
}

/** Serves one request: resolve the model, plan, run, charge, deliver in the wished form. */
export function createGenerateImages(options: GenerateImagesOptions, deps: GenerateImagesDeps) {
  const understands = understoodOptions(deps.providers)
  return (request: GenerateImagesRequest, call: Call): AsyncIterable<GenerationEvent> => {
    const resolution = modelsFor(call.caller, deps.models).resolve(writtenModel(request))
    const plan = planGeneration(request, resolution, understands)
    return servePlan({ request, resolution, plan }, options, call, deps)
  }
}

/** Runs what was planned, charges for it, and delivers it in the wished form. */
export function servePlan(
  planned: PlannedRequest,
  options: GenerateImagesOptions,
  call: Call,
  deps: Omit<GenerateImagesDeps, 'models'>
): AsyncIterable<GenerationEvent> {
  const { request, plan } = planned
  const { provider } = plan.candidate
  const charged = (delivered: number, { cost }: Ending) => deps.prices.withCharge(cost, planned, delivered)
  return deps.delivery.deliver(
    withCost(deps.runner.run(plan, request.requestId, call), charged),
    {
      form: plan.form,
      keepProviderUrls: plan.keepProviderUrls,
      output: plan.output,
      linkLifetimeSeconds: options.linkLifetimeSeconds,
      provider,
      trustedOrigins: deps.providers.get(provider)?.backend.trustedOrigins ?? []
    },
    call
  )
}

/** The model as the caller wrote it; undefined where the request names none. */
export function writtenModel({ modelSelector }: GenerateImagesRequest): string | undefined {
  return modelSelector.case === 'model' ? wireName(ModelSchema, modelSelector.value) : modelSelector.value
}
