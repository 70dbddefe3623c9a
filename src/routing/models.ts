import { create } from '@bufbuild/protobuf'
import type { Catalog, CatalogModel, Pricing } from '../../gen/atelier/v1/catalog_pb.ts'
import { type ModelInfo, ModelInfoSchema } from '../../gen/atelier/v1/model_pb.ts'
import { type GatewayError, gatewayError } from '../errors.ts'
import { namesOf } from './catalog.ts'
import { findModels, findRefused, splitName, vendorOf } from './find-models.ts'
import { knownModels, modelInfo } from './model-info.ts'
import { nearestNames } from './nearest-names.ts'
import { successorOf } from './retired.ts'
import { asksForKey, type ProviderModels, type ServedModel, type ServingProvider, servedBy, servingModel } from './served-models.ts'

export interface ModelsOptions {
  /** In the order in which they are asked for a model that several serve. */
  providers: readonly ProviderModels[]
  /** The operator's names for models, each with the name that it stands for; that one is no alias itself. */
  aliases: Readonly<Record<string, string>>
  /** What a request that names no model stands for. */
  defaultModel: string
}

/** A provider that could serve a request, and the model that it would use. */
export interface Candidate {
  provider: string
  /** As the catalog spells it; for a model that it does not know, as the provider lists it. */
  model: string
  /** The provider's name for it. */
  upstreamModel: string
  info: ModelInfo
  /** What the model's vendor charges; undefined where that is not known. */
  pricing: Pricing | undefined
  /** Whether the provider is known to serve it; false where the name is passed on in the hope that the provider knows it. */
  served: boolean
  /** The model that was asked for, where it is retired and this one serves in its place. */
  replaces: ModelInfo | undefined
}

/** What a model's name came to. */
export interface Resolution {
  /** What the caller wrote, or the default model's name. */
  writtenName: string
  /** What the catalog knows of the written name itself, whoever serves it; undefined where it is no name of the catalog. */
  written: ModelInfo | undefined
  /** The first of `candidates`. */
  candidate: Candidate
  /** All that could serve it, in configuration order. */
  candidates: readonly Candidate[]
  /** Whether the caller named no model. */
  defaulted: boolean
  /** Whether the built-in renderer stands in for the default model, because no provider is configured. */
  fallback: boolean
}

export interface Models {
  /** What the providers serve that can be called, in configuration order. */
  list(): ModelInfo[]
  /** One model by any name that a request may use. Throws MODEL_NOT_FOUND where it cannot be used here. */
  get(name: string): ModelInfo
  /**
   * Finds who serves a model. Names are matched to the letter, the operator's aliases first. Throws MODEL_NOT_FOUND for a name that means
   * nothing here, PROVIDER_KEY_MISSING where the name is understood and only the provider's key is missing.
   */
  resolve(writtenName: string | undefined): Resolution
}

/** The models of the providers that the configuration has a key for, or that ask for none. */
export interface ConfiguredModels extends Models {
  /** The models where exactly these providers can be called, by their names in configuration order. */
  of(callable: readonly string[]): Models
}

const longestName = 256
const dayMs = 86_400_000
const mostResolved = 10_000

