import type { Catalog, CatalogModel } from '../../gen/atelier/v1/catalog_pb.ts'
import type { ServedModel, ServingProvider } from './served-models.ts'

/**
 * All models that a name may mean, usable or not, in configuration order. The name is understood, in this order, as `provider/model`, as
 * `vendor/model`, as a model's name, as a further name, and as a name to pass on to a provider that lists no models.
 */
export function findModels(name: string, providers: readonly ServingProvider[], catalog: readonly Catalog[]): ServedModel[] {
  const { prefix, rest } = splitName(name)
  const provider = providers.find((candidate) => candidate.name === prefix)
  const exact = provider?.models.get(rest) ?? provider?.furtherNames.get(rest)
  if (exact) return [exact]
  const vendor = vendorOf(prefix, catalog)
  const ofVendor = vendor ? providers.filter((candidate) => candidate.vendor === vendor) : []
  const prefixed = serving(rest, ofVendor)
  if (prefixed.length > 0) return prefixed
  const short = serving(name, providers)
  if (short.length > 0) return short
  const passedOn = provider?.forwards && rest !== '' && !provider.refused.has(rest)
  return passedOn ? [{ provider, name: rest, known: undefined, upstreamModel: rest }] : []
}

/** The retired model that a name means and that the providers it could be asked of are not to be asked for. */
export function findRefused(name: string, providers: readonly ServingProvider[], catalog: readonly Catalog[]): CatalogModel | undefined {
  const { prefix, rest } = splitName(name)
  const vendor = vendorOf(prefix, catalog)
  const named = providers.filter((provider) => provider.name === prefix || (vendor && provider.vendor === vendor))
  const refused = [...named.map((provider) => provider.refused.get(rest)), ...providers.map((provider) => provider.refused.get(name))]
  return refused.find((model) => model !== undefined)
}

/** What stands before the first slash, empty where there is none, and the rest. */
export function splitName(name: string): { prefix: string; rest: string } {
  const slash = name.indexOf('/')
  return { prefix: name.slice(0, Math.max(slash, 0)), rest: name.slice(slash + 1) }
}

/** The vendor that a prefix names. */
export function vendorOf(prefix: string, catalog: readonly Catalog[]): Catalog | undefined {
  return catalog.find(({ vendor, vendorAliases }) => vendor === prefix || vendorAliases.includes(prefix))
}

/** A model's own name goes before a further name of another one. */
function serving(name: string, providers: readonly ServingProvider[]): ServedModel[] {
  const named = providers.map(({ models }) => models.get(name))
  const further = providers.map(({ models, furtherNames }) => (models.has(name) ? undefined : furtherNames.get(name)))
  return [...named, ...further].filter((served) => served !== undefined)
}
