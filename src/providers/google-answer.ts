import { create, type JsonObject, type JsonValue } from '@bufbuild/protobuf'
import {
  ImageOutcome,
  OutputFormatSchema,
  ResolvedParametersSchema,
  TokenDetailsSchema,
  type Usage,
  UsageSchema
} from '../../gen/atelier/v1/image_pb.ts'
import { isObject } from '../contract/json-object.ts'
import { enumValue } from '../contract/wire-names.ts'
import { gatewayError } from '../errors.ts'
import { decodeBase64 } from '../images/base64.ts'
import { readDimensions } from '../images/dimensions.ts'
import { imageFromBytes } from '../images/image-body.ts'
import { sniffMediaType } from '../images/media-type.ts'
import { readJson } from '../images/read-json.ts'
import type { ErrorContext } from './error-answer.ts'
import { firstCandidate, statedImageType, wordsOf } from './google-candidate.ts'
import { toInlineError } from './google-errors.ts'
import { mayShow, toRefusal } from './google-refusal.ts'
import { type HeldBytes, holdBytes } from './held-bytes.ts'
import type { ProviderEvent } from './provider.ts'
import { toUpstreamError } from './upstream-image.ts'
import { withoutNulls } from './without-nulls.ts'

export interface AnswerContext extends ErrorContext {
  /** Images that were asked for. */
  n: number
}

/**
 * Reads a success answer to its end and gives its last image: those before it are drafts that the model looked at, marked as thoughts or
 * not. Throws where it holds none, or a safety system withheld it. At most 64 MiB, the image as bytes, are held at a time.
 */
export async function* fromWire(body: AsyncIterable<Uint8Array>, context: AnswerContext): AsyncIterable<ProviderEvent> {
  const { document, image } = await readAnswer(body, context).catch((error: unknown) => {
    throw toUpstreamError(error, context.provider)
  })
  const { candidates, promptFeedback, usageMetadata, error, ...rest } = document
  if (error !== undefined && error !== null) throw toInlineError(error, context)
  const candidate = firstCandidate(document)
  if (!image || !candidate || !mayShow(document)) throw toRefusal(document, context)

  const head = image.bytes.head()
  const mediaType = sniffMediaType(head) ?? statedImageType(candidate, image.part)
  yield { kind: 'image', index: 0, image: imageFromBytes(image.bytes.take(), mediaType) }
  const providerFields = detailsOf(candidate)
  if (Object.keys(providerFields).length > 0) yield { kind: 'image_details', index: 0, providerFields }
  for (let index = 1; index < context.n; index++) {
    yield { kind: 'no_image', index, outcome: ImageOutcome.FAILED, message: 'the provider makes one image in a call' }
  }
  yield completed(usageMetadata, rest, mediaType, head)
}

interface Answer {
  /** The whole answer, the data of its images left out. */
  document: JsonObject
  /** The last image, and which of the candidate's parts it is. */
  image: { bytes: HeldBytes; part: number } | undefined
}

const parts = 'candidates[].content.parts[]'

/** More than the largest images, 5504x3072 pixels, take uncompressed. */
const maxImageBytes = 67_108_864

async function readAnswer(body: AsyncIterable<Uint8Array>, context: AnswerContext): Promise<Answer> {
  const answer: Answer = { document: {}, image: undefined }
  // Signatures are for a continued conversation; they can be as long as the image.
  for await (const part of readJson(body, { lift: [`${parts}.inlineData.data`, `${parts}.thoughtSignature`] })) {
    const [, candidate, , , index] = part.path
    if (part.kind === 'value') answer.document = isObject(part.value) ? part.value : {}
    else if (candidate === 0 && part.path.at(-1) === 'data') {
      // Let go before the next one is read: two large images would be twice the memory.
      answer.image = undefined
      answer.image = { bytes: await holdBytes(decodeBase64(part.chars), maxImageBytes, () => tooLarge(context)), part: Number(index) }
      if (answer.image.bytes.sizeBytes === 0) answer.image = undefined
    }
  }
  return answer
}

function tooLarge({ provider }: AnswerContext): Error {
  return gatewayError('PROVIDER_FAILED', { provider, problem: `its image has more than ${maxImageBytes} bytes` }, { outcome: 'unknown' })
}

/** What was said beside the image: words, and whatever of the candidate the contract does not name. */
function detailsOf(candidate: JsonObject): JsonObject {
  const { content, index, finishReason, ...rest } = candidate
  const text = wordsOf(candidate)
  return {
    ...withoutNulls(rest),
    ...(finishReason === undefined || finishReason === null || finishReason === 'STOP' ? {} : { finishReason }),
    ...(text === '' ? {} : { text })
  }
}

function completed(usageMetadata: JsonValue | undefined, rest: JsonObject, mediaType: string, head: Uint8Array): ProviderEvent {
  const { usage, unnamed } = takeUsage(isObject(usageMetadata) ? usageMetadata : {})
  const size = readDimensions(head)
  const outputFormat = enumValue(OutputFormatSchema, mediaType.replace('image/', '').replace('svg+xml', 'svg'))
  const providerFields = { ...withoutNulls(rest), ...(Object.keys(unnamed).length > 0 ? { usageMetadata: unnamed } : {}) }
  return {
    kind: 'completed',
    ...(usage ? { usage } : {}),
    ...(size || outputFormat
      ? { resolved: create(ResolvedParametersSchema, { ...(size ? { size } : {}), ...(outputFormat ? { outputFormat } : {}) }) }
      : {}),
    ...(Object.keys(providerFields).length > 0 ? { providerFields } : {})
  }
}

/** The vendor's counts. Of the output it itemizes only the images: the rest, thoughts included, is billed as text. */
function takeUsage(metadata: JsonObject): { usage: Usage | undefined; unnamed: JsonObject } {
  const {
    promptTokenCount,
    candidatesTokenCount,
    thoughtsTokenCount,
    totalTokenCount,
    promptTokensDetails,
    candidatesTokensDetails,
    ...rest
  } = metadata
  const unnamed = withoutNulls(rest)
  if (promptTokenCount === undefined && candidatesTokenCount === undefined && totalTokenCount === undefined) {
    return { usage: undefined, unnamed }
  }
  const input = count(promptTokenCount)
  const output = count(candidatesTokenCount) + count(thoughtsTokenCount)
  const usage = create(UsageSchema, {
    inputTokens: input,
    outputTokens: output,
    totalTokens: count(totalTokenCount) || input + output,
    ...(Array.isArray(promptTokensDetails) ? { inputTokensDetails: split(input, promptTokensDetails) } : {}),
    ...(Array.isArray(candidatesTokensDetails) ? { outputTokensDetails: split(output, candidatesTokensDetails) } : {})
  })
  return { usage, unnamed }
}

function split(total: bigint, details: JsonValue[]) {
  const images = details.filter(isObject).filter(({ modality }) => modality === 'IMAGE')
  const imageTokens = images.reduce((sum, { tokenCount }) => sum + count(tokenCount), 0n)
  return create(TokenDetailsSchema, { imageTokens, textTokens: total > imageTokens ? total - imageTokens : 0n })
}

function count(value: JsonValue | undefined): bigint {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? BigInt(value) : 0n
}
