import { create, type JsonObject } from '@bufbuild/protobuf'
import { ImageOutcome, OutputFormatSchema, ResolvedParametersSchema, type Warning } from '../../gen/atelier/v1/image_pb.ts'
import { isObject } from '../contract/json-object.ts'
import { enumValue } from '../contract/wire-names.ts'
import { type GatewayError, gatewayError, type Outcome } from '../errors.ts'
import { decodeBase64 } from '../images/base64.ts'
import { imageFromBytes } from '../images/image-body.ts'
import { sniffMediaType } from '../images/media-type.ts'
import { JsonError, readJson } from '../images/read-json.ts'
import type { UpstreamResponse } from '../upstream/client.ts'
import { type HeldBytes, holdBytes } from './held-bytes.ts'
import type { ProviderEvent } from './provider.ts'
import type { PixelSize } from './stability-call.ts'
import { toUpstreamError } from './upstream-image.ts'
import { withoutNulls } from './without-nulls.ts'

export interface AnswerContext {
  /** Name of the provider in messages. */
  provider: string
  /** Images that were asked for. */
  n: number
  /** What they measure; undefined where the call did not say. */
  size: PixelSize | undefined
  /** About the request. */
  warnings: readonly Warning[]
}

/** Why an image is missing, and what that says about the call if no other image is there. */
interface Missing {
  event: Extract<ProviderEvent, { kind: 'no_image' }>
  outcome: Outcome
}

/**
 * Reads a success answer: the bytes of one image, or `artifacts` in JSON. Throws where it holds no image at all; artifacts without one are
 * `no_image` where it holds at least one. The content type decides, as the vendor chooses it by what it was asked to answer with.
 */
export async function* fromWire(
  response: Pick<UpstreamResponse, 'headers' | 'body'>,
  context: AnswerContext
): AsyncIterable<ProviderEvent> {
  const mediaType = header(response, 'content-type').split(';', 1).join().trim().toLowerCase()
  if (mediaType === 'application/json') yield* fromArtifacts(response.body, context)
  else yield* fromBytes(response, mediaType, context)
}

async function* fromBytes(
  response: Pick<UpstreamResponse, 'headers' | 'body'>,
  mediaType: string,
  context: AnswerContext
): AsyncIterable<ProviderEvent> {
  try {
    const finishReason = header(response, 'finish-reason')
    const failure = failureOf(finishReason, 0)
    if (failure) throw withoutImages([failure], context)
    if (!mediaType.startsWith('image/')) throw broken(`it answered with ${nameOf(mediaType)} instead of an image`, context)
    if (header(response, 'content-length') === '0') throw withoutImages([], context)
    yield { kind: 'image', index: 0, image: imageFromBytes(response.body, mediaType) }
    const seed = header(response, 'seed')
    yield* detailsOf({ seed: /^\d{1,15}$/.test(seed) ? Number(seed) : null, finish_reason: finishReason || null }, 0)
    yield completed(mediaType, context)
  } finally {
    await response.body[Symbol.asyncIterator]().return?.()
  }
}

/** What is known about an image stands behind it, so each one is held until it is known whether it may be shown. */
async function* fromArtifacts(body: AsyncIterable<Uint8Array>, context: AnswerContext): AsyncIterable<ProviderEvent> {
  const held: Missing[] = []
  let bytes: HeldBytes | undefined
  let images = 0
  let index = 0
  try {
    // The published schema is a bare array, the vendor's samples read `artifacts`.
    const lift = ['artifacts[].base64', '[].base64']
    for await (const part of readJson(body, { lift, emit: ['artifacts[]', '[]'] })) {
      const position = Number(part.path.at(part.kind === 'lifted' ? -2 : -1) ?? -1)
      // Before the current artifact: a second `artifacts` member. Behind the last one: more than was asked for.
      if (position < index || position >= context.n) continue
      if (part.kind === 'lifted') {
        bytes = await holdBytes(decodeBase64(part.chars), largestImageBytes, tooLarge)
        continue
      }
      for (; index < position; index++) held.push(missing(index))
      const { base64: _, finishReason = null, ...rest } = isObject(part.value) ? part.value : {}
      const failure = failureOf(finishReason, index)
      if (failure || !bytes?.sizeBytes) {
        held.push(failure ?? missing(index))
      } else {
        images += 1
        yield* eventsOf(held.splice(0))
        yield { kind: 'image', index, image: imageFromBytes(bytes.take(), sniffMediaType(bytes.head()) ?? 'image/png') }
        yield* detailsOf({ ...rest, finish_reason: finishReason }, index)
      }
      if (images > 0) yield* eventsOf(held.splice(0))
      bytes = undefined
      index += 1
    }
  } catch (error) {
    throw toUpstreamError(error, context.provider)
  }
  if (images === 0) throw withoutImages(held, context)
  for (; index < context.n; index++) yield missing(index).event
  yield completed('image/png', context)
}

