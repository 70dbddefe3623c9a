import type { DescMessage, MessageShape } from '@bufbuild/protobuf'
import {
  type EstimateCostRequest,
  type EstimateCostResponse,
  type GenerateImagesRequest,
  GenerateImagesRequestSchema,
  type UploadImageResponse
} from '../gen/atelier/v1/image_service_pb.ts'
import {
  type GetModelRequest,
  GetModelRequestSchema,
  type GetModelResponse,
  type ListModelsRequest,
  type ListModelsResponse
} from '../gen/atelier/v1/model_service_pb.ts'
import { requireScope } from './admission/authenticate.ts'
import { normalizeGenerateImages } from './admission/normalize.ts'
import { createValidate } from './admission/validate.ts'
import type { Call, Scope } from './call.ts'
import { gatewayError } from './errors.ts'
import type { GenerationEvent } from './events.ts'
import { type VariationOrder, withVariationPrompt } from './services/create-variations.ts'
import type { EditOrder } from './services/edit-images.ts'
import { disposingUploads } from './services/take-inputs.ts'

/** Every operation of the server; REST and RPC are two ways to call them. */
export interface Operations {
  generateImages(request: GenerateImagesRequest, call: Call): AsyncIterable<GenerationEvent>
  /** Takes over the uploads of the order: they are disposed of when the events end or are left, whatever happens. */
  editImages(order: EditOrder, call: Call): AsyncIterable<GenerationEvent>
  /** Takes over the upload, as `editImages` does. The prompt must be empty. */
  createVariations(order: VariationOrder, call: Call): AsyncIterable<GenerationEvent>
  /** Keeps an image for an hour, for edits to refer to. */
  uploadImage(source: AsyncIterable<Uint8Array>, call: Call): Promise<UploadImageResponse>
  estimateCost(request: EstimateCostRequest, call: Call): Promise<EstimateCostResponse>
  listModels(request: ListModelsRequest, call: Call): Promise<ListModelsResponse>
  getModel(request: GetModelRequest, call: Call): Promise<GetModelResponse>
}

export interface Services {
  generateImages(request: GenerateImagesRequest, call: Call): AsyncIterable<GenerationEvent>
  editImages(order: EditOrder, call: Call): AsyncIterable<GenerationEvent>
  createVariations(order: VariationOrder, call: Call): AsyncIterable<GenerationEvent>
  uploadImage(source: AsyncIterable<Uint8Array>, call: Call): Promise<UploadImageResponse>
  estimateCost(request: GenerateImagesRequest, call: Call): EstimateCostResponse
  listModels(call: Call): ListModelsResponse
  getModel(request: GetModelRequest, call: Call): GetModelResponse
}

/** What happens to every request before its service sees it: the key's scope, the schema's rules, one spelling, and a free place. */
export function createOperations(options: { maxInFlight: number }, services: Services): Operations {
  const validate = createValidate([GenerateImagesRequestSchema, GetModelRequestSchema])
  let inFlight = 0

  async function* inOnePlace(run: () => AsyncIterable<GenerationEvent>): AsyncIterable<GenerationEvent> {
    if (inFlight >= options.maxInFlight)
      throw gatewayError('OVERLOADED', { limit: options.maxInFlight }, { retryAfterMs: 1000, outcome: 'not_sent' })
    inFlight += 1
    try {
      yield* run()
    } finally {
      inFlight -= 1
    }
  }

  const admit = <Desc extends DescMessage>(type: Desc, request: MessageShape<Desc>, call: Call, scope: Scope = 'generate') => {
    requireScope(call.caller, scope)
    validate(type, request)
  }

  return {
    generateImages: (request, call) =>
      inOnePlace(() => {
        admit(GenerateImagesRequestSchema, request, call)
        return services.generateImages(normalizeGenerateImages(request), call)
      }),
    editImages: (order, call) =>
      disposingUploads(
        [...order.images, order.mask],
        inOnePlace(() => {
          admit(GenerateImagesRequestSchema, order.parameters, call, 'edit')
          return services.editImages({ ...order, parameters: normalizeGenerateImages(order.parameters) }, call)
        })
      ),
    createVariations: (order, call) =>
      disposingUploads(
        [order.image],
        inOnePlace(() => {
          const parameters = withVariationPrompt(order.parameters)
          admit(GenerateImagesRequestSchema, parameters, call, 'edit')
          return services.createVariations({ ...order, parameters: normalizeGenerateImages(parameters) }, call)
        })
      ),
    uploadImage: async (source, call) => {
      requireScope(call.caller, 'edit')
      return services.uploadImage(source, call)
    },
    estimateCost: async ({ request }, call) => {
      requireScope(call.caller, 'generate')
      if (!request) throw gatewayError('MISSING_PARAMETER', { param: 'request' })
      // Not as a part of the outer message, so that errors name parameters as they do for the request itself.
      validate(GenerateImagesRequestSchema, request)
      return services.estimateCost(normalizeGenerateImages(request), call)
    },
    listModels: async (_, call) => {
      requireScope(call.caller, 'generate')
      return services.listModels(call)
    },
    getModel: async (request, call) => {
      admit(GetModelRequestSchema, request, call)
      return services.getModel(request, call)
    }
  }
}
