import type { JsonObject, JsonValue } from '@bufbuild/protobuf'
import { isObject } from '../contract/json-object.ts'

/** The one candidate that is asked for. */
export function firstCandidate({ candidates }: JsonObject): JsonObject | undefined {
  const [first] = Array.isArray(candidates) ? candidates : []
  return isObject(first) ? first : undefined
}

/** The text parts of a candidate, without its thoughts. */
export function wordsOf(candidate: JsonObject): string {
  return partsOf(candidate)
    .flatMap((part) => (isObject(part) && typeof part.text === 'string' && part.thought !== true ? [part.text] : []))
    .join('\n')
    .trim()
}

/** What a part of the candidate states as the media type of its data; empty where that is no image's. */
export function statedImageType(candidate: JsonObject, index: number): string {
  const part = partsOf(candidate)[index]
  const mimeType = isObject(part) && isObject(part.inlineData) ? part.inlineData.mimeType : undefined
  return typeof mimeType === 'string' && /^image\/[\w.+-]{1,64}$/.test(mimeType) ? mimeType : ''
}

/** Where an answer was blocked, `parts` is null, or the whole content is empty. */
function partsOf({ content }: JsonObject): JsonValue[] {
  return isObject(content) && Array.isArray(content.parts) ? content.parts : []
}
