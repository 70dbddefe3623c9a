import type { GenerateImagesRequest } from '../../gen/atelier/v1/image_service_pb.ts'
import type { Call } from '../call.ts'
import { gatewayError } from '../errors.ts'
import type { GenerationEvent } from '../events.ts'
import type { Runner } from '../tasks/runner.ts'
import { asEdit, type PlanEdit, storedEdit, storedRequest, type VariationOrder } from './plan-edit-run.ts'
import type { RequestWays } from './task-order.ts'

/** What a variation is asked for with: OpenAI's own ones took no words, and no model makes them any more. */
const instruction =
  'Create a new variation of this image: keep its subject, style, palette and mood, and change the composition and the details.'

/** The parameters with the fixed instruction. Throws INVALID_PARAMETER where they hold a prompt of the caller's. */
export function withVariationPrompt(parameters: GenerateImagesRequest): GenerateImagesRequest {
  if (parameters.prompt === '') return { ...parameters, prompt: instruction }
  throw gatewayError('INVALID_PARAMETER', { param: 'prompt', problem: 'must be empty for variations; an edit takes a prompt' })
}

/** Makes variations of an image. The image that came with the request stays the caller's to dispose of. */
export function createCreateVariations({ planEdit, runner }: { planEdit: PlanEdit; runner: Runner }) {
  return async function* createVariations(order: VariationOrder, call: Call, ways: RequestWays): AsyncIterable<GenerationEvent> {
    const { traceId = '', isRepetition = false, permanentLinks } = ways
    const planned = await planEdit.variation(order, ways, call)
    const stored = storedRequest({ case: 'variation', value: storedEdit(asEdit(order)) }, permanentLinks)
    yield* runner.run({ ...planned, stored, traceId, isRepetition }, call)
  }
}