/** The models of the configured providers. Which of them are retired depends on the day, in UTC, on which something is asked. */
export function createModels(options: ModelsOptions, deps: { catalog: readonly Catalog[]; now?: () => number }): ConfiguredModels {
  const now = deps.now ?? Date.now
  const configured = options.providers.filter((provider) => provider.apiKey !== '' || !asksForKey(provider, deps.catalog))
  const byDefault = configured.map(({ name }) => name)
  let latest: { dayNumber: number; day: string; ofProviders: Map<string, Models> } | undefined
  const today = (callable: readonly string[], key: string): Models => {
    const nowMs = now()
    const dayNumber = Math.floor(nowMs / dayMs)
    if (latest?.dayNumber !== dayNumber) latest = { dayNumber, day: new Date(nowMs).toISOString().slice(0, 10), ofProviders: new Map() }
    const { day, ofProviders } = latest
    const known = ofProviders.get(key)
    if (known) return known
    const models = modelsOn(day, callable, options, deps.catalog)
    if (ofProviders.size >= maxCombinations) ofProviders.clear()
    ofProviders.set(key, models)
    return models
  }
  let last: { callable: readonly string[]; models: Models } | undefined
  const of = (callable: readonly string[]): Models => {
    // Organizations without keys of their own share one list.
    if (last?.callable === callable) return last.models
    const key = callable.join(' ')
    const models: Models = {
      list: () => today(callable, key).list(),
      get: (name) => today(callable, key).get(name),
      resolve: (writtenName) => today(callable, key).resolve(writtenName)
    }
    last = { callable, models }
    return models
  }
  of(byDefault).list()
  return { ...of(byDefault), of }
}

/** Organizations differ in what they have keys for, and each combination is worked out once. */
const maxCombinations = 256

