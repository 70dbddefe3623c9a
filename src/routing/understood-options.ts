import type { ConfiguredProvider } from './attempt.ts'

/**
 * Answers which parameters a provider understands for one of its models, besides those of its capabilities: `provider_options`, and `user`
 * and `safety_identifier` where it passes these on; none where it is not configured.
 */
export function understoodOptions(providers: ReadonlyMap<string, ConfiguredProvider>) {
  return (provider: string, upstreamModel: string): 'any option' | readonly string[] => {
    const backend = providers.get(provider)?.backend
    const understands = backend?.understands ?? []
    const options = typeof understands === 'function' ? understands(upstreamModel) : understands
    return options === 'any option' || !backend?.passesUser ? options : [...options, 'user', 'safety_identifier']
  }
}
