import type { Catalog, CatalogModel } from '../../gen/atelier/v1/catalog_pb.ts'
import { namesOf } from './catalog.ts'
import { isRetired, type RetiredPolicy, successorOf } from './retired.ts'

export interface ProviderModels {
  /** The provider's name in the configuration. */
  name: string
  /** Its wire format; it serves the models of the catalog's vendor of that name, or of the one that names it among its adapters. */
  adapter: string
  /** Unset or empty: the vendor's own address. */
  baseUrl?: string | undefined
  /** Empty where there is none. */
  apiKey: string
  /** Exactly the models to serve. Empty: all that the catalog knows of the vendor. */
  models: readonly string[]
  /** The provider's own names for models that it serves besides `models`, by their names. */
  deployments?: Readonly<Record<string, string>>
  /** Unset: `replace` at the vendor's own address, `forward` elsewhere. */
  retired?: RetiredPolicy
}

/** A configured provider and what it serves. */
export interface ServingProvider {
  name: string
  vendor: Catalog | undefined
  /** Whether it is part of the server: it needs no key and no network. */
  builtIn: boolean
  /** Whether the vendor's other models are to be looked for here: it is the vendor itself, or a copy of it with all its models. */
  standsForVendor: boolean
  /** Whether a name that it does not list may be passed on to it as it is. */
  forwards: boolean
  /** By their names, in the order in which they are listed. */
  models: ReadonlyMap<string, ServedModel>
  /** By their further names. */
  furtherNames: ReadonlyMap<string, ServedModel>
  /** Retired models that it is not to be asked for, by each of their names. */
  refused: ReadonlyMap<string, CatalogModel>
}

export interface ServedModel {
  provider: ServingProvider
  /** The name under which the provider lists it. */
  name: string
  /** What the catalog knows of it; undefined where it is not one of the vendor's models. */
  known: CatalogModel | undefined
  upstreamModel: string
  /** The model that really serves it, because this one is retired. */
  successor?: CatalogModel
}

/**
 * Works out what a provider serves on a day (YYYY-MM-DD). A list of models is kept to the letter; a snapshot is then served only if it is
 * listed.
 */
export function servedBy(options: ProviderModels, catalog: readonly Catalog[], day: string): ServingProvider {
  const { adapter, deployments = {} } = options
  const vendor = vendorOfProvider(options, catalog)
  const names = [...new Set([...options.models, ...Object.keys(deployments)])]
  const listed = names.length > 0
  const models = new Map<string, ServedModel>()
  const furtherNames = new Map<string, ServedModel>()
  const refused = new Map<string, CatalogModel>()
  const policy = options.retired ?? (isOwnAddress(options.baseUrl, vendor) ? 'replace' : 'forward')
  const provider: ServingProvider = {
    name: options.name,
    vendor,
    builtIn: adapter === 'sketch',
    standsForVendor: !listed || isOwnAddress(options.baseUrl, vendor),
    forwards: vendor?.vendor === 'openai' && !listed,
    models,
    furtherNames,
    refused
  }
  for (const name of listed ? names : (vendor?.models ?? []).map((model) => model.name)) {
    const known = vendor?.models.find((model) => model.name === name || model.aliases.includes(name) || model.snapshots.includes(name))
    const pinned = known?.snapshots.includes(name) ?? false
    const retired = known !== undefined && isRetired(known, day)
    if (retired && policy === 'refuse') {
      for (const each of [name, ...namesOf(known)]) refused.set(each, known)
      continue
    }
    const successor = retired && vendor && policy === 'replace' ? successorOf(known, vendor, day) : undefined
    const deployment = Object.hasOwn(deployments, name) ? deployments[name] : undefined
    const upstreamModel = deployment ?? (known && !pinned ? known.upstreamModel || known.name : name)
    const served: ServedModel = { provider, name, known, upstreamModel, ...(successor && { successor }) }
    models.set(name, served)
    if (deployment !== undefined) furtherNames.set(deployment, served)
    if (!known || pinned) continue
    for (const further of [known.name, ...known.aliases]) furtherNames.set(further, served)
    if (!listed) for (const snapshot of known.snapshots) furtherNames.set(snapshot, { ...served, upstreamModel: snapshot })
  }
  return provider
}

/** Whether a provider cannot be called without a key, because it is the vendor itself. */
export function asksForKey(options: Pick<ProviderModels, 'name' | 'adapter' | 'baseUrl'>, catalog: readonly Catalog[]): boolean {
  return isOwnAddress(options.baseUrl, vendorOfProvider(options, catalog))
}

function vendorOfProvider({ name, adapter }: Pick<ProviderModels, 'name' | 'adapter'>, catalog: readonly Catalog[]): Catalog | undefined {
  const speaks = (candidate: Catalog) => candidate.vendor === adapter || candidate.adapters.includes(adapter)
  return catalog.find((candidate) => candidate.vendor === name && speaks(candidate)) ?? catalog.find(speaks)
}

/** Whether calls go to the vendor itself, which asks for a key. A vendor that is built in has no address. */
function isOwnAddress(baseUrl: string | undefined, vendor: Catalog | undefined): boolean {
  if (!vendor?.baseUrl) return false
  if (!baseUrl) return true
  return URL.canParse(baseUrl) && new URL(baseUrl).host === new URL(vendor.baseUrl).host
}

/** What a provider is asked for in place of a model: the model itself, or its successor under the provider's name for that one. */
export function servingModel(served: ServedModel): ServedModel {
  const { provider, successor } = served
  if (!successor) return served
  const { name } = successor
  const other = provider.models.get(name) ?? provider.furtherNames.get(name)
  return other ?? { provider, name, known: successor, upstreamModel: successor.upstreamModel || name }
}
