import { type ApiKeyStore, type ConfiguredApiKey, createApiKeyStore } from '../admission/api-key-store.ts'
import { callerScopes, operatorKeys } from '../admission/operator-keys.ts'
import type { Settings } from '../config.ts'
import type { Database } from '../storage/database.ts'
import type { LiveCopies } from '../storage/live-copies.ts'

export interface ApiKeyParts {
  keys: ApiKeyStore
  /** The one that was created, because there was none. */
  firstKey: string | undefined
}

/** The keys that callers show, among them those of the settings. Throws where there is none and others could come first. `parts` owns them. */
export async function openApiKeys(
  settings: Settings,
  deps: { database: Database; copies: LiveCopies },
  parts: AsyncDisposableStack
): Promise<ApiKeyParts> {
  const keys = parts.use(await createApiKeyStore(deps))
  await keys.syncConfigured(configuredKeys(settings))
  return { keys, firstKey: keys.isEmpty('generate') ? await createFirstKey(settings, keys) : undefined }
}

function configuredKeys(settings: Settings): ConfiguredApiKey[] {
  return [
    ...(settings.apiKey === undefined ? [] : [{ key: settings.apiKey, scopes: callerScopes }]),
    ...(settings.adminKey === undefined ? [] : [{ key: settings.adminKey, scopes: ['admin'] as const }])
  ]
}

/** Only for a server that nobody else can reach: on any other address, whoever comes first would read the key from the terminal. */
async function createFirstKey(settings: Settings, keys: ApiKeyStore): Promise<string> {
  const { host } = settings.listen
  if (!/^(127\.\d+\.\d+\.\d+|::1|localhost)$/.test(host)) {
    throw new Error(
      `listening on ${host} needs an API key: set ATELIER_API_KEY, or make one with \`atelier new-key\` before the first start`
    )
  }
  return (await keys.create(operatorKeys.caller)).key
}
