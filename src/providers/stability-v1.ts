import { OutputFormat } from '../../gen/atelier/v1/image_pb.ts'
import type { GenerateImagesRequest } from '../../gen/atelier/v1/image_service_pb.ts'
import type { Work } from './provider.ts'
import { type PixelSize, pixelSize, type StabilityCall, sayableSeed, unsaid, unsayable, withoutImage } from './stability-call.ts'
import { withoutNulls } from './without-nulls.ts'

/** The `provider_options` of v1 engines; `image_strength` is for edits. */
export const v1Options: readonly string[] = [
  'cfg_scale',
  'clip_guidance_preset',
  'extras',
  'image_strength',
  'sampler',
  'steps',
  'style_preset'
]

const highestSeed = 4_294_967_295

/** `POST /v1/generation/{engine}/text-to-image`. */
export function toV1Call({ request, upstreamModel, n }: Work): StabilityCall {
  const size = sizeFor(request, upstreamModel)
  const { seed, warnings } = sayableSeed(request.seed, highestSeed)
  const sayable = request.outputFormat === OutputFormat.PNG ? ['output_format'] : []
  const { image_strength, ...options } = withoutNulls(request.providerOptions ?? {})
  const body = {
    ...options,
    text_prompts: textPrompts(request),
    ...(size && { width: size.width, height: size.height }),
    samples: n,
    ...(seed !== undefined && { seed })
  }
  return {
    path: `/v1/generation/${encodeURIComponent(upstreamModel)}/text-to-image`,
    // A single image comes as its bytes, and headers say what it is before they come. In JSON the finish reason stands behind the image.
    accept: n === 1 ? 'image/png' : 'application/json',
    contentType: 'application/json',
    body: JSON.stringify(body),
    size,
    warnings: [...warnings, ...withoutImage('image_strength', image_strength), ...unsaid(request, upstreamModel, sayable)]
  }
}

function textPrompts({ prompt, negativePrompt }: GenerateImagesRequest) {
  if (negativePrompt === '') return [{ text: prompt }]
  return [
    { text: prompt, weight: 1 },
    { text: negativePrompt, weight: -1 }
  ]
}

/** The vendor's default of 512x512 is none of the sizes that its SDXL 1.0 engines make. */
function sizeFor(request: GenerateImagesRequest, engine: string): PixelSize | undefined {
  if (request.sizeSelector.case === 'aspectRatio') throw unsayable('aspect_ratio', `${engine} is asked by width and height`)
  return pixelSize(request) ?? (engine.startsWith('stable-diffusion-xl-1024-') ? { width: 1024, height: 1024 } : undefined)
}
