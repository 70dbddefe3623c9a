import { type Dimensions, Resolution, ResolutionSchema, WarningKind } from '../../gen/atelier/v1/image_pb.ts'
import type { GenerateImagesRequest } from '../../gen/atelier/v1/image_service_pb.ts'
import type { RatioTiers, SizeRule } from '../../gen/atelier/v1/model_pb.ts'
import { wireName } from '../contract/wire-names.ts'
import { askedSize } from './contract-rules.ts'
import { allTiers, nearestRatio, nearestSize, nearestTier, pixelsOf, presetSize, tierPixels } from './nearest-size.ts'
import { describeSizes, reduceToRatio, type Shape, sameRatio, sizeAlias, sizeAllowed, spellRatio, spellSize } from './size.ts'
import type { Warn } from './translate.ts'

/** Whose sizes are meant, and whose are made. */
export interface SizeWorlds {
  /** What the written name allows. */
  contract: SizeRule | undefined
  /** What the serving model makes. */
  rule: SizeRule
  /** The serving model's name. */
  serving: string
}

/**
 * Puts size and tier of a request into the serving model's terms: exact pixels, or an aspect ratio with a tier. Warns of whatever is not
 * made as it was asked. Returns the size to which the images must be scaled down, where the written name promises exact pixels that the
 * serving model makes only larger.
 */
export function translateSize(out: GenerateImagesRequest, worlds: SizeWorlds, warn: Warn): Dimensions | undefined {
  const { rule } = worlds.rule
  if (rule.case === undefined) return undefined
  if (out.resolution && isPixels(askedSize(out))) {
    warn(WarningKind.IGNORED, 'resolution', 'a size in pixels says everything; a tier goes with an aspect ratio')
    out.resolution = Resolution.RESOLUTION_UNSPECIFIED
  }
  replaceAlias(out, worlds, warn)
  return rule.case === 'ratioTiers' ? toRatioAndTier(out, rule.value, worlds, warn) : toPixels(out, worlds, warn)
}

function isPixels(size: Dimensions | 'auto' | undefined): size is Dimensions {
  return size !== undefined && size !== 'auto'
}

function replaceAlias(out: GenerateImagesRequest, { contract, rule }: SizeWorlds, warn: Warn): void {
  const size = askedSize(out)
  if (!isPixels(size) || sizeAllowed(rule, size)) return
  const becomes = (contract && sizeAlias(contract, size)) ?? sizeAlias(rule, size)
  if (!becomes) return
  warn(WarningKind.CONVERTED, 'size', `${spellSize(size)} became ${spellSize(becomes)}, the size that it is an alias of`)
  out.sizeSelector = { case: 'dimensions', value: becomes }
}

function toPixels(out: GenerateImagesRequest, worlds: SizeWorlds, warn: Warn): Dimensions | undefined {
  const size = askedSize(out)
  if (isPixels(size)) return toLegalSize(out, size, worlds, warn)
  if (size === 'auto') {
    if (!sizeAllowed(worlds.rule, 'auto')) out.sizeSelector = { case: undefined }
    if (out.resolution) warn(WarningKind.IGNORED, 'resolution', `with the size auto ${worlds.serving} chooses it`)
  } else if (out.sizeSelector.case === 'aspectRatio') {
    const made = sizeOfRatio(out, out.sizeSelector.value, worlds, warn)
    if (!sameRatio(made, out.sizeSelector.value)) {
      warn(WarningKind.CONVERTED, 'aspect_ratio', `${spellRatio(out.sizeSelector.value)} became ${spellSize(made)}${because(worlds)}`)
    }
    out.sizeSelector = { case: 'dimensions', value: made }
  } else if (out.resolution && out.providerOptions?.size === undefined) {
    out.sizeSelector = { case: 'dimensions', value: sizeOfRatio(out, defaultShape(worlds.rule), worlds, warn) }
  }
  out.resolution = Resolution.RESOLUTION_UNSPECIFIED
  return undefined
}

function toLegalSize(out: GenerateImagesRequest, size: Dimensions, worlds: SizeWorlds, warn: Warn): Dimensions | undefined {
  if (sizeAllowed(worlds.rule, size)) return undefined
  const made = nearestSize(worlds.rule, size, Resolution.RESOLUTION_UNSPECIFIED)
  out.sizeSelector = { case: 'dimensions', value: made }
  if (sameRatio(made, size) && made.width > size.width) {
    warn(WarningKind.EMULATED, 'size', `${spellSize(size)} is made at ${spellSize(made)} and scaled down${because(worlds)}`)
    return size
  }
  warn(WarningKind.CONVERTED, 'size', `${spellSize(size)} became ${spellSize(made)}${because(worlds)}`)
  return undefined
}