function modelsOn(day: string, callable: readonly string[], options: ModelsOptions, catalog: readonly Catalog[]): Models {
  const providers = options.providers.map((provider) => servedBy(provider, catalog, day))
  const isCallable = ({ name }: ServingProvider) => callable.includes(name)
  const aliases = new Map(Object.entries(options.aliases))
  const known = knownModels(catalog, day)
  /** What names came to on this day: neither the catalog nor the configuration changes. */
  const resolved = new Map<string | undefined, Resolution>()

  const find = (name: string) => findModels(aliases.get(name) ?? name, providers, catalog)
  const usable = (name: string) => find(name).filter(({ provider }) => isCallable(provider))

  const listed = providers.filter(isCallable).flatMap(({ models }) => [...models.values()])
  const infos = new Map(listed.map((served) => [placeOf(served), listing(served)]))

  function listing(served: ServedModel): ModelInfo {
    const place = placeOf(served)
    const reaches = (name: string) => {
      const [first] = usable(name)
      return first !== undefined && placeOf(first) === place
    }
    const further = [...(served.known ? namesOf(served.known) : []), ...aliases.keys()]
    const names = new Set(further.filter((name) => name !== served.name && reaches(name)))
    return modelInfo(served, day, reaches(served.name) ? served.name : place, [...names])
  }

  function candidateOf(asked: ServedModel): Candidate {
    const serving = servingModel(asked)
    return {
      provider: serving.provider.name,
      model: serving.known?.name ?? serving.name,
      upstreamModel: serving.upstreamModel,
      info: infoOf(serving),
      pricing: serving.known?.pricing,
      served: infos.has(placeOf(asked)),
      replaces: asked.successor && asked.known ? known.get(asked.known.name)?.info : undefined
    }
  }

  function infoOf(served: ServedModel): ModelInfo {
    const { upstreamModel } = served
    const info = infos.get(placeOf(served)) ?? modelInfo(served, day, placeOf(served), [])
    return info.upstreamModel === upstreamModel ? info : create(ModelInfoSchema, { ...info, upstreamModel })
  }

  function resolution(
    writtenName: string,
    first: ServedModel,
    others: readonly ServedModel[],
    how: { defaulted: boolean; fallback?: boolean }
  ): Resolution {
    const candidate = candidateOf(first)
    const candidates = [candidate, ...others.map(candidateOf)]
    return {
      writtenName,
      written: writtenInfo(writtenName),
      candidate,
      candidates,
      defaulted: how.defaulted,
      fallback: how.fallback ?? false
    }
  }

  function writtenInfo(name: string): ModelInfo | undefined {
    const { prefix, rest } = splitName(name)
    const prefixed = vendorOf(prefix, catalog) !== undefined || providers.some((provider) => provider.name === prefix)
    return known.get(prefixed ? rest : name)?.info
  }

  function resolve(writtenName: string): Resolution {
    const length = writtenName.length > longestName ? [...writtenName].length : 0
    if (length > longestName) {
      throw gatewayError('INVALID_PARAMETER', {
        param: 'model',
        problem: `is ${length} characters long; names have at most ${longestName}`
      })
    }
    const [first, ...others] = usable(writtenName)
    if (!first) throw refusal(writtenName)
    return resolution(writtenName, first, others, { defaulted: false })
  }

  function resolveDefault(): Resolution {
    const [first, ...others] = usable(options.defaultModel)
    if (first) return resolution(options.defaultModel, first, others, { defaulted: true })
    const another = listed.find(({ provider }) => !provider.builtIn)
    if (another) return resolution(options.defaultModel, another, [], { defaulted: true })
    const renderer = providers.every(({ builtIn }) => builtIn) ? listed[0] : undefined
    if (renderer) return resolution(options.defaultModel, renderer, [], { defaulted: true, fallback: true })
    throw refusal(options.defaultModel)
  }

  /** The error for a name that nothing usable serves. */
  function refusal(name: string): GatewayError {
    const keyless = find(name)[0]?.provider.name ?? vendorWithoutProvider(aliases.get(name) ?? name)
    if (keyless !== undefined) return gatewayError('PROVIDER_KEY_MISSING', { provider: keyless, model: name })
    return notFound(name, hint(name))
  }

  /** The vendor of a catalogued model, where no provider is configured that could be asked for it. */
  function vendorWithoutProvider(name: string): string | undefined {
    const { prefix, rest } = splitName(name)
    if (providers.some((provider) => provider.name === prefix)) return undefined
    const vendor = known.get(rest)?.vendor
    if (!vendor || vendor.baseUrl === '' || (prefix !== '' && vendorOf(prefix, catalog) !== vendor)) return undefined
    return providers.some((provider) => provider.vendor === vendor && provider.standsForVendor) ? undefined : vendor.vendor
  }

  function hint(name: string): string {
    const target = aliases.get(name) ?? name
    const refused = known.get(findRefused(target, providers, catalog)?.name ?? '')
    if (refused) return switchedOff(refused.model, successorOf(refused.model, refused.vendor, day))
    const { prefix, rest } = splitName(target)
    const near = providers.some((provider) => provider.name === prefix)
      ? nearestNames(target, infos.keys())
      : nearestNames(rest, new Set([...infos.values()].flatMap(({ id, aliases }) => [id, ...aliases])))
    const nearest = near.length > 1 ? `the nearest names are ${near.join(', ')}` : near.length > 0 ? `the nearest name is ${near[0]}` : ''
    return `${target === name ? '' : `: it stands for ${target}`}; ${nearest || 'GET /v1/models lists the names'}`
  }

  return {
    list: () => [...infos.values()],
    get(name) {
      const [served] = usable(name)
      if (served) return infoOf(served)
      const error = refusal(name)
      throw error.reason === 'MODEL_NOT_FOUND' ? error : notFound(name, `: no ${error.fields.provider} API key is configured`)
    },
    resolve(writtenName) {
      const known = resolved.get(writtenName)
      if (known) return known
      const found = writtenName === undefined ? resolveDefault() : resolve(writtenName)
      // Names that are only passed on are without number.
      if (found.candidate.served && resolved.size < mostResolved) resolved.set(writtenName, found)
      return found
    }
  }
}

/** Where a model is listed. It is also the name that always picks this one. */
function placeOf({ provider, name }: ServedModel): string {
  return `${provider.name}/${name}`
}

function switchedOff({ shutdownDate }: CatalogModel, successor: CatalogModel | undefined): string {
  const when = shutdownDate === '' ? '' : ` on ${shutdownDate}`
  return `: its vendor switched it off${when}${successor ? `; ${successor.name} is its replacement` : ''}`
}

function notFound(model: string, hint: string): GatewayError {
  return gatewayError('MODEL_NOT_FOUND', { model, hint }, { param: 'model' })
}
