import type { DescEnum } from '@bufbuild/protobuf'
import {
  Background,
  BackgroundSchema,
  type Dimensions,
  DimensionsSchema,
  ModerationSchema,
  OutputFormat,
  OutputFormatSchema,
  QualitySchema,
  Size,
  SizeSchema,
  StyleSchema
} from '../../gen/atelier/v1/image_pb.ts'
import { type GenerateImagesRequest, GenerateImagesRequestSchema } from '../../gen/atelier/v1/image_service_pb.ts'
import type { ModelCapabilities } from '../../gen/atelier/v1/model_pb.ts'
import { textFormat, wireName, wireNames } from '../contract/wire-names.ts'
import { gatewayError } from '../errors.ts'
import { describeSizes, sizeAlias, sizeAllowed } from './size.ts'
import { compressible, convertible } from './translate-format.ts'

/**
 * Refuses what the model that the caller named does not allow, before money is spent. Each error names the parameter, the value and what
 * is allowed.
 */
export function checkContract(request: GenerateImagesRequest, name: string, can: ModelCapabilities): void {
  checkPrompt(request.prompt, name, can)
  checkSize(request, name, can)
  checkCount(request.n ?? 1, name, can)
  checkChoice('quality', request.quality, can.qualities, QualitySchema, name)
  checkChoice('style', request.style, can.styles, StyleSchema, name)
  checkChoice('background', request.background, can.backgrounds, BackgroundSchema, name)
  checkChoice('moderation', request.moderation, can.moderations, ModerationSchema, name)
  checkFormat(request, name, can)
  checkUnknownValues(request, name, can)
}

/** The size that was asked for in pixels; `auto`; or undefined where none or a ratio was asked for. */
export function askedSize(request: GenerateImagesRequest): Dimensions | 'auto' | undefined {
  const selector = request.sizeSelector
  if (selector.case === 'dimensions') return selector.value
  if (selector.case !== 'size') return undefined
  if (selector.value === Size.SIZE_AUTO) return 'auto'
  const fields = textFormat(DimensionsSchema)?.parse(wireName(SizeSchema, selector.value) ?? '')
  return fields as Dimensions | undefined
}

/** Refuses a prompt that is too long for a model. */
export function checkPrompt(prompt: string, name: string, can: ModelCapabilities): void {
  const limit = can.maxPromptLength
  // UTF-16 length is never below the number of code points, so that most prompts need no count.
  if (limit === 0 || prompt.length <= limit) return
  const length = [...prompt].length
  if (length > limit) {
    throw gatewayError('INVALID_PARAMETER', { param: 'prompt', problem: `is ${length} characters long; ${name} takes at most ${limit}` })
  }
}

function checkSize(request: GenerateImagesRequest, name: string, can: ModelCapabilities): void {
  const size = askedSize(request)
  if (size === undefined || can.size === undefined || can.size.rule.case === 'ratioTiers') return
  if (sizeAllowed(can.size, size) || (size !== 'auto' && sizeAlias(can.size, size))) return
  throw gatewayError('INVALID_SIZE', { model: name, allowed: describeSizes(can.size) }, { param: 'size' })
}

function checkCount(n: number, name: string, can: ModelCapabilities): void {
  const most = can.maxImagesPerRequest
  if (most === 0 || n <= most) return
  throw gatewayError('INVALID_PARAMETER', { param: 'n', problem: `must be ${most === 1 ? '1' : `1 to ${most}`} for ${name}, not ${n}` })
}

/** `auto` is the default in other words; a model without choices ignores the parameter, which is the translation's to tell. */
function checkChoice(param: string, value: number | undefined, choices: readonly number[], type: DescEnum, name: string): void {
  const word = value === undefined ? undefined : wireName(type, value)
  if (value === undefined || word === undefined || word === 'auto' || choices.length === 0 || choices.includes(value)) return
  const allowed = choices.map((choice) => wireName(type, choice)).join(', ')
  throw gatewayError('INVALID_PARAMETER', { param, problem: `"${word}" is not known to ${name}; it knows ${allowed}` })
}

/** A format that a model without a choice does not make is converted; of the others, those that need to be drawn are refused. */
function checkFormat(request: GenerateImagesRequest, name: string, can: ModelCapabilities): void {
  const { outputFormat: format, outputCompression: compression = 100 } = request
  if (can.outputFormats.length > 1) {
    const formats = [...can.outputFormats, ...convertible.filter((convertibleFormat) => !can.outputFormats.includes(convertibleFormat))]
    checkChoice('output_format', format, formats, OutputFormatSchema, name)
  }
  const isTransparent = request.background === Background.TRANSPARENT && can.backgrounds.includes(Background.TRANSPARENT)
  if (isTransparent && format && format !== OutputFormat.PNG && format !== OutputFormat.WEBP) {
    throw gatewayError('INVALID_PARAMETER', { param: 'background', problem: '"transparent" needs the output_format png or webp' })
  }
  if (compression < 100 && can.outputCompression && !compressible.includes(format)) {
    throw gatewayError('INVALID_PARAMETER', {
      param: 'output_compression',
      problem: `${compression} needs the output_format jpeg or webp`
    })
  }
}

/** Values that the schema does not know travel as options, for models that nobody knows; a catalogued model knows its own. */
function checkUnknownValues(request: GenerateImagesRequest, name: string, can: ModelCapabilities): void {
  for (const [param, value] of Object.entries(request.providerOptions ?? {})) {
    if (param === 'size' && can.size)
      throw gatewayError('INVALID_SIZE', { model: name, allowed: describeSizes(can.size) }, { param: 'size' })
    const field = GenerateImagesRequestSchema.fields.find((candidate) => candidate.name === param)
    if (!field) continue
    const known = field.enum ? `; known are ${wireNames(field.enum).join(', ')}` : ''
    throw gatewayError('INVALID_PARAMETER', { param, problem: `unknown value ${JSON.stringify(value).slice(0, 80)}${known}` })
  }
}
