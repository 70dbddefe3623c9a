import type { JsonObject } from '@bufbuild/protobuf'
import { type OutputFormat, OutputFormatSchema } from '../../gen/atelier/v1/image_pb.ts'
import { GenerateImagesRequestSchema } from '../../gen/atelier/v1/image_service_pb.ts'
import { encodeMessage } from '../contract/json.ts'
import { wireName } from '../contract/wire-names.ts'
import { gatewayError } from '../errors.ts'
import type { UpstreamClient } from '../upstream/client.ts'
import { fromWire } from './openai-answer.ts'
import { toProviderError } from './openai-errors.ts'
import type { AttemptContext, Provider, ProviderEvent, Work } from './provider.ts'

export interface OpenAIOptions {
  /** Name of the provider in errors. */
  name: string
  /** Where `images/generations` is, e.g. "https://api.openai.com/v1"; the client calls paths below it. */
  baseUrl: string
  /** Sent with every call, e.g. OpenAI-Organization. */
  headers: Record<string, string>
}

/** OpenAI's Images API and every server shaped like it. The credential is sent as a bearer token, an empty one not at all. */
export function createOpenAIProvider(options: OpenAIOptions, deps: { client: UpstreamClient }): Provider {
  const headers = Object.fromEntries(Object.entries(options.headers).map(([name, value]) => [name.toLowerCase(), value]))

  async function* run(work: Work, attempt: AttemptContext): AsyncIterable<ProviderEvent> {
    const { credential, signal, log } = attempt
    const context = { provider: options.name, secrets: [credential, ...Object.values(headers)] }
    const response = await deps.client.send({
      method: 'POST',
      path: '/images/generations',
      headers: {
        ...headers,
        accept: 'application/json',
        'content-type': 'application/json',
        ...(credential === '' ? {} : { authorization: `Bearer ${credential}` })
      },
      body: JSON.stringify(toWire(work)),
      signal,
      timeoutMs: attempt.timeoutMs
    })
    const requestId = [response.headers['x-request-id']].flat()[0]
    log.debug({ provider: options.name, status: response.status, upstreamRequestId: requestId?.slice(0, 200) }, 'upstream answered')
    if (response.status < 200 || response.status > 299) {
      const body = await readHead(response.body, signal)
      throw toProviderError({ status: response.status, headers: response.headers, body }, context)
    }
    yield* fromWire(response.body, { ...context, baseUrl: options.baseUrl, n: work.n, mediaType: mediaTypeOf(work.request.outputFormat) })
  }

  return { recovery: 'opaque', understands: 'any option', trustedOrigins: [new URL(options.baseUrl).origin], run }
}

/**
 * The body of `POST images/generations`: what is set, under its REST name, then the request's own further parameters. Throws
 * INVALID_PARAMETER for `stream: true` among these: nobody could read that answer.
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
  const { model: _, n: __, size, request_id, strict, provider_options, ...fields } = encodeMessage(GenerateImagesRequestSchema, request)
  const typed: JsonObject = {
    model: upstreamModel,
    ...fields,
    ...(size === undefined ? {} : { [request.sizeSelector.case === 'aspectRatio' ? 'aspect_ratio' : 'size']: size }),
    n
  }
  return { ...typed, ...further, ...typed }
}

function mediaTypeOf(format: OutputFormat): string {
  const name = wireName(OutputFormatSchema, format)
  return name === undefined ? '' : name === 'svg' ? 'image/svg+xml' : `image/${name}`
}

/** The first 64 KiB of an error's body; whatever breaks while it is read, the status is already known. */
async function readHead(body: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  let sizeBytes = 0
  try {
    for await (const chunk of body) {
      chunks.push(chunk)
      sizeBytes += chunk.length
      if (sizeBytes >= 65_536) break
    }
  } catch (error) {
    if (signal.aborted) throw error
  }
  return Buffer.concat(chunks).subarray(0, 65_536)
}
