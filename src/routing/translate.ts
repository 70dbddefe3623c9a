import { create } from '@bufbuild/protobuf'
import {
  Background,
  BackgroundSchema,
  Moderation,
  ModerationSchema,
  Quality,
  QualitySchema,
  ResponseFormat,
  Style,
  StyleSchema,
  type Warning,
  WarningKind,
  WarningSchema
} from '../../gen/atelier/v1/image_pb.ts'
import type { GenerateImagesRequest } from '../../gen/atelier/v1/image_service_pb.ts'
import { DeliveryForm, type ModelCapabilities, type SizeRule } from '../../gen/atelier/v1/model_pb.ts'
import { copyMessage } from '../contract/copy-message.ts'
import { wireName } from '../contract/wire-names.ts'
import type { WishedOutput } from './plan.ts'
import { convertible, translateFormat } from './translate-format.ts'
import { translateSize } from './translate-size.ts'

/** The model that serves a request. */
export interface ServingModel {
  name: string
  /** Undefined where nothing is known of it. */
  can: ModelCapabilities | undefined
  /** Names of the parameters that its provider has besides those of the capabilities. */
  understands: 'any option' | readonly string[]
}

/** What the caller was promised. */
export interface Promised {
  /** The sizes of the written name. */
  size: SizeRule | undefined
  form: ResponseFormat
}

export interface Translation {
  /** The request in the serving model's terms. */
  request: GenerateImagesRequest
  /** One for each parameter that could not be honoured as it was given. */
  warnings: Warning[]
  /** What is left for us to do to the files. */
  output: WishedOutput
}

/** Notes what became of a parameter. */
export type Warn = (kind: WarningKind, param: string, message: string) => void

/**
 * Puts a request that is legal for the name the caller wrote into the terms of the model that serves it. What that model cannot honour
 * is converted, left to be done to its files, or taken out, each time with a warning. Without capabilities everything is passed on.
 * `response_format` needs no warning: whoever serves, images are handed over as links or bytes by this server itself.
 */
export function translate(request: GenerateImagesRequest, serving: ServingModel, promised: Promised): Translation {
  const warnings: Warning[] = []
  const warn: Warn = (kind, param, message) => warnings.push(create(WarningSchema, { kind, param, message }))
  const out = copyMessage(request)
  translateOptions(out, serving, warn)
  const { name, can } = serving
  // Whether an unknown model honours the format shows in its answer.
  if (!can) return { request: out, warnings, output: convertible.includes(out.outputFormat) ? { format: out.outputFormat } : {} }
  const size = can.size && translateSize(out, { contract: promised.size, rule: can.size, serving: name }, warn)
  translateQuality(out, name, can, warn)
  translateWords(out, name, can, warn)
  const output = { ...translateFormat(out, name, can, size !== undefined, warn), ...(size && { size }) }
  if (out.seed !== undefined && !can.seed) {
    warn(WarningKind.IGNORED, 'seed', `${name} takes no seed`)
    delete out.seed
  }
  if (out.negativePrompt !== '' && !can.negativePrompt) {
    warn(WarningKind.IGNORED, 'negative_prompt', `${name} takes no negative prompt`)
    out.negativePrompt = ''
  }
  if (out.partialImages && !can.streaming) {
    warn(WarningKind.IGNORED, 'partial_images', `${name} shows no partial images`)
    delete out.partialImages
  }
  out.responseFormat = can.deliveryForm === DeliveryForm.AS_ASKED ? formFor(output, promised.form) : ResponseFormat.UNSPECIFIED
  return { request: out, warnings, output }
}

/** Bytes spare a download where the file is to be changed anyway. */
function formFor(output: WishedOutput, form: ResponseFormat): ResponseFormat {
  return Object.keys(output).length > 0 ? ResponseFormat.B64_JSON : form
}

function translateOptions(out: GenerateImagesRequest, { name, understands }: ServingModel, warn: Warn): void {
  if (understands === 'any option') return
  const isStrange = (option: string) => !understands.includes(option)
  const options = Object.entries(out.providerOptions ?? {})
  for (const [option] of options) if (isStrange(option)) warn(WarningKind.IGNORED, option, `${name} has no such parameter`)
  if (out.providerOptions) out.providerOptions = Object.fromEntries(options.filter(([option]) => !isStrange(option)))
  if (out.user !== '' && isStrange('user')) {
    warn(WarningKind.IGNORED, 'user', `${name} is not told who the end user is`)
    out.user = ''
  }
  if (out.safetyIdentifier !== '' && isStrange('safety_identifier')) {
    warn(WarningKind.IGNORED, 'safety_identifier', `${name} is not told who the end user is`)
    out.safetyIdentifier = ''
  }
}

/**
 * What each quality means in the words of other models, the nearest first. OpenAI names medium for standard and high for hd as successors.
 */
const equivalentQualities: Readonly<Partial<Record<Quality, readonly Quality[]>>> = {
  [Quality.STANDARD]: [Quality.MEDIUM],
  [Quality.HD]: [Quality.HIGH],
  [Quality.LOW]: [Quality.STANDARD],
  [Quality.MEDIUM]: [Quality.STANDARD],
  [Quality.HIGH]: [Quality.HD],
  [Quality.XHIGH]: [Quality.HIGH, Quality.HD],
  [Quality.MAX]: [Quality.XHIGH, Quality.HIGH, Quality.HD]
}

function translateQuality(out: GenerateImagesRequest, serving: string, can: ModelCapabilities, warn: Warn): void {
  if (!out.quality || can.qualities.includes(out.quality)) return
  const asked = wireName(QualitySchema, out.quality)
  const equivalent = equivalentQualities[out.quality]?.find((quality) => can.qualities.includes(quality))
  if (out.quality !== Quality.AUTO && equivalent) {
    const kind = out.quality === Quality.XHIGH || out.quality === Quality.MAX ? WarningKind.CLAMPED : WarningKind.CONVERTED
    warn(kind, 'quality', `${asked} became ${wireName(QualitySchema, equivalent)}, its equivalent for ${serving}`)
  } else if (out.quality !== Quality.AUTO) {
    warn(WarningKind.IGNORED, 'quality', `${serving} does not distinguish qualities such as ${asked}`)
  }
  out.quality = equivalent ?? Quality.UNSPECIFIED
}

/** `auto` is the default in other words, and goes without saying. */
function translateWords(out: GenerateImagesRequest, serving: string, can: ModelCapabilities, warn: Warn): void {
  if (out.style && !can.styles.includes(out.style)) {
    warn(WarningKind.IGNORED, 'style', `${serving} has no style ${wireName(StyleSchema, out.style)}`)
    out.style = Style.UNSPECIFIED
  }
  if (out.background && !can.backgrounds.includes(out.background)) {
    if (out.background !== Background.AUTO) {
      warn(WarningKind.IGNORED, 'background', `${serving} has no background ${wireName(BackgroundSchema, out.background)}`)
    }
    out.background = Background.UNSPECIFIED
  }
  if (out.moderation && !can.moderations.includes(out.moderation)) {
    if (out.moderation !== Moderation.AUTO) {
      warn(WarningKind.IGNORED, 'moderation', `${serving} has no moderation level ${wireName(ModerationSchema, out.moderation)}`)
    }
    out.moderation = Moderation.UNSPECIFIED
  }
}
