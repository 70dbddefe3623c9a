import { create } from '@bufbuild/protobuf'
import { InputFidelity, type Warning, WarningKind, WarningSchema } from '../../gen/atelier/v1/image_pb.ts'
import type { GenerateImagesRequest } from '../../gen/atelier/v1/image_service_pb.ts'
import { Model } from '../../gen/atelier/v1/model_pb.ts'
import type { Call } from '../call.ts'
import { GatewayError, gatewayError } from '../errors.ts'
import type { GenerationEvent } from '../events.ts'
import type { Models } from '../routing/models.ts'
import { modelsFor } from '../routing/models-for.ts'
import type { EditOrder } from './edit-images.ts'
import { writtenModel } from './generate-images.ts'
import type { InputSource } from './take-inputs.ts'

/** An image to make variations of. */
export interface VariationOrder {
  image: InputSource
  parameters: GenerateImagesRequest
}

/** What a variation is asked for with: OpenAI's own ones took no words, and no model makes them any more. */
const instruction =
  'Create a new variation of this image: keep its subject, style, palette and mood, and change the composition and the details.'

/** The parameters with the fixed instruction. Throws INVALID_PARAMETER where they hold a prompt of the caller's. */
export function withVariationPrompt(parameters: GenerateImagesRequest): GenerateImagesRequest {
  if (parameters.prompt === '') return { ...parameters, prompt: instruction }
  throw gatewayError('INVALID_PARAMETER', { param: 'prompt', problem: 'must be empty for variations; an edit takes a prompt' })
}

export interface CreateVariationsDeps {
  models: Models
  editImages(order: EditOrder, call: Call, notes: readonly Warning[]): AsyncIterable<GenerationEvent>
}

/**
 * Makes variations by an edit of the one image, and says so in a warning. The parameters hold the instruction already. Where they name no
 * model it is dall-e-2, whoever serves that now, as its vendor documented; where nobody does, the model of an edit without a name.
 */
export function createCreateVariations({ models, editImages }: CreateVariationsDeps) {
  const message = 'variations are made by an edit with a fixed instruction, because no model makes them by itself any more'
  return ({ image, parameters }: VariationOrder, call: Call): AsyncIterable<GenerationEvent> => {
    const isOpen = writtenModel(parameters) === undefined && isServed(modelsFor(call.caller, models), 'dall-e-2')
    const named: GenerateImagesRequest = isOpen ? { ...parameters, modelSelector: { case: 'model', value: Model.DALL_E_2 } } : parameters
    return editImages({ parameters: named, images: [image], inputFidelity: InputFidelity.UNSPECIFIED }, call, [
      create(WarningSchema, { kind: WarningKind.EMULATED, param: 'image', message })
    ])
  }
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
