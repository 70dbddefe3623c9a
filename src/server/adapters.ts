import { type AzureOptions, azureDialect } from '../providers/azure.ts'
import { createGoogleProvider } from '../providers/google.ts'
import { createOpenAIProvider } from '../providers/openai.ts'
import type { Provider } from '../providers/provider.ts'
import { createStabilityProvider } from '../providers/stability.ts'
import type { UpstreamClient } from '../upstream/client.ts'

export interface AdapterOptions extends AzureOptions {
  name: string
  baseUrl: string
  headers: Record<string, string>
}

/** The adapters that call somebody, by their names in the configuration. */
export const adapters: Readonly<Record<string, (options: AdapterOptions, deps: { client: UpstreamClient }) => Provider>> = {
  openai: createOpenAIProvider,
  azure: (options, deps) => createOpenAIProvider({ ...options, dialect: azureDialect(options) }, deps),
  stability: createStabilityProvider,
  google: createGoogleProvider
}
