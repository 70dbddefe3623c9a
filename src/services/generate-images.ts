import type { GenerateImagesRequest } from '../../gen/atelier/v1/image_service_pb.ts'
import type { Call } from '../call.ts'
import type { GenerationEvent } from '../events.ts'
import type { PlannedRun } from '../tasks/run-order.ts'
import type { Runner } from '../tasks/runner.ts'
import { storedRequest } from './plan-edit-run.ts'
import type { PlanRunWays } from './plan-run.ts'
import type { RequestWays } from './task-order.ts'

export interface GenerateImagesDeps {
  planGeneration(request: GenerateImagesRequest, ways: PlanRunWays, call: Call): PlannedRun
  runner: Runner
}

/** Serves one request: plan, run, charge, deliver in the wished form. */
export function createGenerateImages({ planGeneration, runner }: GenerateImagesDeps) {
  return (request: GenerateImagesRequest, call: Call, ways: RequestWays): AsyncIterable<GenerationEvent> => {
    const { traceId = '', isRepetition = false, permanentLinks } = ways
    const planned = planGeneration(request, ways, call)
    const stored = storedRequest({ case: 'generation', value: request }, permanentLinks)
    return runner.run({ ...planned, stored, traceId, isRepetition }, call)
  }
}
