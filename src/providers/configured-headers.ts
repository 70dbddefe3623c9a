import type { AttemptContext } from './provider.ts'

/** The configured headers that go along with a key: those that name an account only with the operator's own. Names in lower case. */
export function configuredHeaders(headers: Record<string, string>, { isForeignKey = false }: AttemptContext): Record<string, string> {
  if (!isForeignKey) return headers
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !accountHeaders.includes(name)))
}

/** OpenAI, Stability and Google refuse a key that is not of the account which these name, or bill that account. */
const accountHeaders = ['openai-organization', 'openai-project', 'organization', 'x-goog-user-project']
