import { create } from '@bufbuild/protobuf'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Resolution } from '../../gen/atelier/v1/image_pb.ts'
import type { SizeRule } from '../../gen/atelier/v1/model_pb.ts'
import { SizeRuleSchema } from '../../gen/atelier/v1/model_pb.ts'
import { loadCatalog } from '../../src/routing/catalog.ts'
import { allTiers, nearestRatio, nearestSize, nearestTier, presetSize, tierPixels } from '../../src/routing/nearest-size.ts'
import { describeSizes, reduceToRatio, type Shape, sizeAlias, sizeAllowed } from '../../src/routing/size.ts'

const rules = new Map(loadCatalog().flatMap(({ models }) => models.map(({ name, capabilities }) => [name, capabilities?.size])))
const noRule = create(SizeRuleSchema, {})

test.each([
  ['dall-e-3', '1024x1024 1792x1024 1024x1792', '256x256 1024x1536 auto'],
  ['dall-e-2', '256x256 512x512 1024x1024', '1792x1024 257x256 auto'],
  ['gpt-image-1', '1024x1024 1536x1024 1024x1536 auto', '1792x1024 512x512'],
  [
    'gpt-image-2',
    '1024x1024 1792x1024 2048x1152 3840x2160 2160x3840 2880x2880 1440x480 1024x640 auto',
    '1792x936 3856x1296 640x1008 1472x480 3840x2176 512x512'
  ],
  ['sketch', '64x64 4096x4096 123x457 auto', '63x64 64x4097'],
  ['nano-banana', '1024x1024 256x256 1600x900 auto', '1792x1024 1024x512'],
  ['stable-image-core', '1024x1024 2100x900', '1024x768 auto'],
  ['stable-diffusion-xl-1024-v1-0', '1152x896 640x1536', '512x512 auto']
])('%s makes %s and does not make %s', (model, legal, illegal) => {
  expect(legal.split(' ').filter((size) => !sizeAllowed(ruleOf(model), parse(size)))).toEqual([])
  expect(illegal.split(' ').filter((size) => sizeAllowed(ruleOf(model), parse(size)))).toEqual([])
})

test('allows everything where there is no rule', () => {
  expect([sizeAllowed(noRule, 'auto'), sizeAllowed(noRule, { width: 3, height: 5 }), describeSizes(noRule)]).toEqual([
    true,
    true,
    'any size'
  ])
})

test.each([
  ['dall-e-3', '1024x1024, 1792x1024, or 1024x1792'],
  ['dall-e-2', '1024x1024, 512x512, or 256x256'],
  ['gpt-image-1', '1024x1024, 1536x1024, 1024x1536, or auto'],
  [
    'gpt-image-2',
    'WIDTHxHEIGHT with both edges multiples of 16, the longer at most 3840, 655360 to 8294400 pixels, ratio at most 3:1, or auto'
  ],
  ['sketch', 'WIDTHxHEIGHT with both edges from 64 to 4096, or auto'],
  ['stable-image-core', 'of the aspect ratio 1:1, 21:9, 16:9, 3:2, 5:4, 4:5, 2:3, 9:16, or 9:21'],
  ['nano-banana', 'of the aspect ratio 1:1, 2:3, 3:2, 3:4, 4:3, 4:5, 5:4, 9:16, 16:9, 21:9, or auto']
])('says that a size for %s must be %s', (model, allowed) => {
  expect(describeSizes(ruleOf(model))).toBe(allowed)
})

test('says in one sentence what other ranges and lists allow', () => {
  const range = create(SizeRuleSchema, { rule: { case: 'range', value: { step: 32, minEdge: 256, maxEdge: 1440, minPixels: 65536n } } })
  const pair = create(SizeRuleSchema, { rule: { case: 'list', value: { sizes: [{ width: 512, height: 512 }], auto: true } } })
  expect(describeSizes(range)).toBe('WIDTHxHEIGHT with both edges multiples of 32, from 256 to 1440, at least 65536 pixels')
  expect(describeSizes(pair)).toBe('512x512 or auto')
})