/** The largest image that v1 makes has a megapixel. */
const largestImageBytes = 33_554_432

function tooLarge(): JsonError {
  return new JsonError('limit', `an image is larger than ${largestImageBytes} bytes`)
}

function eventsOf(held: readonly Missing[]): ProviderEvent[] {
  return held.map(({ event }) => event)
}

/**
 * A filtered image is sent blurred, and whether it is charged is documented nowhere; failed generations are documented as free. A reason
 * that is not known here is no failure as long as there is an image.
 */
function failureOf(finishReason: unknown, index: number): Missing | undefined {
  const noImage = (outcome: ImageOutcome, message: string) => ({ kind: 'no_image', index, outcome, message }) as const
  if (finishReason === 'CONTENT_FILTERED')
    return { event: noImage(ImageOutcome.MODERATED, "the provider's safety system withheld the image"), outcome: 'unknown' }
  if (finishReason === 'ERROR') return { event: noImage(ImageOutcome.FAILED, 'the provider could not make the image'), outcome: 'rejected' }
  return undefined
}

function missing(index: number): Missing {
  return { event: { kind: 'no_image', index, outcome: ImageOutcome.FAILED, message: 'the provider returned no image' }, outcome: 'unknown' }
}

/** What the provider says of an image beyond that it was made. */
function* detailsOf(fields: JsonObject, index: number): Iterable<ProviderEvent> {
  const { finish_reason, ...rest } = withoutNulls(fields)
  const providerFields = finish_reason === undefined || finish_reason === 'SUCCESS' ? rest : { ...rest, finish_reason }
  if (Object.keys(providerFields).length > 0) yield { kind: 'image_details', index, providerFields }
}

function withoutImages(held: readonly Missing[], context: AnswerContext): GatewayError {
  const moderated = held.find(({ event }) => event.outcome === ImageOutcome.MODERATED)
  if (moderated) {
    const options = { outcome: moderated.outcome, moderation: { stage: 'output', categories: [] as string[] } } as const
    return gatewayError('CONTENT_POLICY_VIOLATION', { problem: moderated.event.message }, options)
  }
  const problem = held[0]?.event.message ?? 'it answered without any image'
  return broken(problem, context, held.length > 0 && held.every(({ outcome }) => outcome === 'rejected') ? 'rejected' : 'unknown')
}

function broken(problem: string, { provider }: AnswerContext, outcome: Outcome = 'unknown'): GatewayError {
  return gatewayError('PROVIDER_FAILED', { provider, problem }, { outcome })
}

function nameOf(mediaType: string): string {
  return /^[\w.+-]{1,64}\/[\w.+-]{1,64}$/.test(mediaType) ? mediaType : 'something'
}

function completed(mediaType: string, { size, warnings }: AnswerContext): ProviderEvent {
  const outputFormat = enumValue(OutputFormatSchema, mediaType.slice('image/'.length))
  const resolved = create(ResolvedParametersSchema, { ...(size && { size }), ...(outputFormat !== undefined && { outputFormat }) })
  return { kind: 'completed', resolved, ...(warnings.length > 0 && { warnings }) }
}

function header({ headers }: Pick<UpstreamResponse, 'headers'>, name: string): string {
  return [headers[name]].flat()[0]?.trim() ?? ''
}
