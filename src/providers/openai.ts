import type { JsonObject } from '@bufbuild/protobuf'
import { type OutputFormat, OutputFormatSchema } from '../../gen/atelier/v1/image_pb.ts'
import { GenerateImagesRequestSchema } from '../../gen/atelier/v1/image_service_pb.ts'
import { encodeMessage } from '../contract/json.ts'
import { wireName } from '../contract/wire-names.ts'
import { gatewayError } from '../errors.ts'
import { openEvents } from '../events/event-iterators.ts'
import type { UpstreamClient } from '../upstream/client.ts'
import { configuredHeaders } from './configured-headers.ts'
import { multipartBody } from './multipart-body.ts'
import { fromWire } from './openai-answer.ts'
import { type OpenAIDialect, openaiDialect } from './openai-dialect.ts'
import { toProviderError } from './openai-errors.ts'
import { toForm } from './openai-form.ts'
import { fromStream } from './openai-stream.ts'
import { lowerCaseNames, postUpstream } from './post-upstream.ts'
import type { AttemptContext, Provider, ProviderEvent, Work } from './provider.ts'

export interface OpenAIOptions {
  /** Name of the provider in errors. */
  name: string
  /** Where `images/generations` and `images/edits` are, e.g. "https://api.openai.com/v1"; the client calls paths below it. */
  baseUrl: string
  /** Sent with every call, e.g. OpenAI-Organization. */
  headers: Record<string, string>
  /** Unset: OpenAI's own. */
  dialect?: OpenAIDialect
}

/**
 * OpenAI's Images API and every server shaped like it. An empty credential is not sent at all. Images are edited by `images/edits`, as a
 * form whose files are read while they are sent; a mask goes as it is, for OpenAI's own meaning of one is the contract's.
 */
export function createOpenAIProvider(options: OpenAIOptions, deps: { client: UpstreamClient }): Provider {
  const headers = lowerCaseNames(options.headers)
  const configured = Object.values(headers)
  const dialect = options.dialect ?? openaiDialect

  async function send(work: Work, attempt: AttemptContext): Promise<AsyncIterable<ProviderEvent>> {
    const { credential } = attempt
    const context = { provider: options.name, secrets: [credential, ...configured] }
    const fields = dialect.namesModel ? toWire(work) : withoutModel(toWire(work))
    const form = work.inputs && multipartBody(toForm(fields, work.inputs))
    const sent = {
      ...configuredHeaders(headers, attempt),
      accept: 'application/json',
      'content-type': form?.contentType ?? 'application/json'
    }
    const request = {
      path: dialect.path(work.upstreamModel, form ? 'edits' : 'generations'),
      headers: credential === '' ? sent : Object.assign(sent, dialect.authorize(credential)),
      body: form ?? JSON.stringify(fields)
    }
    const response = await postUpstream(deps.client, request, attempt, context, toProviderError)
    const isStream = String(response.headers['content-type'] ?? '').startsWith('text/event-stream')
    return (isStream ? fromStream : fromWire)(response.body, {
      ...context,
      baseUrl: options.baseUrl,
      n: work.n,
      mediaType: mediaTypeOf(work.request.outputFormat)
    })
  }

  return {
    recovery: 'opaque',
    understands: 'any option',
    trustedOrigins: [new URL(options.baseUrl).origin],
    run: (work, attempt) => openEvents(() => send(work, attempt))
  }
}

/**
 * The fields of `POST images/generations` and `images/edits`: what is set, under its REST name, then the request's own further
 * parameters. Throws INVALID_PARAMETER for `stream: true` among these: nobody could read that answer.
 */
export function toWire(work: Work): JsonObject {
  const { request, upstreamModel, n } = work
  const further = request.providerOptions ?? {}
  if (further.stream === true) {
    throw gatewayError(
      'INVALID_PARAMETER',
      { param: 'stream', problem: 'must not be true: this call answers with whole images' },
      { outcome: 'not_sent' }
    )
  }
  const fields = encodeMessage(GenerateImagesRequestSchema, request)
  const typed: JsonObject = { model: upstreamModel }
  for (const [name, value] of Object.entries(fields)) if (!writtenOtherwise.has(name)) typed[name] = value
  const { size, partial_images } = fields
  if (size !== undefined) typed[request.sizeSelector.case === 'aspectRatio' ? 'aspect_ratio' : 'size'] = size
  typed.n = n
  if (partial_images) Object.assign(typed, { stream: true, partial_images })
  return request.providerOptions ? { ...typed, ...further, ...typed } : typed
}

/** What is ours, or stands elsewhere in the body or under another name. */
const writtenOtherwise: ReadonlySet<string> = new Set([
  'model',
  'n',
  'size',
  'request_id',
  'strict',
  'on_interrupt',
  'on_disconnect',
  'max_cost_micros',
  'provider_options',
  'partial_images'
])

function withoutModel({ model: _, ...body }: JsonObject): JsonObject {
  return body
}

function mediaTypeOf(format: OutputFormat): string {
  const name = wireName(OutputFormatSchema, format)
  return name === undefined ? '' : name === 'svg' ? 'image/svg+xml' : `image/${name}`
}
