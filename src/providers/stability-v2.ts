import { randomBytes } from 'node:crypto'
import type { JsonValue } from '@bufbuild/protobuf'
import { OutputFormatSchema } from '../../gen/atelier/v1/image_pb.ts'
import type { GenerateImagesRequest } from '../../gen/atelier/v1/image_service_pb.ts'
import { wireName } from '../contract/wire-names.ts'
import { withoutNulls } from './json-object.ts'
import type { Work } from './provider.ts'
import { pixelSize, type StabilityCall, sayableSeed, unsaid, unsayable } from './stability-call.ts'

/** Whether v2beta makes this model: core, ultra, and the SD3 family. */
export function isV2Model(upstreamModel: string): boolean {
  return upstreamModel === 'core' || upstreamModel === 'ultra' || isSD3(upstreamModel)
}

/** The `provider_options` of a v2beta model. The turbo models have no `cfg_scale`. */
export function v2Options(upstreamModel: string): readonly string[] {
  return isSD3(upstreamModel) && !upstreamModel.endsWith('-turbo') ? ['cfg_scale', 'style_preset'] : ['style_preset']
}

const highestSeed = 4_294_967_294

/** `POST /v2beta/stable-image/generate/{core|ultra|sd3}`: one image, as its bytes, so that it passes through untouched. */
export function toV2Call({ request, upstreamModel, n }: Work): StabilityCall {
  if (n !== 1) throw unsayable('n', `must be 1: ${upstreamModel} makes one image per call`)
  const { seed, warnings } = sayableSeed(request.seed, highestSeed)
  const fields = withoutNulls({
    ...request.providerOptions,
    prompt: request.prompt,
    negative_prompt: request.negativePrompt || null,
    aspect_ratio: aspectRatio(request) ?? null,
    seed: seed ?? null,
    output_format: wireName(OutputFormatSchema, request.outputFormat) ?? null,
    ...(isSD3(upstreamModel) ? { mode: 'text-to-image', model: upstreamModel } : {})
  })
  const boundary = `atelier-${randomBytes(16).toString('hex')}`
  return {
    path: `/v2beta/stable-image/generate/${isSD3(upstreamModel) ? 'sd3' : upstreamModel}`,
    accept: 'image/*',
    contentType: `multipart/form-data; boundary=${boundary}`,
    body: formData(fields, boundary),
    size: undefined,
    warnings: [...warnings, ...unsaid(request, upstreamModel, ['output_format'])]
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

/** The fields as multipart/form-data, which these endpoints insist on. The boundary is random: no value can hold it. */
function formData(fields: Record<string, JsonValue>, boundary: string): Uint8Array {
  const parts = Object.entries(fields).map(([name, value]) => {
    if (typeof value === 'object') throw unsayable(name, 'must be a string, a number, true or false')
    return `--${boundary}\r\ncontent-disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`
  })
  return Buffer.from(`${parts.join('')}--${boundary}--\r\n`)
}
