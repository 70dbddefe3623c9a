import { type Dimensions, SizeSchema } from '../../gen/atelier/v1/image_pb.ts'
import type { GenerateImagesRequest } from '../../gen/atelier/v1/image_service_pb.ts'
import { ModelSchema } from '../../gen/atelier/v1/model_pb.ts'
import { copyMessage } from '../contract/copy-message.ts'
import { enumValue } from '../contract/wire-names.ts'

/**
 * The request in its one spelling: a model or size that has an enum value is written as that value, whichever way it came. A request that
 * is written so already is returned itself.
 */
export function normalizeGenerateImages(request: GenerateImagesRequest): GenerateImagesRequest {
  const modelSelector = normalizeModel(request.modelSelector)
  const sizeSelector = normalizeSize(request.sizeSelector)
  if (modelSelector === request.modelSelector && sizeSelector === request.sizeSelector) return request
  const normalized = copyMessage(request)
  normalized.modelSelector = modelSelector
  normalized.sizeSelector = sizeSelector
  return normalized
}

function normalizeModel(selector: GenerateImagesRequest['modelSelector']): GenerateImagesRequest['modelSelector'] {
  if (selector.case !== 'modelName') return selector
  const model = enumValue(ModelSchema, selector.value)
  return model === undefined ? selector : { case: 'model', value: model }
}

function normalizeSize(selector: GenerateImagesRequest['sizeSelector']): GenerateImagesRequest['sizeSelector'] {
  if (selector.case !== 'dimensions') return selector
  const size = enumValue(SizeSchema, spell(selector.value))
  return size === undefined ? selector : { case: 'size', value: size }
}

function spell({ width, height }: Dimensions): string {
  return `${width}x${height}`
}
