import { create } from '@bufbuild/protobuf'
import { InputFidelity, InputFidelitySchema, WarningKind, WarningSchema } from '../../gen/atelier/v1/image_pb.ts'
import type { GenerateImagesRequest } from '../../gen/atelier/v1/image_service_pb.ts'
import type { ModelCapabilities } from '../../gen/atelier/v1/model_pb.ts'
import { wireName } from '../contract/wire-names.ts'
import { gatewayError } from '../errors.ts'
import type { Resolution } from './models.ts'
import { type Plan, planGeneration } from './plan.ts'

/** What an edit asks besides the parameters that it shares with a generation. */
export interface AskedEdit {
  /** What the input images are called in the request. */
  imageParams: readonly string[]
  mask: boolean
  inputFidelity: InputFidelity
}

/** The plan of an edit, still without its images. */
export interface EditPlan extends Plan {
  /** Unset where the serving model does not distinguish it, or nothing is known of the model and its provider does not understand it. */
  inputFidelity: InputFidelity
}

/**
 * Decides how an edit is served, as `planGeneration` does. Throws INVALID_PARAMETER where the written model or the one that serves it cannot
 * edit, takes fewer images, or no mask: an input is never left out. Where the caller named no model, the contract is the serving model's own:
 * the default model may be one that never could edit.
 */
export function planEdit(
  request: GenerateImagesRequest,
  resolution: Resolution,
  understands: (provider: string, upstreamModel: string) => 'any option' | readonly string[],
  asked: AskedEdit
): EditPlan {
  const { candidate, writtenName, defaulted } = resolution
  const contract = defaulted ? undefined : (resolution.written ?? candidate.replaces)
  if (contract?.capabilities) checkInputs(asked, writtenName, contract.capabilities)
  if (candidate.info.capabilities) checkInputs(asked, candidate.model, candidate.info.capabilities)
  const plan = planGeneration(request, resolution, understands, { bound: !defaulted })
  const options = understands(candidate.provider, candidate.upstreamModel)
  const distinguished = candidate.info.capabilities?.inputFidelities
  const isHonoured = distinguished?.includes(asked.inputFidelity) ?? (options === 'any option' || options.includes('input_fidelity'))
  if (!asked.inputFidelity || isHonoured) return { ...plan, inputFidelity: asked.inputFidelity }
  const levels = distinguished?.map((level) => wireName(InputFidelitySchema, level)).join(' and ')
  const message = `${candidate.model} ${levels ? `knows only ${levels}` : 'does not distinguish how closely to keep to the images'}`
  if (request.strict)
    throw gatewayError('UNSUPPORTED_PARAMETER', { problem: `input_fidelity: ${message}` }, { param: 'input_fidelity', outcome: 'not_sent' })
  const warning = create(WarningSchema, { kind: WarningKind.IGNORED, param: 'input_fidelity', message })
  return { ...plan, warnings: [...plan.warnings, warning], inputFidelity: InputFidelity.UNSPECIFIED }
}

function checkInputs({ imageParams, mask }: AskedEdit, name: string, { maxInputImages, mask: takesMask }: ModelCapabilities): void {
  const refuse = (param: string, problem: string) => gatewayError('INVALID_PARAMETER', { param, problem }, { outcome: 'not_sent' })
  if (maxInputImages === 0) throw refuse('model', `${name} cannot edit images`)
  const excess = imageParams[maxInputImages]
  if (excess !== undefined) {
    const most = maxInputImages === 1 ? '1 input image' : `${maxInputImages} input images`
    throw refuse(excess, `is too many: ${name} takes at most ${most}, not ${imageParams.length}`)
  }
  if (mask && !takesMask) throw refuse('mask', `${name} takes no mask`)
}
