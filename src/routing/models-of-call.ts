import type { Call } from '../call.ts'
import type { Credentials } from './credentials.ts'
import type { ConfiguredModels, Models } from './models.ts'
import { modelsFor } from './models-for.ts'
import { modelsOfProvider } from './models-of-provider.ts'

/** The models that a call may use: those of the providers for which there is a key, as far as its API key allows. */
export type ModelsOfCall = (call: Pick<Call, 'caller' | 'choice'>) => Models

export function createModelsOfCall(deps: {
  models: Pick<ConfiguredModels, 'of'>
  credentials: Pick<Credentials, 'callable'>
}): ModelsOfCall {
  return ({ caller, choice }) => {
    const callable = deps.credentials.callable(caller.organizationId, choice)
    const models = deps.models.of(callable)
    const chosen = choice?.provider
    return modelsFor(caller, chosen === undefined ? models : modelsOfProvider(chosen, models, callable.includes(chosen)))
  }
}
