import type { GenerateImagesRequest } from '../../gen/atelier/v1/image_service_pb.ts'
import type { Order } from '../../src/ledger/estimate.ts'
import { loadCatalog } from '../../src/routing/catalog.ts'
import { decodeGenerateImages } from '../../src/wire/openai-json.ts'

const models = new Map(loadCatalog().flatMap((vendor) => vendor.models.map((model) => [model.name, model])))

/** An order at the catalog's prices, of a model by its catalog name. `fields` are those of a REST body, in the model's own terms. */
export function orderOf(model: string, fields: Record<string, string | number> = {}): Order {
  const known = models.get(model)
  const request = requestOf({ prompt: 'a cat', ...fields })
  return { model, capabilities: known?.capabilities, pricing: known?.pricing, request, n: request.n ?? 1 }
}

export function requestOf(fields: Record<string, string | number>): GenerateImagesRequest {
  return decodeGenerateImages(fields).message
}
