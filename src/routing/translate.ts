import { create } from '@bufbuild/protobuf'
import {
  Background,
  DimensionsSchema,
  Moderation,
  OutputFormat,
  OutputFormatSchema,
  Quality,
  QualitySchema,
  ResponseFormat,
  Size,
  Style,
  type Warning,
  WarningKind,
  WarningSchema
} from '../../gen/atelier/v1/image_pb.ts'
import { type GenerateImagesRequest, GenerateImagesRequestSchema } from '../../gen/atelier/v1/image_service_pb.ts'
import { DeliveryForm, type ModelCapabilities } from '../../gen/atelier/v1/model_pb.ts'
import { wireName } from '../contract/wire-names.ts'
import { askedSize } from './contract-rules.ts'
import { describeSizes, sizeAllowed, sizeForRatio } from './size.ts'

export interface Translation {
  /** The request in the serving model's terms. */
  request: GenerateImagesRequest
  /** One for each parameter that could not be honoured as it was given. */
  warnings: Warning[]
}

/**
 * Puts a request that is legal for the name the caller wrote into the terms of the model that serves it. What that model cannot honour
 * is converted or taken out, each time with a warning. Without capabilities nothing is known, and everything is passed on.
 */
export function translate(
  request: GenerateImagesRequest,
  serving: string,
  can: ModelCapabilities | undefined,
  understands: 'any option' | readonly string[],
  form: ResponseFormat
): Translation {
  const warnings: Warning[] = []
  const warn = (kind: WarningKind, param: string, message: string) => warnings.push(create(WarningSchema, { kind, param, message }))
  const out = create(GenerateImagesRequestSchema, request)
  translateOptions(out, serving, understands, warn)
  if (!can) return { request: out, warnings }
  translateSize(out, serving, can, warn)
  translateQuality(out, serving, can, warn)
  if (out.style && can.styles.length === 0) {
    warn(WarningKind.IGNORED, 'style', `${serving} has no styles`)
    out.style = Style.UNSPECIFIED
  }
  if (out.background && !can.backgrounds.includes(out.background)) {
    if (out.background !== Background.AUTO) warn(WarningKind.IGNORED, 'background', `${serving} does not let the background be chosen`)
    out.background = Background.UNSPECIFIED
  }
  if (out.moderation && !can.moderations.includes(out.moderation)) {
    if (out.moderation !== Moderation.AUTO) warn(WarningKind.IGNORED, 'moderation', `${serving} has no moderation levels`)
    out.moderation = Moderation.UNSPECIFIED
  }
  translateFormat(out, serving, can, warn)
  if (out.seed !== undefined && !can.seed) {
    warn(WarningKind.IGNORED, 'seed', `${serving} takes no seed`)
    delete out.seed
  }
  if (out.negativePrompt !== '' && !can.negativePrompt) {
    warn(WarningKind.IGNORED, 'negative_prompt', `${serving} takes no negative prompt`)
    out.negativePrompt = ''
  }
  out.responseFormat = can.deliveryForm === DeliveryForm.AS_ASKED ? form : ResponseFormat.UNSPECIFIED
  return { request: out, warnings }
}

type Warn = (kind: WarningKind, param: string, message: string) => void

function translateOptions(out: GenerateImagesRequest, serving: string, understands: 'any option' | readonly string[], warn: Warn): void {
  if (understands === 'any option' || !out.providerOptions) return
  const strange = Object.keys(out.providerOptions).filter((option) => !understands.includes(option))
  for (const option of strange) warn(WarningKind.IGNORED, option, `${serving} has no such parameter`)
  out.providerOptions = Object.fromEntries(Object.entries(out.providerOptions).filter(([option]) => understands.includes(option)))
}

