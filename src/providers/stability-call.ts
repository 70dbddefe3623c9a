import { create, type JsonObject, type JsonValue } from '@bufbuild/protobuf'
import { type Dimensions, DimensionsSchema, SizeSchema, type Warning, WarningKind, WarningSchema } from '../../gen/atelier/v1/image_pb.ts'
import { type GenerateImagesRequest, GenerateImagesRequestSchema } from '../../gen/atelier/v1/image_service_pb.ts'
import { encodeMessage } from '../contract/json.ts'
import { textFormat, wireName } from '../contract/wire-names.ts'
import { type GatewayError, gatewayError } from '../errors.ts'
import type { StreamedBody } from '../upstream/client.ts'
import type { FormPart } from './multipart-body.ts'

/** One call of Stability's REST API. */
export interface StabilityCall {
  path: string
  accept: string
  contentType: string
  body: string | StreamedBody
  /** What the images will measure, where the call says it. */
  size: PixelSize | undefined
  /** What the call could not say as it was asked. */
  warnings: Warning[]
}

export type PixelSize = Pick<Dimensions, 'width' | 'height'>

/** The size in pixels; undefined where none, `auto` or an aspect ratio is asked for. */
export function pixelSize({ sizeSelector }: GenerateImagesRequest): PixelSize | undefined {
  if (sizeSelector.case === 'dimensions') return sizeSelector.value
  if (sizeSelector.case !== 'size') return undefined
  const fields = textFormat(DimensionsSchema)?.parse(wireName(SizeSchema, sizeSelector.value) ?? '')
  return fields === undefined ? undefined : create(DimensionsSchema, fields)
}

/**
 * What to send for a seed: the vendor takes 0 for "any", and has no seed above its highest. The contract promises the same image for the
 * same seed, so these become the highest one, with a warning.
 */
export function sayableSeed(seed: number | undefined, highest: number): { seed?: number; warnings: Warning[] } {
  if (seed === undefined) return { warnings: [] }
  if (seed > 0 && seed <= highest) return { seed, warnings: [] }
  const why = seed === 0 ? 'to this vendor 0 means a random seed' : `the vendor's seeds end at ${highest}`
  const warning = create(WarningSchema, { kind: WarningKind.CONVERTED, param: 'seed', message: `${seed} became ${highest}: ${why}` })
  return { seed: highest, warnings: [warning] }
}

/**
 * Warnings for the parameters of a model that a call has no field for. A model of the catalog comes without such parameters; of any other
 * nobody knew. Throws UNSUPPORTED_PARAMETER under `strict`.
 */
export function unsaid(request: GenerateImagesRequest, model: string, sayable: readonly string[]): Warning[] {
  const fields = encodeMessage(GenerateImagesRequestSchema, request)
  const left = parameters.filter((field) => fields[field] !== undefined && !sayable.includes(field))
  const message = `${model} has no such parameter`
  if (request.strict && left[0] !== undefined) {
    throw gatewayError('UNSUPPORTED_PARAMETER', { problem: `${left[0]}: ${message}` }, { param: left[0], outcome: 'not_sent' })
  }
  return left.map((param) => create(WarningSchema, { kind: WarningKind.IGNORED, param, message }))
}

/** The warning for an option of edits where there is no image. */
export function withoutImage(param: string, value: JsonValue | undefined): Warning[] {
  if (value === undefined || value === null) return []
  return [create(WarningSchema, { kind: WarningKind.IGNORED, param, message: 'it is about an image to work on, and none is given' })]
}

/** Those of the contract that are not said by every call. */
const parameters = ['resolution', 'quality', 'style', 'background', 'output_format', 'output_compression', 'moderation']

/** The fields of a form as its parts. Throws for a value that is no text. */
export function textParts(fields: JsonObject): FormPart[] {
  return Object.entries(fields).map(([name, value]) => {
    if (typeof value === 'object') throw unsayable(name, 'must be a string, a number, true or false')
    return { name, value: String(value) }
  })
}

/** The error for what a call cannot say. */
export function unsayable(param: string, problem: string): GatewayError {
  return gatewayError('INVALID_PARAMETER', { param, problem }, { outcome: 'not_sent' })
}
