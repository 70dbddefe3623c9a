import { create } from '@bufbuild/protobuf'
import { InputFidelity, type Warning, WarningKind, WarningSchema } from '../../gen/atelier/v1/image_pb.ts'
import type { GenerateImagesRequest } from '../../gen/atelier/v1/image_service_pb.ts'
import { Model } from '../../gen/atelier/v1/model_pb.ts'
import {
  type StoredEdit,
  StoredEditSchema,
  type StoredInput,
  StoredInputSchema,
  type StoredRequest,
  StoredRequestSchema
} from '../../gen/atelier/v1/stored_pb.ts'
import type { Call } from '../call.ts'
import { GatewayError, gatewayError } from '../errors.ts'
import type { EditInputs } from '../providers/provider.ts'
import type { Models } from '../routing/models.ts'
import { planEdit } from '../routing/plan-edit.ts'
import { resolveEditing } from '../routing/resolve-editing.ts'
import { understoodOptions } from '../routing/understood-options.ts'
import type { PlannedRun } from '../tasks/run-order.ts'
import { type PlanRunDeps, type PlanRunOptions, type PlanRunWays, toPlannedRun, writtenModel } from './plan-run.ts'
import { type InputSource, type TakeInputsDeps, takeInputs } from './take-inputs.ts'

/** Images, and what to make of them. */
export interface EditOrder {
  parameters: GenerateImagesRequest
  /** At least one. */
  images: readonly InputSource[]
  mask?: InputSource
  inputFidelity: InputFidelity
}

/** An image to make variations of. */
export interface VariationOrder {
  image: InputSource
  parameters: GenerateImagesRequest
}

/** A planned edit with its inputs, which are here and sound. */
export interface PlannedEdit extends PlannedRun {
  inputs: EditInputs
}

export interface PlanEdit {
  /**
   * Plans an edit: resolves the model, plans, takes the images in and checks them. What the model refuses is refused before anything is
   * fetched. The uploads of the order stay the caller's; the run holds shares of them.
   */
  edit(order: EditOrder, ways: PlanRunWays, call: Call): Promise<PlannedEdit>
  /**
   * Plans variations as an edit of the one image, and says so in a warning. The parameters hold the instruction already. Where they name no
   * model it is dall-e-2, whoever serves that now, as its vendor documented; where nobody does, the model of an edit without a name.
   */
  variation(order: VariationOrder, ways: PlanRunWays, call: Call): Promise<PlannedEdit>
}

export function createPlanEdit(options: PlanRunOptions, deps: PlanRunDeps & TakeInputsDeps): PlanEdit {
  const understands = understoodOptions(deps.providers)

  async function plan(
    operation: 'edit' | 'variation',
    { parameters, images, mask, inputFidelity }: EditOrder,
    ways: PlanRunWays,
    call: Call
  ): Promise<PlannedEdit> {
    if (images.length === 0) throw gatewayError('MISSING_PARAMETER', { param: 'image' })
    const excess = images[maxImages]
    if (excess)
      throw gatewayError('INVALID_PARAMETER', { param: excess.param, problem: `is too many: an edit takes at most ${maxImages} images` })
    const resolution = resolveEditing(deps.modelsOf(call), writtenModel(parameters))
    const asked = { imageParams: images.map(({ param }) => param), mask: mask !== undefined, inputFidelity }
    const plan = planEdit(parameters, resolution, understands, asked)
    await using taken = new AsyncDisposableStack()
    for (const source of [...images, mask]) if (source?.kind === 'upload') taken.use(source.upload.share())
    const inputs = { ...(await takeInputs({ images, mask }, call, taken, deps)), inputFidelity: plan.inputFidelity }
    const withInputs = {
      ...plan,
      work: { ...plan.work, inputs },
      parts: plan.parts.map((part) => ({ ...part, work: { ...part.work, inputs } }))
    }
    const planned = { request: parameters, resolution, plan: withInputs }
    const run = toPlannedRun(operation, planned, ways, options, deps, call, () => held.disposeAsync())
    const held = taken.move()
    return { ...run, inputs }
  }

  return {
    edit: (order, ways, call) => plan('edit', order, ways, call),
    variation: ({ image, parameters }, ways, call) => {
      const named = withDefaultModel(parameters, deps.modelsOf(call))
      const order = { parameters: named, images: [image], inputFidelity: InputFidelity.UNSPECIFIED }
      return plan('variation', order, { ...ways, notes: [...(ways.notes ?? []), madeByEdit] }, call)
    }
  }
}

/** As many as the vendor that takes most. */
const maxImages = 16

const madeByEdit: Warning = create(WarningSchema, {
  kind: WarningKind.EMULATED,
  param: 'image',
  message: 'variations are made by an edit with a fixed instruction, because no model makes them by itself any more'
})

function withDefaultModel(parameters: GenerateImagesRequest, models: Models): GenerateImagesRequest {
  const isOpen = writtenModel(parameters) === undefined && isServed(models, 'dall-e-2')
  return isOpen ? { ...parameters, modelSelector: { case: 'model', value: Model.DALL_E_2 } } : parameters
}

function isServed(models: Models, name: string): boolean {
  try {
    models.resolve(name)
    return true
  } catch (error) {
    if (error instanceof GatewayError) return false
    throw error
  }
}

/** An edit as it is recorded; `inputOf` says where each input is found again. */
export function storedEdit(
  { parameters, images, mask, inputFidelity }: EditOrder,
  inputOf: (source: InputSource) => StoredInput['source'] = sourceOf
): StoredEdit {
  const toInput = (source: InputSource) => create(StoredInputSchema, { param: source.param, source: inputOf(source) })
  return create(StoredEditSchema, { parameters, images: images.map(toInput), inputFidelity, ...(mask && { mask: toInput(mask) }) })
}

/** A variation is recorded as the edit that it is. */
export function asEdit({ image, parameters }: VariationOrder): EditOrder {
  return { parameters, images: [image], inputFidelity: InputFidelity.UNSPECIFIED }
}

export function storedRequest(operation: StoredRequest['operation'], permanentLinks = false, callbackUrl = ''): StoredRequest {
  return create(StoredRequestSchema, { operation, permanentLinks, callbackUrl })
}

function sourceOf(source: InputSource): StoredInput['source'] {
  switch (source.kind) {
    case 'upload':
      return { case: 'digest', value: source.upload.digest }
    case 'url':
      return { case: 'url', value: source.url }
    case 'image_id':
      return { case: 'imageId', value: source.imageId }
  }
}
