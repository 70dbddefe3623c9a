import type { JsonValue } from '@bufbuild/protobuf'
import {
  type AspectRatio,
  Background,
  type Dimensions,
  DimensionsSchema,
  OutputFormat,
  OutputFormatSchema,
  Resolution,
  Size,
  SizeSchema,
  Style
} from '../../gen/atelier/v1/image_pb.ts'
import type { GenerateImagesRequest } from '../../gen/atelier/v1/image_service_pb.ts'
import { textFormat, wireName } from '../contract/wire-names.ts'
import { type GatewayError, gatewayError } from '../errors.ts'
import type { Sketch } from '../images/sketch/sketcher.ts'
import type { EditInputs, Work } from './provider.ts'

/** What a request asks of the local renderer. */
export interface SketchOrder {
  sketch: Omit<Sketch, 'seed' | 'share'>
  seed: number | undefined
  outputFormat: OutputFormat
  mediaType: string
  delayMs: number
  fail: Failure | undefined
  /** How many unfinished drawings to show before each image. */
  previews: number
}

/** The `provider_options` that the local renderer knows. */
export const sketchOptions: readonly string[] = ['delay_ms', 'fail']

const failures = ['moderation', 'rate_limit', 'provider_error', 'cut_off'] as const

export type Failure = (typeof failures)[number]

/** Reads an order. Throws INVALID_SIZE or INVALID_PARAMETER, naming what is allowed; ignores options that it does not know. */
export function readSketchOrder({ request, upstreamModel, inputs }: Work): SketchOrder {
  const format = readFormat(request.outputFormat)
  const transparent = request.background === Background.TRANSPARENT
  if (transparent && format === 'jpeg') throw invalid('background', 'transparent needs the output_format png or webp')
  return {
    sketch: {
      prompt: request.prompt,
      ...readSize(request, inputs, upstreamModel),
      mood: moods[request.style] ?? 'plain',
      transparent,
      format,
      quality: request.outputCompression ?? 100,
      ...(inputs && { on: { images: inputs.images, ...(inputs.mask && { mask: inputs.mask }) } })
    },
    seed: request.seed,
    outputFormat: formats[format],
    mediaType: `image/${format}`,
    delayMs: readDelay(request.providerOptions?.delay_ms),
    fail: readFailure(request.providerOptions?.fail),
    previews: request.partialImages ?? 0
  }
}

const moods: Partial<Record<Style, Sketch['mood']>> = { [Style.VIVID]: 'vivid', [Style.NATURAL]: 'natural' }

const formats = { png: OutputFormat.PNG, jpeg: OutputFormat.JPEG, webp: OutputFormat.WEBP } as const

function readFormat(format: OutputFormat): keyof typeof formats {
  if (format === OutputFormat.UNSPECIFIED) return 'png'
  const known = (Object.keys(formats) as (keyof typeof formats)[]).find((name) => formats[name] === format)
  if (known === undefined) {
    throw invalid('output_format', `${wireName(OutputFormatSchema, format) ?? format} cannot be made here: must be png, jpeg or webp`)
  }
  return known
}

const shortestEdge = 64
const longestEdge = 4096

function readSize(request: GenerateImagesRequest, inputs: EditInputs | undefined, model: string): { width: number; height: number } {
  const [first] = inputs?.images ?? []
  if (first && isOpen(request)) return sizeLike(first)
  const { width, height } = sizeAskedFor(request)
  if (Math.min(width, height) >= shortestEdge && Math.max(width, height) <= longestEdge) return { width, height }
  const allowed = `from ${shortestEdge} to ${longestEdge} pixels wide and high`
  throw gatewayError('INVALID_SIZE', { model, allowed }, { outcome: 'not_sent', param: 'size' })
}

function isOpen({ sizeSelector, resolution }: GenerateImagesRequest): boolean {
  return resolution === 0 && (sizeSelector.case === undefined || (sizeSelector.case === 'size' && sizeSelector.value === Size.SIZE_AUTO))
}

/** Longest edge of an edit whose size is left open, where the image itself is larger. */
const longestOpenEdge = 2048

/** An image's own size, in its own ratio as far as the limits allow. */
function sizeLike({ width, height }: { width: number; height: number }): { width: number; height: number } {
  const shrunk = Math.min(1, longestOpenEdge / Math.max(width, height))
  const scale = Math.max(shrunk, shortestEdge / Math.min(width, height))
  const edge = (pixels: number) => Math.min(longestEdge, Math.max(shortestEdge, Math.round(pixels * scale)))
  return { width: edge(width), height: edge(height) }
}

function sizeAskedFor({ sizeSelector, resolution }: GenerateImagesRequest): Pick<Dimensions, 'width' | 'height'> {
  if (sizeSelector.case === 'dimensions') return sizeSelector.value
  if (sizeSelector.case === 'aspectRatio') return sizeOfRatio(sizeSelector.value, resolution)
  const preset =
    sizeSelector.case === 'size' ? textFormat(DimensionsSchema)?.parse(wireName(SizeSchema, sizeSelector.value) ?? '') : undefined
  const square = sizeOfRatio({ width: 1, height: 1 }, resolution)
  return { width: preset?.width ?? square.width, height: preset?.height ?? square.height }
}

function sizeOfRatio(ratio: Pick<AspectRatio, 'width' | 'height'>, resolution: Resolution): { width: number; height: number } {
  const pixels = (edges[resolution] ?? defaultEdge) ** 2
  return {
    width: Math.round(Math.sqrt((pixels * ratio.width) / ratio.height)),
    height: Math.round(Math.sqrt((pixels * ratio.height) / ratio.width))
  }
}

const defaultEdge = 1024

/** The edge of a square in each tier; other ratios have as many pixels. */
const edges: Partial<Record<Resolution, number>> = {
  [Resolution.RESOLUTION_512]: 512,
  [Resolution.RESOLUTION_1K]: 1024,
  [Resolution.RESOLUTION_2K]: 2048,
  [Resolution.RESOLUTION_4K]: 2880
}

const longestDelayMs = 600_000

function readDelay(value: JsonValue | undefined): number {
  if (value === undefined || value === null) return 0
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= longestDelayMs) return value
  throw invalid('delay_ms', `must be a whole number of milliseconds from 0 to ${longestDelayMs}`)
}

function readFailure(value: JsonValue | undefined): Failure | undefined {
  if (value === undefined || value === null) return undefined
  const failure = failures.find((name) => name === value)
  if (failure === undefined) throw invalid('fail', `must be one of ${failures.join(', ')}`)
  return failure
}

function invalid(param: string, problem: string): GatewayError {
  return gatewayError('INVALID_PARAMETER', { param, problem }, { outcome: 'not_sent' })
}
