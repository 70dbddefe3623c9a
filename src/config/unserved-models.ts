import type { LoadedConfig, Settings } from '../config.ts'
import { GatewayError } from '../errors.ts'
import { loadCatalog } from '../routing/catalog.ts'
import { createModels } from '../routing/models.ts'

/** A line for the default model, where it was set, and for each alias that no configured provider serves. */
export function unservedModels(loaded: Pick<LoadedConfig, 'settings' | 'origins'>): string[] {
  const { settings, origins } = loaded
  const problemWith = resolver(settings)
  const set = origins.has('default_model') ? [{ path: 'default_model', name: settings.defaultModel }] : []
  const aliases = Object.keys(settings.aliases).map((name) => ({ path: `aliases.${name}`, name }))
  return [...set, ...aliases].flatMap(({ path, name }) => {
    const problem = problemWith(name)
    return problem === undefined ? [] : [`${origins.get(path) ?? ''} ${path}: ${problem}`.trim()]
  })
}

function resolver(settings: Settings): (name: string) => string | undefined {
  const models = createModels(settings, { catalog: loadCatalog({ files: settings.catalogFiles }) })
  return (name) => {
    try {
      models.resolve(name)
      return undefined
    } catch (error) {
      if (!(error instanceof GatewayError)) throw error
      return `no configured provider serves it: ${error.message}`
    }
  }
}
