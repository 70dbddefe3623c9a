import { create } from '@bufbuild/protobuf'
import {
  type GetModelRequest,
  type GetModelResponse,
  GetModelResponseSchema,
  type ListModelsResponse,
  ListModelsResponseSchema
} from '../../gen/atelier/v1/model_service_pb.ts'
import type { Call } from '../call.ts'
import type { Models } from '../routing/models.ts'
import { modelsFor } from '../routing/models-for.ts'

/** Lists the models that the configured providers serve and the caller may use. */
export function createListModels(deps: { models: Models }) {
  return ({ caller }: Call): ListModelsResponse => create(ListModelsResponseSchema, { models: modelsFor(caller, deps.models).list() })
}

/** Finds one model by any name that a request may use. */
export function createGetModel(deps: { models: Models }) {
  return (request: GetModelRequest, { caller }: Call): GetModelResponse =>
    create(GetModelResponseSchema, { model: modelsFor(caller, deps.models).get(request.name) })
}