/** The size for a ratio and the request's tier. What a rule names a preset is that tier; any other size may miss it. */
function sizeOfRatio(out: GenerateImagesRequest, shape: Shape, worlds: SizeWorlds, warn: Warn): Dimensions {
  const tier = out.resolution
  const preset = presetSize(worlds.rule, shape, tier)
  if (preset) return preset
  const made = nearestSize(worlds.rule, shape, tier)
  if (tier && nearestTier(allTiers, pixelsOf(made)) !== tier) {
    warn(WarningKind.CLAMPED, 'resolution', `${spellTier(tier)} became ${spellSize(made)}${because(worlds)}`)
  }
  return made
}

function defaultShape({ rule }: SizeRule): Shape {
  const usual = rule.case === 'range' ? rule.value.defaultSize : rule.case === 'list' ? rule.value.sizes[0] : undefined
  return usual ?? { width: 1, height: 1 }
}

function toRatioAndTier(out: GenerateImagesRequest, rule: RatioTiers, worlds: SizeWorlds, warn: Warn): Dimensions | undefined {
  const size = askedSize(out)
  if (isPixels(size)) return toNearestRatio(out, size, rule, worlds, warn)
  if (size === 'auto') out.sizeSelector = { case: undefined }
  if (out.sizeSelector.case === 'aspectRatio') {
    const asked = out.sizeSelector.value
    const made = nearestRatio(worlds.rule, asked) ?? asked
    if (!sameRatio(made, asked)) {
      warn(WarningKind.CONVERTED, 'aspect_ratio', `${spellRatio(asked)} became ${spellRatio(made)}${because(worlds)}`)
    }
    out.sizeSelector = { case: 'aspectRatio', value: made }
  }
  fitTier(out, rule, worlds, warn)
  return undefined
}

function toNearestRatio(
  out: GenerateImagesRequest,
  size: Dimensions,
  rule: RatioTiers,
  worlds: SizeWorlds,
  warn: Warn
): Dimensions | undefined {
  const ratio = nearestRatio(worlds.rule, size) ?? reduceToRatio(size)
  const tier = nearestTier(rule.tiers, pixelsOf(size)) ?? Resolution.RESOLUTION_UNSPECIFIED
  out.sizeSelector = { case: 'aspectRatio', value: ratio }
  out.resolution = tier
  const made = `${spellRatio(ratio)}${tier ? ` at ${spellTier(tier)}` : ''}`
  const promised = worlds.contract?.rule.case === 'list' || worlds.contract?.rule.case === 'range'
  if (sameRatio(ratio, size) && promised && pixelsOf(size) <= tierPixels(tier)) {
    if (pixelsOf(size) < tierPixels(tier)) {
      warn(WarningKind.EMULATED, 'size', `${spellSize(size)} is made as ${made} and scaled down${because(worlds)}`)
    }
    return size
  }
  if (!isUnderstood(size, tier) || !sameRatio(ratio, size)) {
    warn(WarningKind.CONVERTED, 'size', `${spellSize(size)} became ${made}${because(worlds)}`)
  }
  return undefined
}

/** A square that is the tier's own, or one that seed 003 documents for models that are asked by ratio: to them it means 1:1. */
function isUnderstood({ width, height }: Shape, tier: Resolution): boolean {
  return width === height && (width === 256 || width === 512 || width === 1024 || width * height === tierPixels(tier))
}

function fitTier(out: GenerateImagesRequest, { tiers }: RatioTiers, { serving }: SizeWorlds, warn: Warn): void {
  const tier = out.resolution
  if (!tier || tiers.includes(tier)) return
  const nearest = nearestTier(tiers, tierPixels(tier))
  if (nearest === undefined) warn(WarningKind.IGNORED, 'resolution', `${serving} has a single resolution`)
  else warn(WarningKind.CLAMPED, 'resolution', `${spellTier(tier)} became ${spellTier(nearest)}, the nearest that ${serving} makes`)
  out.resolution = nearest ?? Resolution.RESOLUTION_UNSPECIFIED
}

function because({ rule, serving }: SizeWorlds): string {
  return `: the sizes of ${serving} are ${describeSizes(rule)}`
}

function spellTier(tier: Resolution): string {
  return wireName(ResolutionSchema, tier) ?? ''
}
