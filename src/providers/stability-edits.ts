import { create, type JsonObject } from '@bufbuild/protobuf'
import {
  InputFidelity,
  InputFidelitySchema,
  OutputFormatSchema,
  Size,
  type Warning,
  WarningKind,
  WarningSchema
} from '../../gen/atelier/v1/image_pb.ts'
import type { GenerateImagesRequest } from '../../gen/atelier/v1/image_service_pb.ts'
import { wireName } from '../contract/wire-names.ts'
import type { StoredImage } from '../images/image-body.ts'
import { fileExtension } from '../images/media-type.ts'
import { type FormPart, multipartBody } from './multipart-body.ts'
import type { EditInputs, InputImage, Work } from './provider.ts'
import { pixelSize, type StabilityCall, sayableSeed, textParts, unsaid, unsayable } from './stability-call.ts'
import { withoutNulls } from './without-nulls.ts'

/** The call that an edit comes to. `mask` is that of the inputs, translated: white is painted over, black is kept. */
export function toEditCall(work: Work, inputs: EditInputs, mask: StoredImage | undefined): StabilityCall {
  const [image, second] = inputs.images
  if (!image || second) throw unsayable('image', `must be one image: ${work.upstreamModel} works on no more`)
  const { upstreamModel } = work
  if (upstreamModel === 'core') throw unsayable('model', 'core cannot edit images')
  if (upstreamModel === 'inpaint') return toInpaintCall(work, image, mask, inputs.inputFidelity)
  if (upstreamModel !== 'ultra' && !upstreamModel.startsWith('sd3')) return toV1Edit(work, image, mask, inputs.inputFidelity)
  if (mask) throw unsayable('mask', `${upstreamModel} takes no mask; stable-image-inpaint does`)
  return toV2Edit(work, image, inputs.inputFidelity)
}

const highestSeed = { v1: 4_294_967_295, v2: 4_294_967_294 }

/** `POST /v2beta/stable-image/edit/inpaint`. Without a mask the vendor paints over what is transparent in the image. */
function toInpaintCall({ request, upstreamModel, n }: Work, image: InputImage, mask: StoredImage | undefined, fidelity: InputFidelity) {
  const { seed, warnings } = seedFor(request, n, upstreamModel)
  return v2Call(
    'edit/inpaint',
    { ...commonFields(request, seed) },
    [filePart('image', image), ...(mask ? [filePart('mask', mask)] : [])],
    [...warnings, ...fidelityIgnored(fidelity), ...leftOut(request, image, upstreamModel, ['output_format'])]
  )
}

/** Image to image by `POST /v2beta/stable-image/generate/{ultra|sd3}`, where the vendor insists on a strength. */
function toV2Edit({ request, upstreamModel, n }: Work, image: InputImage, fidelity: InputFidelity): StabilityCall {
  const { seed, warnings } = seedFor(request, n, upstreamModel)
  const isSD3 = upstreamModel !== 'ultra'
  const chosen = request.providerOptions?.strength ?? undefined
  const strength = chosen === undefined ? influence(fidelity) : undefined
  return v2Call(
    `generate/${isSD3 ? 'sd3' : 'ultra'}`,
    { ...commonFields(request, seed), ...(strength && { strength }), ...(isSD3 && { mode: 'image-to-image', model: upstreamModel }) },
    [filePart('image', image)],
    [...warnings, ...fidelityWarnings(fidelity, 'strength', strength), ...leftOut(request, image, upstreamModel, ['output_format'])]
  )
}

