import { create, type JsonObject, type JsonValue } from '@bufbuild/protobuf'
import { ImageOutcome, type Warning, WarningKind, WarningSchema } from '../../gen/atelier/v1/image_pb.ts'
import { isObject } from '../contract/json-object.ts'
import { type GatewayError, gatewayError } from '../errors.ts'
import { listEvents } from '../events/event-iterators.ts'
import type { ImageLink } from '../events.ts'
import { type ImageBody, imageFromBase64 } from '../images/image-body.ts'
import { type JsonPart, readJson, readWholeJson } from '../images/read-json.ts'
import type { UpstreamBody } from '../upstream/client.ts'
import type { ErrorContext } from './error-answer.ts'
import { httpUrl } from './http-url.ts'
import { toInlineError } from './openai-errors.ts'
import { takeResolved, takeUsage } from './openai-fields.ts'
import type { ProviderEvent } from './provider.ts'
import { toUpstreamError, withUpstreamErrors } from './upstream-image.ts'
import { withoutNulls } from './without-nulls.ts'

export interface AnswerContext extends ErrorContext {
  /** What relative links are resolved against. */
  baseUrl: string
  /** Images that were asked for. */
  n: number
  /** Media type of the file format that was asked for; empty where it was left open. */
  mediaType: string
}

type NoImage = Extract<ProviderEvent, { kind: 'no_image' }>

/**
 * Reads a success answer while it arrives: each image is handed out before its last byte is here. Throws where it holds no image at all;
 * items without one are `no_image` where it holds at least one. An answer of links that is all here is read at once.
 */
export function fromWire(body: UpstreamBody, context: AnswerContext): AsyncIterable<ProviderEvent> {
  const parts = body.whole && readWholeJson(body.whole, places)
  if (!parts) return fromParts(readJson(body, places), context)
  const reading = createReading(context)
  const events: ProviderEvent[] = []
  for (const part of parts) events.push(...reading.take(part, reading.wants(part) ? openLink(part.value, context) : undefined))
  events.push(...reading.end())
  return listEvents(events)
}

const places = { lift: ['data[].b64_json'], emit: ['data[]'] }

async function* fromParts(parts: AsyncIterable<JsonPart>, context: AnswerContext): AsyncGenerator<ProviderEvent, void, undefined> {
  const reading = createReading(context)
  try {
    for await (const part of parts) {
      const open = () => (part.kind === 'lifted' ? openBase64(part.chars, context) : openLink(part.value, context))
      yield* reading.take(part, reading.wants(part) ? await open() : undefined)
    }
  } catch (error) {
    throw toUpstreamError(error, context.provider)
  }
  yield* reading.end()
}

/** What the parts of an answer come to. Each one is first asked about and then taken. */
interface Reading {
  /** Whether the image in a part, if there is one, is to be opened. */
  wants(part: JsonPart): boolean
  take(part: JsonPart, image: ImageLink | ImageBody | undefined): readonly ProviderEvent[]
  /** To be called behind the last part. Throws where there was no image. */
  end(): readonly ProviderEvent[]
}

function createReading(context: AnswerContext): Reading {
  const held: NoImage[] = []
  const categories: string[] = []
  let document: JsonObject = {}
  let images = 0
  let index = 0
  let isOpened = false
  let isWanted = false

  /** Whether it is behind the current item, in a second `data` member, or is the whole document. */
  const isPassed = ({ path }: JsonPart) => Number(path[1] ?? -1) < index

  return {
    wants(part) {
      isWanted = false
      if (isPassed(part)) return false
      const position = Number(part.path[1])
      // Elements that are no objects are not emitted.
      for (; index < position && index < context.n; index++) held.push(noImage({}, index, context))
      isWanted = !isOpened && position < context.n
      return isWanted
    },
    take(part, image) {
      if (part.kind === 'value' && part.path.length === 0) document = isObject(part.value) ? part.value : {}
      if (isPassed(part)) return []
      const events: ProviderEvent[] = []
      if (image) {
        isOpened = true
        images += 1
        events.push(...held.splice(0), { kind: 'image', index, image })
      }
      if (part.kind === 'lifted') return events
      if (isOpened) events.push(...detailsOf(part.value, index))
      else if (isWanted) {
        held.push(noImage(part.value, index, context))
        categories.push(...categoriesOf(part.value, context))
      }
      if (images > 0) events.push(...held.splice(0))
      index = Number(part.path[1]) + 1
      isOpened = false
      return events
    },
    end() {
      if (images === 0) throw withoutImages(document, held, [...new Set(categories)], context)
      const events: ProviderEvent[] = []
      for (let missing = index; missing < context.n; missing++) events.push(noImage(document, missing, context))
      events.push(completed(document, index, context))
      return events
    }
  }
}

/** The image in a `b64_json`, with a `data:` prefix taken off; undefined for an empty string. */
async function openBase64(chars: AsyncIterable<Uint8Array>, context: AnswerContext): Promise<ImageBody | undefined> {
  const source = chars[Symbol.asyncIterator]()
  let head: Uint8Array = new Uint8Array()
  let prefix: RegExpExecArray | null = null
  for (;;) {
    const next = await source.next()
    if (next.done) break
    head = head.length === 0 ? next.value : Buffer.concat([head, next.value])
    const text = String.fromCharCode(...head.subarray(0, 256))
    prefix = /^data:([^,;]*)[^,]*;base64,/.exec(text)
    if (prefix ? head.length > prefix[0].length : head.length >= 256 || (head.length >= 5 && !text.startsWith('data:'))) break
  }
  const first = head.subarray(prefix?.[0].length ?? 0)
  if (first.length === 0) return undefined
  const mediaType = imageType(prefix?.[1]) || context.mediaType
  return withUpstreamErrors(imageFromBase64(resume(first, source), mediaType, { givesChunksAway: true }), context.provider)
}

