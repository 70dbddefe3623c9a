import { create } from '@bufbuild/protobuf'
import { Model, type ModelInfo, ModelInfoSchema } from '../../gen/atelier/v1/model_pb.ts'
import type { Caller } from '../call.ts'
import { GatewayError, gatewayError } from '../errors.ts'
import type { Candidate, Models, Resolution } from './models.ts'
import { fitsPattern } from './name-pattern.ts'

/**
 * The models as far as the caller's API key may use them. A model is allowed by the name that the caller writes, by the serving model's
 * name, or by `provider/model`. What is not allowed is in no list; asked for by name it throws PERMISSION_DENIED, a name that means nothing
 * MODEL_NOT_FOUND as ever.
 */
export function modelsFor(caller: Pick<Caller, 'allowedModels' | 'allowedProviders'>, models: Models): Models {
  const { allowedModels, allowedProviders } = caller
  if (!allowedModels && !allowedProviders) return models

  const mayUseProvider = (provider: string) => fitsAny([provider], allowedProviders)
  const mayUse = ({ provider, model, replaces }: Candidate, writtenName: string) =>
    mayUseProvider(provider) && fitsAny([writtenName, model, `${provider}/${model}`, ...(replaces ? [replaces.id] : [])], allowedModels)

  function resolve(name: string | undefined): Resolution {
    const resolution = models.resolve(name)
    const { writtenName } = resolution
    const candidates = resolution.candidates.filter((candidate) => mayUse(candidate, writtenName))
    const [candidate] = candidates
    if (candidate) return { ...resolution, candidate, candidates }
    const { provider } = resolution.candidate
    const action = mayUseProvider(provider) ? `use the model ${writtenName}` : `use the provider ${provider}, which serves ${writtenName}`
    throw gatewayError('PERMISSION_DENIED', { action }, { param: 'model', outcome: 'not_sent' })
  }

  /** Whether a name leads to the model of this provider, and may be used. */
  const reaches = (name: string, info: ModelInfo) => {
    try {
      return resolve(name).candidate.provider === info.provider
    } catch (error) {
      if (error instanceof GatewayError) return false
      throw error
    }
  }

  return {
    resolve,
    list: () =>
      models.list().flatMap((info) => {
        const [id, ...aliases] = [info.id, ...info.aliases].filter((name) => reaches(name, info))
        if (id === undefined) return []
        return create(ModelInfoSchema, { ...info, id, aliases, model: id === info.id ? info.model : Model.UNSPECIFIED })
      }),
    get(name) {
      const info = models.get(name)
      const { candidate } = resolve(name)
      return candidate.provider === info.provider ? info : candidate.info
    }
  }
}

function fitsAny(names: readonly string[], patterns: readonly string[] | undefined): boolean {
  return patterns === undefined || patterns.some((pattern) => names.some((name) => fitsPattern(name, pattern)))
}
