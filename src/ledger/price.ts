import { create } from '@bufbuild/protobuf'
import type { OutputTokens, PriceLine } from '../../gen/atelier/v1/catalog_pb.ts'
import { type CostLine, CostLineSchema, PriceUnit, type Quality, type Resolution } from '../../gen/atelier/v1/image_pb.ts'
import type { Shape } from '../routing/size.ts'

/** What the price of an image may depend on. */
export interface ImageTraits {
  /** Undefined where it is not known in pixels. */
  size: Shape | undefined
  quality: Quality
  tier: Resolution
}

/** The price of one unit for images with these traits; without traits only a price that depends on none is found. */
export function findPrice(lines: readonly PriceLine[], unit: PriceUnit, traits?: ImageTraits): PriceLine | undefined {
  return lines.find((line) => line.unit === unit && fits(line, traits))
}

/** What one image costs: a line of the price list, and how many of its units the image takes; undefined where that is not known. */
export function priceImage(
  lines: readonly PriceLine[],
  outputTokens: OutputTokens | undefined,
  traits: ImageTraits
): { line: PriceLine; quantity: number } | undefined {
  const image = findPrice(lines, PriceUnit.IMAGE, traits)
  if (image) return { line: image, quantity: 1 }
  const pixel = findPrice(lines, PriceUnit.PIXEL, traits)
  if (pixel && traits.size) return { line: pixel, quantity: traits.size.width * traits.size.height }
  const token = findPrice(lines, PriceUnit.IMAGE_OUTPUT_TOKEN, traits)
  const tokens = outputTokens && countOutputTokens(outputTokens, traits)
  return token && tokens !== undefined ? { line: token, quantity: tokens } : undefined
}

/** Tokens that one image takes; undefined where the rule has neither a count nor a factor for it. */
export function countOutputTokens({ counts, factors }: OutputTokens, { size, quality }: ImageTraits): number | undefined {
  if (!size) return undefined
  const counted = counts.find((count) => count.quality === quality && sameSize(count.size, size))
  if (counted) return counted.tokens
  const factor = factors.find((candidate) => candidate.quality === quality)?.factor
  return factor === undefined ? undefined : tokensByFormula(factor, size)
}

/** What a number of units costs; a fraction of a micro-USD is rounded up. */
export function costOf(line: PriceLine, quantity: number | bigint, description: string): CostLine {
  const { unit, micros = 0n, per = 1n } = line
  return create(CostLineSchema, {
    description,
    unit,
    quantity: BigInt(quantity),
    micros: (BigInt(quantity) * micros + per - 1n) / per
  })
}

/** The same lines, those that are alike in one. */
export function joinLines(lines: readonly CostLine[]): CostLine[] {
  const joined = new Map<string, CostLine>()
  for (const line of lines) {
    const key = `${line.unit} ${line.description}`
    const { quantity = 0n, micros = 0n } = joined.get(key) ?? {}
    joined.set(key, { ...line, quantity: quantity + line.quantity, micros: micros + line.micros })
  }
  return [...joined.values()]
}

export function sumOf(lines: readonly CostLine[]): bigint {
  return lines.reduce((sum, { micros }) => sum + micros, 0n)
}

/** All intermediate results are integers below 2^53 for edges up to 16,384 and factors up to 1000. */
function tokensByFormula(factor: number, { width, height }: Shape): number {
  const longer = Math.max(width, height)
  const shorter = Math.min(width, height)
  const scaled = Math.floor((2 * factor * shorter + longer) / (2 * longer))
  return Math.floor((factor * scaled * (2_000_000 + width * height) + 3_999_999) / 4_000_000)
}

function fits({ sizes, qualities, tiers }: PriceLine, traits: ImageTraits | undefined): boolean {
  return (
    (sizes.length === 0 || sizes.some((size) => sameSize(size, traits?.size))) &&
    (qualities.length === 0 || (traits !== undefined && qualities.includes(traits.quality))) &&
    (tiers.length === 0 || (traits !== undefined && tiers.includes(traits.tier)))
  )
}

function sameSize(one: Shape | undefined, other: Shape | undefined): boolean {
  return one !== undefined && one.width === other?.width && one.height === other.height
}
