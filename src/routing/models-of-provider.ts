import { GatewayError, gatewayError } from '../errors.ts'
import type { Models, Resolution } from './models.ts'

/**
 * The models as a request finds them that chose its provider. `models` holds what that one serves and nothing else; nothing at all where
 * there is no key for it. A name that means nothing here is handed on to the provider where that forwards such names. Throws
 * PROVIDER_KEY_MISSING for the chosen provider alone, and MODEL_NOT_FOUND for what only others serve.
 */
export function modelsOfProvider(provider: string, models: Models, hasKey: boolean): Models {
  function resolve(name: string | undefined): Resolution {
    try {
      return models.resolve(name)
    } catch (error) {
      if (!(error instanceof GatewayError)) throw error
      return (hasKey ? elsewhere(name, error) : undefined) ?? refuse(name, error)
    }
  }

  /** What the name comes to when it is looked for at the provider itself; undefined where it comes to nothing. */
  function elsewhere(name: string | undefined, { reason }: GatewayError): Resolution | undefined {
    const [first] = models.list()
    if (name === undefined) return first && { ...models.resolve(first.id), defaulted: true }
    // What is understood, and served by others alone, is no name to hand on.
    if (reason !== 'MODEL_NOT_FOUND' || name.startsWith(`${provider}/`)) return undefined
    try {
      return { ...models.resolve(`${provider}/${name}`), writtenName: name }
    } catch (error) {
      if (error instanceof GatewayError) return undefined
      throw error
    }
  }

  function refuse(name: string | undefined, error: GatewayError): never {
    if (error.reason !== 'PROVIDER_KEY_MISSING' && hasKey) throw error
    const model = name ?? String(error.fields.model ?? '')
    if (!hasKey) throw gatewayError('PROVIDER_KEY_MISSING', { provider, model }, { outcome: 'not_sent' })
    const hint = `: the provider ${provider}, which was chosen, does not serve it`
    throw gatewayError('MODEL_NOT_FOUND', { model, hint }, { param: 'model', outcome: 'not_sent' })
  }

  return { ...models, resolve }
}
