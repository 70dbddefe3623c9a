import type { ProviderEvent } from '../providers/provider.ts'

/** The same events, where every image says how its prompt was revised: as the provider says, else with `prompt`. */
export async function* withRevisedPrompts(
  events: AsyncIterable<ProviderEvent>,
  prompt: string
): AsyncGenerator<ProviderEvent, void, undefined> {
  let unsaid: number | undefined
  for await (const event of events) {
    if (event.kind === 'image_details') {
      yield { ...event, revisedPrompt: event.revisedPrompt ?? prompt }
      unsaid = undefined
      continue
    }
    if (unsaid !== undefined) yield { kind: 'image_details', index: unsaid, revisedPrompt: prompt }
    unsaid = event.kind === 'image' ? event.index : undefined
    yield event
  }
}