/** `POST /v1/generation/{engine}/image-to-image`, or its `masking`. Its strength is the image's, not the change's. */
function toV1Edit(
  { request, upstreamModel, n }: Work,
  image: InputImage,
  mask: StoredImage | undefined,
  fidelity: InputFidelity
): StabilityCall {
  const { seed, warnings } = sayableSeed(request.seed, highestSeed.v1)
  const { image_strength = null, ...options } = withoutNulls(request.providerOptions ?? {})
  const strength = fidelity && image_strength === null && !mask ? Number((1 - influence(fidelity)).toFixed(2)) : undefined
  const fields = withoutNulls({
    ...options,
    ...promptFields(request),
    ...(mask ? { mask_source: 'MASK_IMAGE_WHITE' } : { init_image_mode: 'IMAGE_STRENGTH', image_strength: strength ?? image_strength }),
    samples: n,
    seed: seed ?? null
  })
  const files = [filePart('init_image', image), ...(mask ? [filePart('mask_image', mask)] : [])]
  const { contentType, ...body } = multipartBody([...textParts(fields), ...files])
  return {
    path: `/v1/generation/${encodeURIComponent(upstreamModel)}/image-to-image${mask ? '/masking' : ''}`,
    accept: n === 1 ? 'image/png' : 'application/json',
    contentType,
    body,
    size: { width: image.width, height: image.height },
    warnings: [
      ...warnings,
      ...(mask && image_strength !== null ? [ignored('image_strength', 'it has no effect beside a mask')] : []),
      ...fidelityWarnings(fidelity, 'image_strength', strength),
      ...leftOut(request, image, upstreamModel, wireName(OutputFormatSchema, request.outputFormat) === 'png' ? ['output_format'] : [])
    ]
  }
}

function v2Call(endpoint: string, fields: JsonObject, files: FormPart[], warnings: Warning[]): StabilityCall {
  const { contentType, ...body } = multipartBody([...textParts(withoutNulls(fields)), ...files])
  return { path: `/v2beta/stable-image/${endpoint}`, accept: 'image/*', contentType, body, size: undefined, warnings }
}

function seedFor(request: GenerateImagesRequest, n: number, model: string) {
  if (n !== 1) throw unsayable('n', `must be 1: ${model} makes one image per call`)
  return sayableSeed(request.seed, highestSeed.v2)
}

function commonFields(request: GenerateImagesRequest, seed: number | undefined): JsonObject {
  return {
    ...request.providerOptions,
    prompt: request.prompt,
    negative_prompt: request.negativePrompt || null,
    seed: seed ?? null,
    output_format: wireName(OutputFormatSchema, request.outputFormat) ?? null
  }
}

function promptFields({ prompt, negativePrompt }: GenerateImagesRequest): JsonObject {
  const positive = { 'text_prompts[0][text]': prompt, 'text_prompts[0][weight]': 1 }
  return negativePrompt === '' ? positive : { ...positive, 'text_prompts[1][text]': negativePrompt, 'text_prompts[1][weight]': -1 }
}

/**
 * How far the result may leave the image, from 0 for not at all to 1 for a new one. The middle is what v1 takes for its default;
 * v2beta has none.
 */
function influence(fidelity: InputFidelity): number {
  if (fidelity === InputFidelity.HIGH) return 0.35
  return fidelity === InputFidelity.LOW ? 0.75 : 0.65
}

function fidelityWarnings(fidelity: InputFidelity, option: string, strength: number | undefined): Warning[] {
  if (!fidelity) return []
  if (strength === undefined) return fidelityIgnored(fidelity)
  const message = `${wireName(InputFidelitySchema, fidelity)} became the ${option} ${strength}`
  return [create(WarningSchema, { kind: WarningKind.CONVERTED, param: 'input_fidelity', message })]
}

function fidelityIgnored(fidelity: InputFidelity): Warning[] {
  return fidelity ? [ignored('input_fidelity', 'how far the result may leave the image is said otherwise in this call')] : []
}

/** Warnings for what an edit cannot be asked for: as `unsaid`, and a shape that is not the image's. */
function leftOut(request: GenerateImagesRequest, image: InputImage, model: string, sayable: readonly string[]): Warning[] {
  const warnings = unsaid(request, model, sayable)
  if (hasShapeOf(request, image)) return warnings
  const message = `an edit by ${model} has the shape of its image, ${image.width}x${image.height}`
  if (request.strict) throw unsayable('size', message)
  return [...warnings, ignored('size', message)]
}

function hasShapeOf(request: GenerateImagesRequest, image: InputImage): boolean {
  const { sizeSelector } = request
  if (sizeSelector.case === undefined || (sizeSelector.case === 'size' && sizeSelector.value === Size.SIZE_AUTO)) return true
  const shape = sizeSelector.case === 'aspectRatio' ? sizeSelector.value : pixelSize(request)
  return shape !== undefined && shape.width * image.height === shape.height * image.width
}

function ignored(param: string, message: string): Warning {
  return create(WarningSchema, { kind: WarningKind.IGNORED, param, message })
}

function filePart(name: string, file: StoredImage): FormPart {
  return { name, file, fileName: `${name}.${fileExtension(file.mediaType)}` }
}
