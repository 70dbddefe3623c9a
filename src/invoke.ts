import type { DescMessage, MessageShape } from '@bufbuild/protobuf'
import {
  type EstimateCostRequest,
  type EstimateCostResponse,
  type GenerateImagesRequest,
  GenerateImagesRequestSchema
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
import type { Call } from './call.ts'
import { gatewayError } from './errors.ts'
import type { GenerationEvent } from './events.ts'

/** Every operation of the server; REST and RPC are two ways to call them. */
export interface Operations {
  generateImages(request: GenerateImagesRequest, call: Call): AsyncIterable<GenerationEvent>
  estimateCost(request: EstimateCostRequest, call: Call): Promise<EstimateCostResponse>
  listModels(request: ListModelsRequest, call: Call): Promise<ListModelsResponse>
  getModel(request: GetModelRequest, call: Call): Promise<GetModelResponse>
}

export interface Services {
  generateImages(request: GenerateImagesRequest, call: Call): AsyncIterable<GenerationEvent>
  estimateCost(request: GenerateImagesRequest): EstimateCostResponse
  listModels(): ListModelsResponse
  getModel(request: GetModelRequest): GetModelResponse
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

  const admit = <Desc extends DescMessage>(type: Desc, request: MessageShape<Desc>, call: Call) => {
    requireScope(call.caller, 'generate')
    validate(type, request)
  }

  return {
    generateImages: (request, call) =>
      inOnePlace(() => {
        admit(GenerateImagesRequestSchema, request, call)
        return services.generateImages(normalizeGenerateImages(request), call)
      }),
    estimateCost: async ({ request }, call) => {
      requireScope(call.caller, 'generate')
      if (!request) throw gatewayError('MISSING_PARAMETER', { param: 'request' })
      // Not as a part of the outer message, so that errors name parameters as they do for the request itself.
      validate(GenerateImagesRequestSchema, request)
      return services.estimateCost(normalizeGenerateImages(request))
    },
    listModels: async (_, call) => {
      requireScope(call.caller, 'generate')
      return services.listModels()
    },
    getModel: async (request, call) => {
      admit(GetModelRequestSchema, request, call)
      return services.getModel(request)
    }
  }
}
