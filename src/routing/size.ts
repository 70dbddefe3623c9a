import { create } from '@bufbuild/protobuf'
import { type AspectRatio, AspectRatioSchema, type Dimensions, DimensionsSchema } from '../../gen/atelier/v1/image_pb.ts'
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
  if (rule.case === 'list') return rule.value.sizes.some((legal) => sameSize(legal, size))
  if (rule.case === 'ratioTiers') return rule.value.ratios.some((legal) => sameRatio(legal, size))
  return inRange(rule.value, size)
}

/** The size that a rule makes of one that it accepts without making it. */
export function sizeAlias({ rule }: SizeRule, size: Shape): Dimensions | undefined {
  if (rule.case !== 'range') return undefined
  return rule.value.aliases.find((alias) => alias.size && sameSize(alias.size, size))?.becomes
}

/** The sizes of a rule in words that follow "must be". */
export function describeSizes({ rule }: SizeRule): string {
  if (rule.case === undefined) return 'any size'
  const auto = rule.value.auto ? ['auto'] : []
  if (rule.case === 'list') return oneOf([...rule.value.sizes.map(spellSize), ...auto])
  if (rule.case === 'ratioTiers') return `of the aspect ratio ${oneOf([...rule.value.ratios.map(spellRatio), ...auto])}`
  return `${describeRange(rule.value)}${rule.value.auto ? ', or auto' : ''}`
}

/** A shape as the aspect ratio in lowest terms, e.g. 1792x1024 as 7:4. */
export function reduceToRatio({ width, height }: Shape): AspectRatio {
  const divisor = greatestCommonDivisor(width, height)
  return create(AspectRatioSchema, { width: width / divisor, height: height / divisor })
}

export function sameRatio(a: Shape, b: Shape): boolean {
  return a.width * b.height === a.height * b.width
}

/** As in "1792x1024". */
export function spellSize(size: Shape): string {
  return textFormat(DimensionsSchema)?.format({ ...size }) ?? ''
}

/** As in "16:9". */
export function spellRatio(ratio: Shape): string {
  return textFormat(AspectRatioSchema)?.format({ ...ratio }) ?? ''
}

export type Range = Pick<SizeRange, 'step' | 'minEdge' | 'maxEdge' | 'minPixels' | 'maxPixels' | 'maxRatio'>

export function inRange(range: Range, { width, height }: Shape): boolean {
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

function sameSize(a: Shape, b: Shape): boolean {
  return a.width === b.width && a.height === b.height
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

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b)
}
