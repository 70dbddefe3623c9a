import { createHash } from 'node:crypto'
import type { GenerateImagesRequest } from '../../gen/atelier/v1/image_service_pb.ts'
import { GatewayError, gatewayError } from '../errors.ts'
import type { StoredImage } from '../images/image-body.ts'
import { toLuminanceMask } from '../images/luminance-mask.ts'
import type { UpstreamClient } from '../upstream/client.ts'
import { configuredHeaders } from './configured-headers.ts'
import { lowerCaseNames, postUpstream } from './post-upstream.ts'
import type { AttemptContext, Provider, ProviderEvent, Work } from './provider.ts'
import { fromWire } from './stability-answer.ts'
import type { StabilityCall } from './stability-call.ts'
import { toEditCall } from './stability-edits.ts'
import { toProviderError } from './stability-errors.ts'
import { toV1Call, v1Options } from './stability-v1.ts'
import { isV2Model, toV2Call, v2Options } from './stability-v2.ts'

export interface StabilityOptions {
  /** Name of the provider in errors. */
  name: string
  /** Below which `v1` and `v2beta` are, e.g. "https://api.stability.ai". */
  baseUrl: string
  /** Sent with every call, e.g. Organization or stability-client-id. */
  headers: Record<string, string>
}

/**
 * Stability AI's REST API: `v2beta/stable-image` for core, ultra, inpaint and the SD3 family, and `v1/generation` for every other engine.
 * Of a mask the vendor reads the brightness, not the opacity, so it is translated. The credential is sent as a bearer token, an empty one
 * not at all. The end user's name goes along as `stability-client-user-id`.
 */
export function createStabilityProvider(options: StabilityOptions, deps: { client: UpstreamClient }): Provider {
  const headers = lowerCaseNames(options.headers)

  async function* run(work: Work, attempt: AttemptContext): AsyncIterable<ProviderEvent> {
    const { credential } = attempt
    const context = { provider: options.name, secrets: [credential, ...Object.values(headers)] }
    const mask = work.inputs?.mask && (await translate(work.inputs.mask))
    const call = toWire(work, mask)
    const request = {
      path: call.path,
      headers: {
        ...configuredHeaders(headers, attempt),
        ...userHeader(work.request),
        accept: call.accept,
        'content-type': call.contentType,
        ...(credential === '' ? {} : { authorization: `Bearer ${credential}` })
      },
      body: call.body
    }
    const response = await postUpstream(deps.client, request, attempt, context, toProviderError)
    yield* fromWire(response, { provider: options.name, n: work.n, size: call.size, warnings: call.warnings })
  }

  return {
    recovery: 'opaque',
    understands: (upstreamModel) => (isV2Model(upstreamModel) ? v2Options(upstreamModel) : v1Options),
    passesUser: true,
    trustedOrigins: [],
    run
  }
}

/**
 * The call that a request comes to; `mask` is that of its inputs, white where it is to be painted over. Throws what the vendor's interface
 * cannot say, with the outcome `not_sent`.
 */
export function toWire(work: Work, mask?: StoredImage): StabilityCall {
  if (work.inputs) return toEditCall(work, work.inputs, mask)
  return isV2Model(work.upstreamModel) ? toV2Call(work) : toV1Call(work)
}

/** The vendor takes 10 MiB in a request, and a mask is decoded from memory. Whoever checked it read no more than its header. */
const largestMaskBytes = 10_485_760

async function translate(mask: StoredImage): Promise<StoredImage> {
  const refuse = (problem: string, cause?: unknown) =>
    gatewayError('INVALID_PARAMETER', { param: 'mask', problem }, { outcome: 'not_sent', cause })
  if (mask.sizeBytes > largestMaskBytes) throw refuse(`must have at most ${largestMaskBytes} bytes`)
  return toLuminanceMask(mask).catch((error: unknown) => {
    throw error instanceof GatewayError ? error : refuse('is no PNG that can be read', error)
  })
}

/** The vendor takes 256 characters and lets the name be obfuscated: one that does not fit into the header is replaced by its hash. */
function userHeader({ safetyIdentifier, user }: GenerateImagesRequest): Record<string, string> {
  const name = safetyIdentifier || user
  if (name === '') return {}
  const fits = name.length <= 256 && /^[!-~]([ -~]*[!-~])?$/.test(name)
  return { 'stability-client-user-id': fits ? name : createHash('sha256').update(name).digest('hex') }
}
