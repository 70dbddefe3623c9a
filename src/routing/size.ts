import { create } from '@bufbuild/protobuf'
import { type AspectRatio, AspectRatioSchema, type Dimensions, DimensionsSchema, Resolution } from '../../gen/atelier/v1/image_pb.ts'
import type { SizeRange, SizeRule } from '../../gen/atelier/v1/model_pb.ts'
import { textFormat } from '../contract/wire-names.ts'

/** Width to height: pixels, or the parts of an aspect ratio. Both are at least 1. */
export interface Shape {
  width: number
  height: number
}

/** Whether a model makes a size exactly as it is asked for. Under a rule of ratios this is whether the ratio is one of them. */
export function sizeAllowed({ rule }: SizeRule, size: Shape | 'auto'): boolean {
  if (rule.case === undefined) return true
  if (size === 'auto') return rule.value.auto
  if (rule.case === 'list') return rule.value.sizes.some((legal) => legal.width === size.width && legal.height === size.height)
  if (rule.case === 'ratioTiers') return rule.value.ratios.some((legal) => legal.width * size.height === legal.height * size.width)
  return inRange(rule.value, size)
}

/** The sizes of a rule in words that follow "must be". */
export function describeSizes({ rule }: SizeRule): string {
  if (rule.case === undefined) return 'any size'
  const auto = rule.value.auto ? ['auto'] : []
  if (rule.case === 'list') return oneOf([...rule.value.sizes.map(spellDimensions), ...auto])
  if (rule.case === 'ratioTiers') return `of the aspect ratio ${oneOf([...rule.value.ratios.map(spellRatio), ...auto])}`
  return `${describeRange(rule.value)}${rule.value.auto ? ', or auto' : ''}`
}

/** A shape as the aspect ratio in lowest terms, e.g. 1792x1024 as 7:4. */
export function reduceToRatio({ width, height }: Shape): AspectRatio {
  const divisor = greatestCommonDivisor(width, height)
  return create(AspectRatioSchema, { width: width / divisor, height: height / divisor })
}

/** The ratio of a rule that distorts a shape least, the earlier one of two; undefined under a rule that has no ratios. */
export function nearestRatio({ rule }: SizeRule, shape: Shape): AspectRatio | undefined {
  return rule.case === 'ratioTiers' ? least(rule.value.ratios, (ratio) => distortion(ratio, shape)) : undefined
}

/**
 * The size of a rule that distorts a shape least and, among those, comes nearest to the tier. Unset, the tier is 1K, or the shape's own
 * longer edge where that is longer. Under a rule without sizes any multiple of 16 will do.
 */
export function sizeForRatio({ rule }: SizeRule, shape: Shape, resolution: Resolution): Dimensions {
  const edge = longerEdges[resolution] || Math.max(longerEdges[Resolution.RESOLUTION_1K], shape.width, shape.height)
  const sizes = rule.case === 'list' ? rule.value.sizes : sizesOfShape(rule.case === 'range' ? rule.value : anyRange, shape)
  const nearest = least(sizes, (size) => distortionWeight * distortion(size, shape) + Math.abs(Math.log(longerEdge(size) / edge)))
  return create(DimensionsSchema, nearest ?? { width: edge, height: edge })
}

/** What a tier means for a model that is asked by size, in pixels; 2K and 4K give seed sizes such as 2048x1152 and 3840x2160. */
const longerEdges: Readonly<Record<Resolution, number>> = {
  [Resolution.RESOLUTION_UNSPECIFIED]: 0,
  [Resolution.RESOLUTION_512]: 512,
  [Resolution.RESOLUTION_1K]: 1024,
  [Resolution.RESOLUTION_2K]: 2048,
  [Resolution.RESOLUTION_4K]: 3840
}

/** One percent of distortion is worth as much as a factor of e in size. */
const distortionWeight = 100

const anyRange = { step: 16, minEdge: 16, maxEdge: 16_384, minPixels: 0n, maxPixels: 0n, maxRatio: 0 }

type Range = Pick<SizeRange, 'step' | 'minEdge' | 'maxEdge' | 'minPixels' | 'maxPixels' | 'maxRatio'>

function inRange(range: Range, { width, height }: Shape): boolean {
  const pixels = width * height
  const [shorter, longer] = width < height ? [width, height] : [height, width]
  return (
    width % range.step === 0 &&
    height % range.step === 0 &&
    shorter >= range.minEdge &&
    longer <= range.maxEdge &&
    pixels >= Number(range.minPixels) &&
    (range.maxPixels === 0n || pixels <= Number(range.maxPixels)) &&
    (range.maxRatio === 0 || longer <= shorter * range.maxRatio)
  )
}

/** For each length of the longer edge the size in range that comes nearest to the shape. */
function sizesOfShape(range: Range, shape: Shape): Shape[] {
  const ratio = Math.min(longerEdge(shape) / Math.min(shape.width, shape.height), range.maxRatio || Number.POSITIVE_INFINITY)
  const sizes: Shape[] = []
  for (let longer = range.step; longer <= range.maxEdge; longer += range.step) {
    const shorter = Math.max(Math.round(longer / ratio / range.step) * range.step, range.minEdge)
    const size = shape.width < shape.height ? { width: shorter, height: longer } : { width: longer, height: shorter }
    if (inRange(range, size)) sizes.push(size)
  }
  return sizes
}

function describeRange(range: Range): string {
  const { step, minEdge, maxEdge, minPixels, maxPixels, maxRatio } = range
  const edges = step > 1 ? `both edges multiples of ${step}` : 'both edges'
  const limits = minEdge > step ? `${edges}${step > 1 ? ',' : ''} from ${minEdge} to ${maxEdge}` : `${edges}, the longer at most ${maxEdge}`
  const pixels = maxPixels > 0n ? [`${minPixels} to ${maxPixels} pixels`] : minPixels > 0n ? [`at least ${minPixels} pixels`] : []
  const ratio = maxRatio > 0 ? [`ratio at most ${maxRatio}:1`] : []
  return [`WIDTHxHEIGHT with ${limits}`, ...pixels, ...ratio].join(', ')
}

function oneOf(words: readonly string[]): string {
  if (words.length <= 2) return words.join(' or ')
  return `${words.slice(0, -1).join(', ')}, or ${words.at(-1)}`
}

function spellDimensions(size: Dimensions): string {
  return textFormat(DimensionsSchema)?.format({ ...size }) ?? ''
}

function spellRatio(ratio: AspectRatio): string {
  return textFormat(AspectRatioSchema)?.format({ ...ratio }) ?? ''
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b)
}

function longerEdge({ width, height }: Shape): number {
  return Math.max(width, height)
}

/** How far two shapes are apart; the same for a shape and its mirror image. */
function distortion(a: Shape, b: Shape): number {
  return Math.abs(Math.log((a.width * b.height) / (a.height * b.width)))
}

function least<T>(items: readonly T[], cost: (item: T) => number): T | undefined {
  let best: T | undefined
  let lowest = Number.POSITIVE_INFINITY
  for (const item of items) {
    const value = cost(item)
    if (value >= lowest) continue
    best = item
    lowest = value
  }
  return best
}
