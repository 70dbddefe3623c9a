import type { JsonValue } from '@bufbuild/protobuf'
import type { GenerateImagesRequest } from '../../gen/atelier/v1/image_service_pb.ts'
import type { ContentRules } from '../admission/content/content-rules.ts'
import type { Moderate } from '../admission/content/moderate.ts'
import type { Call } from '../call.ts'
import { GatewayError, gatewayError } from '../errors.ts'
import type { Gate } from './guarded-runner.ts'

/**
 * Refuses what the policy of the caller's organization does not allow: CONTENT_POLICY_VIOLATION, and MODERATION_UNAVAILABLE where the
 * policy's endpoint gives no answer and must.
 */
export function createContentGate(deps: { rulesOf(organizationId: string): ContentRules | undefined; moderate: Moderate }): Gate {
  return {
    enter({ request }, call) {
      const rules = deps.rulesOf(call.caller.organizationId)
      if (rules === undefined) return undefined
      const texts = textsOf(request)
      if (texts.some(rules.blocks)) throw refusal('holds what the content policy of this organization blocks', ['blocked_pattern'])
      if (rules.moderation === undefined) return undefined
      const judged = texts.filter((text) => !isFile(text))
      return judged.length === 0 ? undefined : askEndpoint(judged.join('\n\n'), rules.moderation, call)
    }
  }

  async function askEndpoint(
    text: string,
    { onFailure, endpoint }: NonNullable<ContentRules['moderation']>,
    call: Call
  ): Promise<undefined> {
    try {
      const flagged = await deps.moderate(text, endpoint(), call.signal)
      if (flagged === undefined) return undefined
      const seen = flagged.categories.length === 0 ? '' : `: ${flagged.categories.join(', ')}`
      throw refusal(`was flagged by the moderation endpoint of this organization${seen}`, flagged.categories)
    } catch (error) {
      if (!(error instanceof GatewayError) || error.reason !== 'MODERATION_UNAVAILABLE') throw error
      const outcome = onFailure === 'allow' ? 'the request was let through' : 'the request was refused'
      call.log.warn({ err: error, organization: call.caller.organizationId }, `a moderation endpoint gave no answer: ${outcome}`)
      if (onFailure === 'allow') return undefined
      throw error
    }
  }
}

/** What a provider may take for words: the prompt, and texts in options that only it knows. A negative prompt names what shall not be seen. */
function textsOf({ prompt, providerOptions }: GenerateImagesRequest): string[] {
  return [...(prompt === '' ? [] : [prompt]), ...(providerOptions === undefined ? [] : stringsIn(providerOptions))]
}

/** Whether an endpoint that judges texts has no use for it: base64, longer than a prompt may be. */
function isFile(text: string): boolean {
  return text.length > maxPromptLength && /^(?:data:[\w.+/;=-]*,)?[A-Za-z0-9+/]+={0,2}$/.test(text)
}

const maxPromptLength = 131_072

function stringsIn(value: JsonValue): string[] {
  if (typeof value === 'string') return [value]
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(stringsIn) : []
}

/** Names no pattern and no text: what is refused stands in the log. */
function refusal(problem: string, categories: string[]): GatewayError {
  return gatewayError(
    'CONTENT_POLICY_VIOLATION',
    { problem: `the prompt ${problem}` },
    { param: 'prompt', outcome: 'not_sent', moderation: { stage: 'input', categories } }
  )
}
