/** In what a server of OpenAI's Images API may differ from OpenAI's own: where a call goes and how the key travels. */
export interface OpenAIDialect {
  /** The call's path below the base URL, with its query. */
  path(upstreamModel: string, operation: 'generations' | 'edits'): string
  /** Whether the body says which model is asked; otherwise the path does. */
  namesModel: boolean
  /** The headers that carry a credential, which is not empty. */
  authorize(credential: string): Record<string, string>
}

export const openaiDialect: OpenAIDialect = {
  path: (_, operation) => `/images/${operation}`,
  namesModel: true,
  authorize: (credential) => ({ authorization: `Bearer ${credential}` })
}
