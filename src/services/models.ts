import { create } from '@bufbuild/protobuf'
import {
  type GetModelRequest,
  type GetModelResponse,
  GetModelResponseSchema,
  type ListModelsResponse,
  ListModelsResponseSchema
} from '../../gen/atelier/v1/model_service_pb.ts'
import type { Call } from '../call.ts'
import type { ModelsOfCall } from '../routing/models-of-call.ts'

/** Lists the models that the configured providers serve and the caller may use. */
export function createListModels(deps: { modelsOf: ModelsOfCall }) {
  return (call: Call): ListModelsResponse => create(ListModelsResponseSchema, { models: deps.modelsOf(call).list() })
}

/** Finds one model by any name that a request may use. */
export function createGetModel(deps: { modelsOf: ModelsOfCall }) {
  return (request: GetModelRequest, call: Call): GetModelResponse =>
    create(GetModelResponseSchema, { model: deps.modelsOf(call).get(request.name) })
}
