import type { Catalog, CatalogModel } from '../../gen/atelier/v1/catalog_pb.ts'
import { ModelStatus } from '../../gen/atelier/v1/model_pb.ts'

/**
 * What becomes of requests for a model that its vendor has switched off. `replace`: its successor serves them; `forward`: they are sent as
 * they are, to somebody who may still run it; `refuse`: the model does not exist here.
 */
export type RetiredPolicy = 'replace' | 'forward' | 'refuse'

/** Whether a model is out of service at its vendor on a day, written YYYY-MM-DD, in UTC. */
export function isRetired({ status, shutdownDate }: CatalogModel, day: string): boolean {
  return status === ModelStatus.RETIRED || (shutdownDate !== '' && shutdownDate <= day)
}

/** The model that serves in place of a retired one: its replacement, or that one's own where it is retired too. Undefined without any. */
export function successorOf(retired: CatalogModel, vendor: Catalog, day: string): CatalogModel | undefined {
  const passed = new Set<CatalogModel>()
  let model: CatalogModel | undefined = retired
  while (model && isRetired(model, day)) {
    if (passed.has(model)) return undefined
    passed.add(model)
    const { replacement }: CatalogModel = model
    model = vendor.models.find(({ name }) => name === replacement)
  }
  return model
}