test.each([
  ['1024x1024', '1:1'],
  ['1792x1024', '7:4'],
  ['1152x2048', '9:16'],
  ['997x1000', '997:1000']
])('reduces %s to %s', (size, ratio) => {
  const { width, height } = reduceToRatio(pixels(size))
  expect(`${width}:${height}`).toBe(ratio)
})

test.each([
  ['nano-banana', '256x256', '1:1'],
  ['nano-banana', '512x512', '1:1'],
  ['nano-banana', '1024x1024', '1:1'],
  ['nano-banana', '1792x1024', '16:9'],
  ['nano-banana', '1024x1792', '9:16'],
  ['nano-banana', '1536x1024', '3:2'],
  ['nano-banana', '4000x1000', '21:9'],
  ['nano-banana-2.1', '4000x1000', '4:1'],
  ['stable-image-core', '1000x2000', '9:16']
])('%s draws %s as %s', (model, size, ratio) => {
  const nearest = nearestRatio(ruleOf(model), pixels(size))
  expect(`${nearest?.width}:${nearest?.height}`).toBe(ratio)
})

test('takes the earlier one of two ratios that are equally near', () => {
  const rule = create(SizeRuleSchema, {
    rule: {
      case: 'ratioTiers',
      value: {
        ratios: [
          { width: 2, height: 1 },
          { width: 1, height: 2 }
        ]
      }
    }
  })
  expect(nearestRatio(rule, { width: 1, height: 1 })).toMatchObject({ width: 2, height: 1 })
})

test('knows no nearest ratio under a rule without ratios', () => {
  expect(nearestRatio(ruleOf('dall-e-3'), { width: 1, height: 1 })).toBeUndefined()
})

test.each([
  // The table of seed 003, to the letter.
  ['1:1', '1024x1024', '2048x2048', '2880x2880'],
  ['4:3', '1536x1024', '2048x1536', '3264x2448'],
  ['3:4', '1024x1536', '1536x2048', '2448x3264'],
  ['16:9', '1792x1024', '2048x1152', '3840x2160'],
  ['9:16', '1024x1792', '1152x2048', '2160x3840']
])('gpt-image-2 has a size of its own for %s: %s, %s and %s', (ratio, at1K, at2K, at4K) => {
  const rule = ruleOf('gpt-image-2')
  const sizes = [Resolution.RESOLUTION_UNSPECIFIED, ...allTiers.slice(1)].map((tier) => presetSize(rule, shape(ratio), tier))
  expect(sizes.map((size) => size && spell(size))).toEqual([at1K, at1K, at2K, at4K])
  expect(sizes.map((size) => size && sizeAllowed(rule, size))).toEqual([true, true, true, true])
  expect([at1K, at2K, at4K].map((size) => nearestTier(allTiers, area(size)))).toEqual(allTiers.slice(1))
})

test('knows no preset for another ratio, another tier, or under another rule', () => {
  expect(presetSize(ruleOf('gpt-image-2'), shape('21:9'), Resolution.RESOLUTION_1K)).toBeUndefined()
  expect(presetSize(ruleOf('gpt-image-2'), shape('1:1'), Resolution.RESOLUTION_512)).toBeUndefined()
  expect(presetSize(ruleOf('dall-e-3'), shape('1:1'), Resolution.RESOLUTION_1K)).toBeUndefined()
})

test.each([
  ['gpt-image-2', '1254x1254', '1024x1024'],
  ['gpt-image-2', '1672x941', '1792x1024'],
  ['gpt-image-2', '941x1672', '1024x1792'],
  ['gpt-image-2', '1255x1255', undefined],
  ['gpt-image-2.6-flare', '1254x1254', undefined],
  ['dall-e-3', '1254x1254', undefined]
])('%s accepts %s for %s', (model, asked, becomes) => {
  const alias = sizeAlias(ruleOf(model), pixels(asked))
  expect(alias && spell(alias)).toBe(becomes)
})

