import { create } from '@bufbuild/protobuf'
import type { Catalog, CatalogModel } from '../../gen/atelier/v1/catalog_pb.ts'
import { Model, type ModelInfo, ModelInfoSchema, ModelSchema, ModelStatus } from '../../gen/atelier/v1/model_pb.ts'
import { enumValue } from '../contract/wire-names.ts'
import { namesOf } from './catalog.ts'
import { isRetired } from './retired.ts'
import type { ServedModel } from './served-models.ts'

/** What the catalog says of a model under one of its names. */
export interface KnownModel {
  vendor: Catalog
  model: CatalogModel
  info: ModelInfo
}

/** Every model of the catalog by each of its names, as it is on a day (YYYY-MM-DD). */
export function knownModels(catalog: readonly Catalog[], day: string): ReadonlyMap<string, KnownModel> {
  const known = new Map<string, KnownModel>()
  for (const vendor of catalog) {
    for (const model of vendor.models) {
      const info = describe(model, vendor.vendor, day, { id: model.name, upstreamModel: model.upstreamModel || model.name })
      for (const name of namesOf(model)) known.set(name, { vendor, model, info })
    }
  }
  return known
}

/** A model as a provider serves it on a day, under the name that picks it. */
export function modelInfo({ provider, known, upstreamModel }: ServedModel, day: string, id: string, aliases: string[]): ModelInfo {
  const place = { id, upstreamModel, provider: provider.name, aliases }
  if (known && provider.vendor) return describe(known, provider.vendor.vendor, day, place)
  return create(ModelInfoSchema, { ...place, model: typedModel(id), ownedBy: provider.name })
}

interface Place {
  id: string
  upstreamModel: string
  provider?: string
  aliases?: string[]
}

function describe(known: CatalogModel, ownedBy: string, day: string, place: Place): ModelInfo {
  const { created, status, shutdownDate, replacement, capabilities } = known
  return create(ModelInfoSchema, {
    ...place,
    model: typedModel(place.id),
    created,
    ownedBy,
    status: isRetired(known, day) ? ModelStatus.RETIRED : status,
    shutdownDate,
    replacement,
    ...(capabilities ? { capabilities } : {})
  })
}

function typedModel(id: string): Model {
  return enumValue(ModelSchema, id) ?? Model.UNSPECIFIED
}