function translateSize(out: GenerateImagesRequest, serving: string, can: ModelCapabilities, warn: Warn): void {
  const rule = can.size
  if (!rule || rule.rule.case === 'ratioTiers') return
  const size = askedSize(out)
  if (size !== undefined && !sizeAllowed(rule, size)) {
    if (size === 'auto') out.sizeSelector = { case: undefined }
    else {
      const nearest = sizeForRatio(rule, size, out.resolution)
      warn(
        WarningKind.CONVERTED,
        'size',
        `${size.width}x${size.height} became ${nearest.width}x${nearest.height}: ${serving} makes ${describeSizes(rule)}`
      )
      out.sizeSelector = { case: 'dimensions', value: create(DimensionsSchema, nearest) }
    }
  }
  if (out.sizeSelector.case === 'aspectRatio') {
    const ratio = out.sizeSelector.value
    const nearest = sizeForRatio(rule, ratio, out.resolution)
    warn(
      WarningKind.CONVERTED,
      'aspect_ratio',
      `${ratio.width}:${ratio.height} became ${nearest.width}x${nearest.height}: ${serving} is asked by size`
    )
    out.sizeSelector = { case: 'dimensions', value: create(DimensionsSchema, nearest) }
    out.resolution = 0
  }
  if (out.resolution) {
    warn(WarningKind.IGNORED, 'resolution', `${serving} is asked by size`)
    out.resolution = 0
  }
}

/** DALL·E's words and GPT Image's mean the same thing: OpenAI names medium for standard and high for hd as successors. */
const equivalentQualities: Readonly<Partial<Record<Quality, Quality>>> = {
  [Quality.STANDARD]: Quality.MEDIUM,
  [Quality.HD]: Quality.HIGH,
  [Quality.LOW]: Quality.STANDARD,
  [Quality.MEDIUM]: Quality.STANDARD,
  [Quality.HIGH]: Quality.HD,
  [Quality.XHIGH]: Quality.HIGH,
  [Quality.MAX]: Quality.HIGH
}

function translateQuality(out: GenerateImagesRequest, serving: string, can: ModelCapabilities, warn: Warn): void {
  if (!out.quality || can.qualities.includes(out.quality)) return
  const asked = wireName(QualitySchema, out.quality)
  const equivalent = equivalentQualities[out.quality]
  if (out.quality === Quality.AUTO) out.quality = Quality.UNSPECIFIED
  else if (equivalent !== undefined && can.qualities.includes(equivalent)) {
    warn(WarningKind.CONVERTED, 'quality', `${asked} became ${wireName(QualitySchema, equivalent)}, its equivalent for ${serving}`)
    out.quality = equivalent
  } else {
    warn(WarningKind.IGNORED, 'quality', `${serving} does not distinguish qualities such as ${asked}`)
    out.quality = Quality.UNSPECIFIED
  }
}

function translateFormat(out: GenerateImagesRequest, serving: string, can: ModelCapabilities, warn: Warn): void {
  if (out.outputFormat && !can.outputFormats.includes(out.outputFormat)) {
    warn(WarningKind.IGNORED, 'output_format', `${serving} does not make ${wireName(OutputFormatSchema, out.outputFormat)} files`)
    out.outputFormat = OutputFormat.UNSPECIFIED
  }
  if (can.outputFormats.length <= 1) out.outputFormat = OutputFormat.UNSPECIFIED
  if (out.outputCompression !== undefined && !can.outputCompression) {
    if (out.outputCompression !== 100) warn(WarningKind.IGNORED, 'output_compression', `${serving} does not compress its files`)
    delete out.outputCompression
  }
}

/** What the name's vendor documents for parameters that are left out; they bind only when another model serves the name. */
export function withContractDefaults(request: GenerateImagesRequest, writtenName: string): GenerateImagesRequest {
  if (!writtenName.startsWith('dall-e-') && !writtenName.includes('/dall-e-')) return request
  const out = create(GenerateImagesRequestSchema, request)
  if (out.sizeSelector.case === undefined && !out.providerOptions?.size) out.sizeSelector = { case: 'size', value: Size.SIZE_1024X1024 }
  return out
}