test.each([
  [256 * 256, Resolution.RESOLUTION_512],
  [1024 * 1024, Resolution.RESOLUTION_1K],
  [1792 * 1024, Resolution.RESOLUTION_1K],
  [2048 * 1152, Resolution.RESOLUTION_2K],
  [2048 * 2048, Resolution.RESOLUTION_2K],
  [3840 * 2160, Resolution.RESOLUTION_4K],
  [4096 * 4096, Resolution.RESOLUTION_4K]
])('%i pixels are nearest to tier %i', (count, tier) => {
  expect(nearestTier(allTiers, count)).toBe(tier)
})

test('counts an unset tier as 1K, and knows no nearest of no tiers', () => {
  expect([tierPixels(Resolution.RESOLUTION_UNSPECIFIED), nearestTier([], 1)]).toEqual([1024 * 1024, undefined])
})

test.each([
  ['gpt-image-2', '21:9', Resolution.RESOLUTION_4K, '3808x1632'],
  ['gpt-image-2', '1000:1', Resolution.RESOLUTION_1K, '1776x592'],
  ['gpt-image-2', '1:1', Resolution.RESOLUTION_512, '816x816'],
  ['gpt-image-1', '16:9', Resolution.RESOLUTION_4K, '1536x1024'],
  ['dall-e-2', '1:1', Resolution.RESOLUTION_512, '512x512'],
  ['dall-e-2', '1:1', Resolution.RESOLUTION_UNSPECIFIED, '1024x1024'],
  ['stable-diffusion-xl-1024-v1-0', '16:9', Resolution.RESOLUTION_UNSPECIFIED, '1344x768'],
  ['sketch', '16:9', Resolution.RESOLUTION_UNSPECIFIED, '1360x765'],
  ['sketch', '1:1', Resolution.RESOLUTION_4K, '2880x2880']
])('%s is asked for %s at tier %i as %s', (model, ratio, tier, size) => {
  expect(spell(nearestSize(ruleOf(model), shape(ratio), tier))).toBe(size)
})

test.each([
  ['gpt-image-2', '256x256', '1024x1024'],
  ['gpt-image-1', '1792x1024', '1536x1024'],
  ['gpt-image-2', '5000x4000', '3200x2560'],
  ['dall-e-3', '1024x1536', '1024x1792']
])('%s makes the nearest of %s, which is %s', (model, asked, size) => {
  expect(spell(nearestSize(ruleOf(model), pixels(asked), Resolution.RESOLUTION_UNSPECIFIED))).toBe(size)
})

test('finds a legal size for every shape and tier', () => {
  const models = fc.constantFrom('dall-e-2', 'dall-e-3', 'gpt-image-1', 'gpt-image-2', 'sketch', 'stable-diffusion-xl-1024-v1-0')
  const edge = fc.integer({ min: 1, max: 16384 })
  fc.assert(
    fc.property(models, edge, edge, fc.constantFrom(...Object.values(Resolution)), (model, width, height, tier) => {
      expect(sizeAllowed(ruleOf(model), nearestSize(ruleOf(model), { width, height }, tier))).toBe(true)
    })
  )
})

test('makes up a size of the right shape where there is no rule', () => {
  expect(spell(nearestSize(noRule, { width: 16, height: 9 }, Resolution.RESOLUTION_2K))).toBe('2816x1584')
})

function ruleOf(model: string): SizeRule {
  const rule = rules.get(model)
  if (!rule) throw new Error(`no model ${model}`)
  return rule
}

function parse(size: string): Shape | 'auto' {
  return size === 'auto' ? 'auto' : pixels(size)
}

function pixels(size: string): Shape {
  const [width, height] = size.split('x').map(Number)
  return { width: width ?? 0, height: height ?? 0 }
}

function shape(ratio: string): Shape {
  const [width, height] = ratio.split(':').map(Number)
  return { width: width ?? 0, height: height ?? 0 }
}

function area(size: string): number {
  const { width, height } = pixels(size)
  return width * height
}

function spell({ width, height }: Shape): string {
  return `${width}x${height}`
}