/** What was read ahead, then the rest, without another asynchronous layer. */
function resume(head: Uint8Array, rest: AsyncIterator<Uint8Array>): AsyncIterable<Uint8Array> {
  let ahead: Uint8Array | undefined = head
  return {
    [Symbol.asyncIterator]: () => ({
      next: () => {
        if (!ahead || ahead.length === 0) return rest.next()
        const value = ahead
        ahead = undefined
        return Promise.resolve({ done: false, value })
      },
      return: async () => (await rest.return?.()) ?? { done: true, value: undefined }
    })
  }
}

/** The image that an item links to; undefined where it has no usable link or says that the image is not to be shown. */
function openLink(item: JsonValue, context: AnswerContext): ImageLink | ImageBody | undefined {
  if (!isObject(item) || isFlagged(item)) return undefined
  const { url, mime_type } = item
  if (typeof url !== 'string' || url === '') return undefined
  const inline = /^data:([^,;]*)[^,]*;base64,/.exec(url)
  if (inline)
    return withUpstreamErrors(
      imageFromBase64(onlyChunk(Buffer.from(url.slice(inline[0].length), 'latin1')), imageType(inline[1])),
      context.provider
    )
  const absolute = httpUrl(url, context.baseUrl)
  return absolute === undefined ? undefined : { url: absolute, mediaType: imageType(mime_type) }
}

async function* onlyChunk(chunk: Uint8Array): AsyncIterable<Uint8Array> {
  yield chunk
}

function detailsOf(item: JsonValue, index: number): ProviderEvent[] {
  if (!isObject(item)) return []
  const { b64_json, url, revised_prompt, ...rest } = item
  const providerFields = withoutNulls(rest)
  const revisedPrompt = typeof revised_prompt === 'string' ? revised_prompt : ''
  const unnamed = Object.keys(providerFields).length > 0
  if (!unnamed && revisedPrompt === '') return []
  const details: ProviderEvent = { kind: 'image_details', index }
  if (revisedPrompt !== '') details.revisedPrompt = revisedPrompt
  if (unnamed) details.providerFields = providerFields
  return [details]
}

/** Why an image is missing, from its item, or from the whole answer where it has no item. */
export function noImage(item: JsonValue, index: number, context: AnswerContext): NoImage {
  const source = isObject(item) ? item : {}
  const error = isSet(source.error) ? toInlineError(source.error, context) : undefined
  const moderated = isFlagged(source) || error?.reason === 'CONTENT_POLICY_VIOLATION'
  const outcome = moderated ? ImageOutcome.MODERATED : ImageOutcome.FAILED
  const message = moderated ? "the provider's safety system withheld the image" : 'the provider returned no image'
  return { kind: 'no_image', index, outcome, message: error ? `${message}: ${error.fields.problem}` : message }
}

/** xAI's and Ideogram's flags and Azure's filter results. */
function isFlagged(item: JsonObject): boolean {
  if (item.respect_moderation === false || item.is_image_safe === false) return true
  return filteredIn(item).length > 0
}

/** The provider's names for what an image was withheld for. */
function categoriesOf(item: JsonValue, context: AnswerContext): string[] {
  if (!isObject(item)) return []
  const error = isSet(item.error) ? toInlineError(item.error, context) : undefined
  return [...filteredIn(item), ...(error?.moderation?.categories ?? [])]
}

function filteredIn({ content_filter_results: results }: JsonObject): string[] {
  const filters = isObject(results) ? Object.entries(results) : []
  return filters.filter(([name, filter]) => /^\w{1,64}$/.test(name) && isObject(filter) && filter.filtered === true).map(([name]) => name)
}

function withoutImages(document: JsonObject, held: readonly NoImage[], categories: string[], context: AnswerContext): GatewayError {
  const { provider } = context
  if (isSet(document.error)) return toInlineError(document, context)
  if (held.length === 0 && (isSet(document.message) || isSet(document.detail))) return toInlineError(document, context)
  const moderated = held.find((event) => event.outcome === ImageOutcome.MODERATED)
  if (moderated) {
    const options = { outcome: 'unknown', moderation: { stage: 'output', categories } } as const
    return gatewayError('CONTENT_POLICY_VIOLATION', { problem: moderated.message }, options)
  }
  const problem = held[0]?.message ?? 'it answered without any image'
  return gatewayError('PROVIDER_FAILED', { provider, problem }, { outcome: 'unknown' })
}

/** The end of an answer: its fields, as far as they are about all images together. */
export function completed(document: JsonObject, items: number, context: AnswerContext): ProviderEvent {
  const { created, data, error, ...rest } = document
  const unnamed = withoutNulls(rest)
  const resolved = takeResolved(unnamed)
  const usage = takeUsage(unnamed)
  const event: ProviderEvent = { kind: 'completed' }
  if (usage) event.usage = usage
  if (resolved) event.resolved = resolved
  if (items > context.n) event.warnings = [tooMany(items, context)]
  if (Object.keys(unnamed).length > 0) event.providerFields = unnamed
  return event
}

function tooMany(items: number, { provider, n }: AnswerContext): Warning {
  const message = `the provider ${provider} returned ${items} images instead of ${n}: the first ${n} are delivered`
  return create(WarningSchema, { kind: WarningKind.IGNORED, param: 'n', message })
}

function imageType(mediaType: JsonValue | undefined): string {
  return typeof mediaType === 'string' && /^image\/[\w.+-]{1,64}$/.test(mediaType) ? mediaType : ''
}

function isSet(value: JsonValue | undefined): value is JsonValue {
  return value !== undefined && value !== null && value !== ''
}
