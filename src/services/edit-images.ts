import type { InputFidelity, Warning } from '../../gen/atelier/v1/image_pb.ts'
import type { GenerateImagesRequest } from '../../gen/atelier/v1/image_service_pb.ts'
import type { Call } from '../call.ts'
import { gatewayError } from '../errors.ts'
import type { GenerationEvent } from '../events.ts'
import { modelsFor } from '../routing/models-for.ts'
import { planEdit } from '../routing/plan-edit.ts'
import { resolveEditing } from '../routing/resolve-editing.ts'
import { understoodOptions } from '../routing/understood-options.ts'
import { type GenerateImagesDeps, type GenerateImagesOptions, servePlan, writtenModel } from './generate-images.ts'
import { type InputSource, type TakeInputsDeps, takeInputs } from './take-inputs.ts'

/** Images, and what to make of them. */
export interface EditOrder {
  parameters: GenerateImagesRequest
  /** At least one. */
  images: readonly InputSource[]
  mask?: InputSource
  inputFidelity: InputFidelity
}

export type EditImagesDeps = GenerateImagesDeps & TakeInputsDeps

/**
 * Serves one edit: resolve the model, plan, take the images in and check them, then as a generation. What the model refuses is refused
 * before anything is fetched. The images that came with the request stay the caller's to dispose of; those that were fetched go at the end.
 */
export function createEditImages(options: GenerateImagesOptions, deps: EditImagesDeps) {
  const understands = understoodOptions(deps.providers)
  return async function* editImages(order: EditOrder, call: Call, notes: readonly Warning[] = []): AsyncIterable<GenerationEvent> {
    const { parameters, images, mask, inputFidelity } = order
    if (images.length === 0) throw gatewayError('MISSING_PARAMETER', { param: 'image' })
    const excess = images[maxImages]
    if (excess)
      throw gatewayError('INVALID_PARAMETER', { param: excess.param, problem: `is too many: an edit takes at most ${maxImages} images` })
    const resolution = resolveEditing(modelsFor(call.caller, deps.models), writtenModel(parameters))
    const asked = { imageParams: images.map(({ param }) => param), mask: mask !== undefined, inputFidelity }
    const plan = planEdit(parameters, resolution, understands, asked)
    await using taken = new AsyncDisposableStack()
    const inputs = { ...(await takeInputs({ images, mask }, call, taken, deps)), inputFidelity: plan.inputFidelity }
    const withInputs = {
      ...plan,
      warnings: [...plan.warnings, ...notes],
      work: { ...plan.work, inputs },
      parts: plan.parts.map((part) => ({ ...part, work: { ...part.work, inputs } }))
    }
    yield* servePlan({ request: parameters, resolution, plan: withInputs }, options, call, deps)
  }
}

/** As many as the vendor that takes most. */
const maxImages = 16
