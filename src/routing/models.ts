import { create } from '@bufbuild/protobuf'
import type { Catalog, CatalogModel } from '../../gen/atelier/v1/catalog_pb.ts'
import { Model, type ModelInfo, ModelInfoSchema, ModelSchema } from '../../gen/atelier/v1/model_pb.ts'
import { enumValue } from '../contract/wire-names.ts'
import { type GatewayError, gatewayError } from '../errors.ts'
import { namesOf } from './catalog.ts'
import { findModels, splitName, vendorOf } from './find-models.ts'
import { nearestNames } from './nearest-names.ts'
import { type ProviderModels, type ServedModel, servedBy } from './served-models.ts'

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
  /** Whether the provider is known to serve it; false where the name is passed on in the hope that the provider knows it. */
  served: boolean
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
  /** What the configured providers serve, in configuration order; without those that lack the key they need. */
  list(): ModelInfo[]
  /** One model by any name that a request may use. Throws MODEL_NOT_FOUND where it cannot be used here. */
  get(name: string): ModelInfo
  /**
   * Finds who serves a model. Names are matched to the letter, the operator's aliases first. Throws MODEL_NOT_FOUND for a name that means
   * nothing here, PROVIDER_KEY_MISSING where the name is understood and only the provider's key is missing.
   */
  resolve(writtenName: string | undefined): Resolution
}

const longestName = 256

export function createModels(options: ModelsOptions, deps: { catalog: readonly Catalog[] }): Models {
  const { catalog } = deps
  const providers = options.providers.map((provider) => servedBy(provider, catalog))
  const aliases = new Map(Object.entries(options.aliases))
  const known = knownModels(catalog)

  const find = (name: string) => findModels(aliases.get(name) ?? name, providers, catalog)
  const usable = (name: string) => find(name).filter(({ provider }) => provider.usable)

  const listed = providers.filter((provider) => provider.usable).flatMap(({ models }) => [...models.values()])
  const infos = new Map(listed.map((served) => [placeOf(served), listing(served)]))

  function listing(served: ServedModel): ModelInfo {
    const place = placeOf(served)
    const reaches = (name: string) => {
      const [first] = usable(name)
      return first !== undefined && placeOf(first) === place
    }
    const further = [...(served.known ? namesOf(served.known) : []), ...aliases.keys()]
    const names = new Set(further.filter((name) => name !== served.name && reaches(name)))
    return modelInfo(served, reaches(served.name) ? served.name : place, [...names])
  }

  function candidateOf(served: ServedModel): Candidate {
    const info = infos.get(placeOf(served)) ?? modelInfo(served, placeOf(served), [])
    const { known, name, provider, upstreamModel } = served
    return {
      provider: provider.name,
      model: known?.name ?? name,
      upstreamModel,
      info: info.upstreamModel === upstreamModel ? info : create(ModelInfoSchema, { ...info, upstreamModel }),
      served: infos.has(placeOf(served))
    }
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
    return providers.some((provider) => provider.vendor === vendor) ? undefined : vendor.vendor
  }

  function hint(name: string): string {
    const target = aliases.get(name) ?? name
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
      if (served) return candidateOf(served).info
      const error = refusal(name)
      throw error.reason === 'MODEL_NOT_FOUND' ? error : notFound(name, `: no ${error.fields.provider} API key is configured`)
    },
    resolve: (writtenName) => (writtenName === undefined ? resolveDefault() : resolve(writtenName))
  }
}

/** Where a model is listed. It is also the name that always picks this one. */
function placeOf({ provider, name }: ServedModel): string {
  return `${provider.name}/${name}`
}

function notFound(model: string, hint: string): GatewayError {
  return gatewayError('MODEL_NOT_FOUND', { model, hint }, { param: 'model' })
}

interface KnownModel {
  vendor: Catalog
  info: ModelInfo
}

function knownModels(catalog: readonly Catalog[]): ReadonlyMap<string, KnownModel> {
  const known = new Map<string, KnownModel>()
  for (const vendor of catalog) {
    for (const model of vendor.models) {
      const info = describe(model, vendor.vendor, { id: model.name, upstreamModel: model.upstreamModel || model.name })
      for (const name of namesOf(model)) known.set(name, { vendor, info })
    }
  }
  return known
}

function modelInfo({ provider, known, upstreamModel }: ServedModel, id: string, aliases: string[]): ModelInfo {
  const place = { id, upstreamModel, provider: provider.name, aliases }
  if (known && provider.vendor) return describe(known, provider.vendor.vendor, place)
  return create(ModelInfoSchema, { ...place, model: typedModel(id), ownedBy: provider.name })
}

interface Place {
  id: string
  upstreamModel: string
  provider?: string
  aliases?: string[]
}

function describe(known: CatalogModel, ownedBy: string, place: Place): ModelInfo {
  const { created, status, shutdownDate, replacement, capabilities } = known
  return create(ModelInfoSchema, {
    ...place,
    model: typedModel(place.id),
    created,
    ownedBy,
    status,
    shutdownDate,
    replacement,
    ...(capabilities ? { capabilities } : {})
  })
}

function typedModel(id: string): Model {
  return enumValue(ModelSchema, id) ?? Model.UNSPECIFIED
}
