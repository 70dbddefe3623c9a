import type { GenerateImagesRequest } from '../../gen/atelier/v1/image_service_pb.ts'
import type { Call } from '../call.ts'
import { GatewayError, gatewayError } from '../errors.ts'
import type { ModelsOfCall } from '../routing/models-of-call.ts'
import type { ProviderNames } from '../routing/provider-names.ts'

/**
 * Takes the choice out of a model's name `@slug/model`, where the slug is the name of a stored credential or of a provider: returns the name
 * without it, and notes the choice in the call. Any other name is returned as it is. Throws PROVIDER_NOT_FOUND for a slug that means nothing,
 * and INVALID_PARAMETER where the request chose something else besides.
 */
export type ChooseByModel = (name: string, call: Call) => string

export function createChooseByModel(deps: { names: ProviderNames; modelsOfCall: ModelsOfCall }): ChooseByModel {
  const { names, modelsOfCall } = deps
  return (name, call) => {
    const [, slug, model] = slugged.exec(name) ?? []
    if (slug === undefined || model === undefined) return name
    const ofCredential = names.providerOfCredential(slug, call.caller)
    const provider = ofCredential ?? names.findProvider(slug)
    if (provider === undefined) {
      // There are vendors whose own names of models begin so.
      if (isServed(name, call)) return name
      throw names.unknown('provider or credential', slug, call.caller)
    }
    const credentialName = ofCredential === undefined ? undefined : slug
    const before = call.choice
    const differs = (before?.provider ?? provider) !== provider || (before?.credentialName ?? slug) !== slug
    if (differs || (credentialName !== undefined && before?.credential !== undefined)) {
      throw gatewayError('INVALID_PARAMETER', { param: 'model', problem: `names @${slug}, and the headers choose another provider or key` })
    }
    call.choice = { ...before, provider, ...(credentialName !== undefined && { credentialName }) }
    return model
  }

  function isServed(name: string, call: Call): boolean {
    try {
      modelsOfCall(call).resolve(name)
      return true
    } catch (error) {
      if (error instanceof GatewayError) return false
      throw error
    }
  }
}

/** The request with the model that is left when the choice is taken out of its name. */
export function withoutSlug(request: GenerateImagesRequest, call: Call, choose: ChooseByModel): GenerateImagesRequest {
  const { modelSelector } = request
  if (modelSelector.case !== 'modelName' || !modelSelector.value.startsWith('@')) return request
  return { ...request, modelSelector: { case: 'modelName', value: choose(modelSelector.value, call) } }
}

const slugged = /^@([^/]{1,64})\/(.+)$/s
