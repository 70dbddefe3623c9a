import type { Catalog, CatalogModel } from '../../gen/atelier/v1/catalog_pb.ts'

export interface ProviderModels {
  /** The provider's name in the configuration. */
  name: string
  /** Its wire format; it serves the models of the catalog's vendor of that name. */
  adapter: string
  /** Unset or empty: the vendor's own address. */
  baseUrl?: string | undefined
  /** Empty where there is none. */
  apiKey: string
  /** Exactly the models to serve. Empty: all that the catalog knows of the vendor. */
  models: readonly string[]
}

/** A configured provider and what it serves. */
export interface ServingProvider {
  name: string
  vendor: Catalog | undefined
  /** Whether it is part of the server: it needs no key and no network. */
  builtIn: boolean
  /** Whether it can be called: it has a key, or needs none. */
  usable: boolean
  /** Whether a name that it does not list may be passed on to it as it is. */
  forwards: boolean
  /** By their names, in the order in which they are listed. */
  models: ReadonlyMap<string, ServedModel>
  /** By their further names. */
  furtherNames: ReadonlyMap<string, ServedModel>
}

export interface ServedModel {
  provider: ServingProvider
  /** The name under which the provider lists it. */
  name: string
  /** What the catalog knows of it; undefined where it is not one of the vendor's models. */
  known: CatalogModel | undefined
  upstreamModel: string
}

/** Works out what a provider serves. A list of models is kept to the letter; a snapshot is then served only if it is listed. */
export function servedBy(options: ProviderModels, catalog: readonly Catalog[]): ServingProvider {
  const vendor = catalog.find((candidate) => candidate.vendor === options.adapter)
  const listed = options.models.length > 0
  const models = new Map<string, ServedModel>()
  const furtherNames = new Map<string, ServedModel>()
  const provider: ServingProvider = {
    name: options.name,
    vendor,
    builtIn: vendor?.baseUrl === '',
    usable: options.apiKey !== '' || !isOwnAddress(options.baseUrl, vendor),
    forwards: options.adapter === 'openai' && !listed,
    models,
    furtherNames
  }
  for (const name of listed ? options.models : (vendor?.models ?? []).map((model) => model.name)) {
    const known = vendor?.models.find((model) => model.name === name || model.aliases.includes(name) || model.snapshots.includes(name))
    const pinned = known?.snapshots.includes(name) ?? false
    const served = { provider, name, known, upstreamModel: known && !pinned ? known.upstreamModel || known.name : name }
    models.set(name, served)
    if (!known || pinned) continue
    for (const further of [known.name, ...known.aliases]) furtherNames.set(further, served)
    if (!listed) for (const snapshot of known.snapshots) furtherNames.set(snapshot, { ...served, upstreamModel: snapshot })
  }
  return provider
}

/** Whether calls go to the vendor itself, which asks for a key. A vendor that is built in has no address. */
function isOwnAddress(baseUrl: string | undefined, vendor: Catalog | undefined): boolean {
  if (!vendor?.baseUrl) return false
  if (!baseUrl) return true
  return URL.canParse(baseUrl) && new URL(baseUrl).host === new URL(vendor.baseUrl).host
}
