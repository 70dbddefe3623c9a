import { OutputFormatSchema } from '../../gen/atelier/v1/image_pb.ts'
import type { GenerateImagesRequest } from '../../gen/atelier/v1/image_service_pb.ts'
import { wireName } from '../contract/wire-names.ts'
import { multipartBody } from './multipart-body.ts'
import type { Work } from './provider.ts'
import { pixelSize, type StabilityCall, sayableSeed, textParts, unsaid, unsayable, withoutImage } from './stability-call.ts'
import { withoutNulls } from './without-nulls.ts'

/** Whether v2beta makes this model: core, ultra, the SD3 family, and inpaint, which only edits. */
export function isV2Model(upstreamModel: string): boolean {
  return ['core', 'ultra', 'inpaint'].includes(upstreamModel) || isSD3(upstreamModel)
}

/** The `provider_options` of a v2beta model. The turbo models have no `cfg_scale`; `strength` and `grow_mask` are for edits. */
export function v2Options(upstreamModel: string): readonly string[] {
  if (upstreamModel === 'core') return ['style_preset']
  if (upstreamModel === 'inpaint') return ['grow_mask', 'style_preset']
  return isSD3(upstreamModel) && !upstreamModel.endsWith('-turbo')
    ? ['cfg_scale', 'strength', 'style_preset']
    : ['strength', 'style_preset']
}

const highestSeed = 4_294_967_294

/** `POST /v2beta/stable-image/generate/{core|ultra|sd3}`: one image, as its bytes, so that it passes through untouched. */
export function toV2Call({ request, upstreamModel, n }: Work): StabilityCall {
  if (n !== 1) throw unsayable('n', `must be 1: ${upstreamModel} makes one image per call`)
  if (upstreamModel === 'inpaint') throw unsayable('model', 'inpaint only edits images, and none is given')
  const { seed, warnings } = sayableSeed(request.seed, highestSeed)
  const { strength, ...options } = request.providerOptions ?? {}
  const fields = withoutNulls({
    ...options,
    prompt: request.prompt,
    negative_prompt: request.negativePrompt || null,
    aspect_ratio: aspectRatio(request) ?? null,
    seed: seed ?? null,
    output_format: wireName(OutputFormatSchema, request.outputFormat) ?? null,
    ...(isSD3(upstreamModel) ? { mode: 'text-to-image', model: upstreamModel } : {})
  })
  const { contentType, ...body } = multipartBody(textParts(fields))
  return {
    path: `/v2beta/stable-image/generate/${isSD3(upstreamModel) ? 'sd3' : upstreamModel}`,
    accept: 'image/*',
    contentType,
    body,
    size: undefined,
    warnings: [...warnings, ...withoutImage('strength', strength), ...unsaid(request, upstreamModel, ['output_format'])]
  }
}

function isSD3(upstreamModel: string): boolean {
  return upstreamModel.startsWith('sd3')
}

/** In lowest terms, except where the vendor spells it otherwise; it answers a ratio that it does not make with those that it makes. */
function aspectRatio(request: GenerateImagesRequest): string | undefined {
  const shape = request.sizeSelector.case === 'aspectRatio' ? request.sizeSelector.value : pixelSize(request)
  if (!shape) return undefined
  const divisor = greatestCommonDivisor(shape.width, shape.height)
  const ratio = `${shape.width / divisor}:${shape.height / divisor}`
  return spellings[ratio] ?? ratio
}

const spellings: Readonly<Partial<Record<string, string>>> = { '7:3': '21:9', '3:7': '9:21' }

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b)
}
