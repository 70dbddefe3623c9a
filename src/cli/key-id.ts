import { parseApiKey } from '../admission/api-key.ts'

/** The id of an API key that is named by it, or as it is by whoever finds one that has leaked: the key itself never leaves this process. */
export function keyIdOf(text: string): string {
  return parseApiKey(text)?.id ?? text
}
