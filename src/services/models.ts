import { create } from '@bufbuild/protobuf'
import {
  type GetModelRequest,
  type GetModelResponse,
  GetModelResponseSchema,
  type ListModelsResponse,
  ListModelsResponseSchema
} from '../../gen/atelier/v1/model_service_pb.ts'
import type { Models } from '../routing/models.ts'

/** Lists the models that the configured providers serve. */
export function createListModels(deps: { models: Models }) {
  return (): ListModelsResponse => create(ListModelsResponseSchema, { models: deps.models.list() })
}

/** Finds one model by any name that a request may use. */
export function createGetModel(deps: { models: Models }) {
  return (request: GetModelRequest): GetModelResponse => create(GetModelResponseSchema, { model: deps.models.get(request.name) })
}
