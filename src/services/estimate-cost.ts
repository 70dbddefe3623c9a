import { create } from '@bufbuild/protobuf'
import { type EstimateCostResponse, EstimateCostResponseSchema, type GenerateImagesRequest } from '../../gen/atelier/v1/image_service_pb.ts'
import type { Call } from '../call.ts'
import type { Prices } from '../ledger/prices.ts'
import type { ConfiguredProvider } from '../routing/attempt.ts'
import type { ModelsOfCall } from '../routing/models-of-call.ts'
import { planGeneration } from '../routing/plan.ts'
import { understoodOptions } from '../routing/understood-options.ts'
import { writtenModel } from './plan-run.ts'

export interface EstimateCostDeps {
  modelsOf: ModelsOfCall
  providers: ReadonlyMap<string, ConfiguredProvider>
  prices: Prices
}

/** Plans a request as if it were to be served, throwing what that throws, and tells what it would cost. */
export function createEstimateCost(deps: EstimateCostDeps) {
  const understands = understoodOptions(deps.providers)
  return (request: GenerateImagesRequest, call: Call): EstimateCostResponse => {
    const resolution = deps.modelsOf(call).resolve(writtenModel(request))
    const plan = planGeneration(request, resolution, understands)
    const { provider, model } = plan.candidate
    const estimate = deps.prices.estimate({ request, resolution, plan })
    return create(EstimateCostResponseSchema, { estimate, provider, model, warnings: plan.warnings })
  }
}
