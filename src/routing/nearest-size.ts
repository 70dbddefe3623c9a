import { create } from '@bufbuild/protobuf'
import { type AspectRatio, type Dimensions, DimensionsSchema, Resolution } from '../../gen/atelier/v1/image_pb.ts'
import type { SizePreset, SizeRule } from '../../gen/atelier/v1/model_pb.ts'
import { inRange, type Range, type Shape, sameRatio } from './size.ts'

/** The ratio of a rule that distorts a shape least, the earlier one of two; undefined under a rule that has no ratios. */
export function nearestRatio({ rule }: SizeRule, shape: Shape): AspectRatio | undefined {
  return rule.case === 'ratioTiers' ? least(rule.value.ratios, (ratio) => distortion(ratio, shape)) : undefined
}

/** The tier that comes nearest to a number of pixels, the earlier one of two. */
export function nearestTier(tiers: readonly Resolution[], pixels: number): Resolution | undefined {
  return least(tiers, (tier) => Math.abs(Math.log(pixels / tierPixels(tier))))
}

/** Every tier, the smallest first. */
export const allTiers = [
  Resolution.RESOLUTION_512,
  Resolution.RESOLUTION_1K,
  Resolution.RESOLUTION_2K,
  Resolution.RESOLUTION_4K
] as const satisfies readonly Resolution[]

/** What a tier means: a number of pixels, that of a square with this edge. Unset stands for 1K. */
export function tierPixels(tier: Resolution): number {
  return (squareEdges[tier] || squareEdges[Resolution.RESOLUTION_1K]) ** 2
}

const squareEdges: Readonly<Record<Resolution, number>> = {
  [Resolution.RESOLUTION_UNSPECIFIED]: 0,
  [Resolution.RESOLUTION_512]: 512,
  [Resolution.RESOLUTION_1K]: 1024,
  [Resolution.RESOLUTION_2K]: 2048,
  [Resolution.RESOLUTION_4K]: 2880
}

/** The size that a rule itself names for a ratio at a tier. */
export function presetSize({ rule }: SizeRule, shape: Shape, tier: Resolution): Dimensions | undefined {
  const presets: readonly SizePreset[] = rule.case === 'range' ? rule.value.presets : []
  const wanted = tier || presets[0]?.tier
  return presets.find((preset) => preset.tier === wanted && preset.ratio && sameRatio(preset.ratio, shape))?.size
}

/**
 * The size of a rule that distorts a shape least and, among those, comes nearest to the tier. Unset, the tier is 1K, or the shape's own
 * pixels where these are more. Under a rule without sizes any multiple of 16 will do.
 */
export function nearestSize({ rule }: SizeRule, shape: Shape, tier: Resolution): Dimensions {
  const pixels = tier ? tierPixels(tier) : Math.max(tierPixels(tier), pixelsOf(shape))
  const sizes = rule.case === 'list' ? rule.value.sizes : sizesOfShape(rule.case === 'range' ? rule.value : anyRange, shape)
  const cost = (size: Shape) => distortionWeight * distortion(size, shape) + Math.abs(Math.log(pixelsOf(size) / pixels)) / 2
  const edge = Math.round(Math.sqrt(pixels))
  return create(DimensionsSchema, least(sizes, cost) ?? { width: edge, height: edge })
}

/** One percent of distortion is worth as much as a factor of e in the length of the edges. */
const distortionWeight = 100

const anyRange: Range = { step: 16, minEdge: 16, maxEdge: 16_384, minPixels: 0n, maxPixels: 0n, maxRatio: 0 }

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

export function pixelsOf({ width, height }: Shape): number {
  return width * height
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
