import type { OpenAIDialect } from './openai-dialect.ts'

export interface AzureOptions {
  /** The resource, e.g. "https://my-resource.openai.azure.com", or its v1 API, which ends in "/openai/v1". */
  baseUrl: string
  /** Asked for with every call. Unset: the version whose documentation this follows; none where the v1 API is called. */
  apiVersion?: string
  /** Whether the credential is sent as `api-key` or, a Microsoft Entra token, as a bearer token. Unset: `api_key`. */
  auth?: 'api_key' | 'bearer'
}

/**
 * Azure OpenAI: OpenAI's bodies, asked of a deployment. A resource is told its name in the path, and needs an API version; the v1 API is
 * told it in the body, as model.
 */
export function azureDialect({ baseUrl, apiVersion, auth }: AzureOptions): OpenAIDialect {
  const { pathname } = new URL(baseUrl)
  const isV1 = /\/openai\/v1\/*$/.test(pathname)
  const version = apiVersion ?? (isV1 ? undefined : '2025-04-01-preview')
  const query = version === undefined ? '' : `?api-version=${encodeURIComponent(version)}`
  const prefix = /\/openai\/*$/.test(pathname) ? '' : '/openai'
  return {
    path: (deployment, operation) => `${isV1 ? '' : `${prefix}/deployments/${encodeURIComponent(deployment)}`}/images/${operation}${query}`,
    namesModel: isV1,
    authorize: (credential) => (auth === 'bearer' ? { authorization: `Bearer ${credential}` } : { 'api-key': credential })
  }
}
