import type { JsonObject, JsonValue } from '@bufbuild/protobuf'
import { isObject } from '../contract/json-object.ts'
import { type GatewayError, gatewayError } from '../errors.ts'
import { type ErrorContext, scrub } from './error-answer.ts'
import { firstCandidate, wordsOf } from './google-candidate.ts'

/** Whether the last image of an answer is its result, and no draft whose successor was withheld. */
export function mayShow(document: JsonObject): boolean {
  const reason = text(firstCandidate(document)?.finishReason)
  return blockReasonOf(document) === '' && !safetyReason.test(reason) && !imagelessReasons.includes(reason)
}

/**
 * Why an answer with a success status gives no image: CONTENT_POLICY_VIOLATION where a safety system stopped the prompt or withheld the
 * image, PROVIDER_FAILED for everything else.
 */
export function toRefusal(document: JsonObject, context: ErrorContext): GatewayError {
  const blockReason = blockReasonOf(document)
  if (blockReason !== '') return promptRefused(feedbackOf(document), blockReason, context)
  const candidate = firstCandidate(document)
  const reason = text(candidate?.finishReason)
  const message = scrub(text(candidate?.finishMessage), context)
  const outcome = /not be charged/i.test(message) ? 'rejected' : 'unknown'
  if (safetyReason.test(reason) || safetyMessage.test(message)) {
    const problem = message || `the provider's safety system withheld the image (${reason})`
    const moderation = { stage: 'output', categories: categoriesOf(candidate ?? {}, reason) } as const
    return gatewayError('CONTENT_POLICY_VIOLATION', { problem }, { outcome, moderation })
  }
  const problem = candidate ? whyNoImage(candidate, reason, message, context) : 'it answered without any candidate, and does not say why'
  return gatewayError('PROVIDER_FAILED', { provider: context.provider, problem }, { outcome })
}

function feedbackOf({ promptFeedback }: JsonObject): JsonObject {
  return isObject(promptFeedback) ? promptFeedback : {}
}

function blockReasonOf(document: JsonObject): string {
  return text(feedbackOf(document).blockReason)
}

function promptRefused(feedback: JsonObject, blockReason: string, context: ErrorContext): GatewayError {
  const problem = scrub(text(feedback.blockReasonMessage), context) || `the provider's safety system refused the prompt (${blockReason})`
  const moderation = { stage: 'input', categories: categoriesOf(feedback, blockReason) } as const
  return gatewayError('CONTENT_POLICY_VIOLATION', { problem }, { outcome: 'rejected', param: 'prompt', moderation })
}

/** Safety verdicts among the `finishReason`s, also with IMAGE_ before them. The list is open, and these words are how it has grown so far. */
const safetyReason = /(^|_)(SAFETY|PROHIBITED_CONTENT|RECITATION|BLOCKLIST|SPII)$/

/** How the vendor words a verdict whose `finishReason` is missing or too new. */
const safetyMessage = /\bfiltered\b|\bviolat|prohibited use|third-party content/i

/** With these no image was made, for reasons other than safety: what there is are drafts. */
const imagelessReasons: readonly string[] = ['NO_IMAGE', 'IMAGE_OTHER']

function whyNoImage(candidate: JsonObject, reason: string, message: string, context: ErrorContext): string {
  const named = reason === '' || reason === 'STOP' ? '' : ` (${reason})`
  if (message !== '') return `${message}${named}`
  const words = [...scrub(wordsOf(candidate), context)]
  if (words.length === 0) return `it answered without an image${named}`
  const shown = words.length <= 200 ? words.join('') : `${words.slice(0, 199).join('')}…`
  return `it answered with text instead of an image${named}: ${shown}`
}

/** The categories for which something was blocked, in the vendor's words without their prefix; where it names none, its reason. */
function categoriesOf({ safetyRatings }: JsonObject, reason: string): string[] {
  const ratings = (Array.isArray(safetyRatings) ? safetyRatings : []).filter(isObject)
  const blocked = ratings.filter((rating) => rating.blocked === true).map((rating) => text(rating.category).replace(/^HARM_CATEGORY_/, ''))
  return (blocked.length > 0 ? blocked : [reason]).filter((name) => /^\w{1,64}$/.test(name)).map((name) => name.toLowerCase())
}

function text(value: JsonValue | undefined): string {
  return typeof value === 'string' ? value : ''
}
