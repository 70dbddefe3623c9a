import { create } from '@bufbuild/protobuf'
import { expect, test } from 'vitest'
import { type PriceLine, PriceLineSchema } from '../../gen/atelier/v1/catalog_pb.ts'
import { PriceUnit, Quality, Resolution } from '../../gen/atelier/v1/image_pb.ts'
import { costOf, countOutputTokens, findPrice, type ImageTraits, priceImage } from '../../src/ledger/price.ts'
import { orderOf } from '../support/priced.ts'

const tokensOf = orderOf('gpt-image-2').pricing?.outputTokens
const olderTokens = orderOf('gpt-image-1').pricing?.outputTokens

// From OpenAI's calculator: the three standard shapes, and large and odd ones.
test.each([
  ['low', 1024, 1024, 196],
  ['medium', 1024, 1024, 1756],
  ['high', 1024, 1024, 7024],
  ['low', 1536, 1024, 158],
  ['medium', 1536, 1024, 1372],
  ['high', 1536, 1024, 5488],
  ['high', 1024, 1536, 5488],
  ['low', 2048, 2048, 397],
  ['medium', 2048, 2048, 3568],
  ['high', 2048, 2048, 14272],
  ['low', 3840, 2160, 371],
  ['medium', 3840, 2160, 3336],
  ['high', 3840, 2160, 13342],
  ['high', 1792, 1024, 5063],
  ['high', 3584, 2048, 12329]
] as const)('a %s image of gpt-image-2 at %i by %i takes %i tokens', (quality, width, height, tokens) => {
  expect(tokensOf && countOutputTokens(tokensOf, traits(quality, { width, height }))).toBe(tokens)
})

test.each([
  ['low', [272, 408, 400]],
  ['medium', [1056, 1584, 1568]],
  ['high', [4160, 6240, 6208]]
] as const)('a %s image of the models before takes what their table says', (quality, tokens) => {
  const sizes = [
    { width: 1024, height: 1024 },
    { width: 1024, height: 1536 },
    { width: 1536, height: 1024 }
  ]
  expect(sizes.map((size) => olderTokens && countOutputTokens(olderTokens, traits(quality, size)))).toEqual(tokens)
})

test.each(['xhigh', 'max'] as const)('no count is known for the quality %s', (quality) => {
  expect(tokensOf && countOutputTokens(tokensOf, traits(quality, { width: 1024, height: 1024 }))).toBeUndefined()
})

test('a fraction of a micro-USD is rounded up', () => {
  const price = line({ unit: PriceUnit.TEXT_INPUT_TOKEN, micros: 1_250_000n, per: 1_000_000n })
  expect([1, 2, 3, 4].map((tokens) => costOf(price, tokens, 'prompt').micros)).toEqual([2n, 3n, 4n, 5n])
})

test('the first price that fits size, quality and tier counts', () => {
  const lines = [
    line({ unit: PriceUnit.IMAGE, micros: 1n, sizes: [{ width: 1, height: 2 }], qualities: [Quality.HD] }),
    line({ unit: PriceUnit.IMAGE, micros: 2n, tiers: [Resolution.RESOLUTION_4K] }),
    line({ unit: PriceUnit.IMAGE, micros: 3n })
  ]
  const found = [
    traits('hd', { width: 1, height: 2 }),
    traits('hd', { width: 2, height: 1 }),
    traits('low', { width: 1, height: 2 }),
    { ...traits('hd', undefined), tier: Resolution.RESOLUTION_4K }
  ].map((image) => findPrice(lines, PriceUnit.IMAGE, image)?.micros)
  expect(found).toEqual([1n, 3n, 3n, 2n])
})

test('a price per megapixel follows the exact number of pixels', () => {
  const price = line({ unit: PriceUnit.PIXEL, micros: 14_000n, per: 1_000_000n })
  const priced = priceImage([price], undefined, traits('high', { width: 1024, height: 1024 }))
  expect(priced).toEqual({ line: price, quantity: 1_048_576 })
  expect(priced && costOf(priced.line, priced.quantity, 'images').micros).toBe(14_681n)
})

function traits(quality: 'low' | 'medium' | 'high' | 'xhigh' | 'max' | 'hd', size: ImageTraits['size']): ImageTraits {
  const qualities = { low: Quality.LOW, medium: Quality.MEDIUM, high: Quality.HIGH, xhigh: Quality.XHIGH, max: Quality.MAX, hd: Quality.HD }
  return { quality: qualities[quality], size, tier: Resolution.RESOLUTION_UNSPECIFIED }
}

function line(init: Parameters<typeof create<typeof PriceLineSchema>>[1]): PriceLine {
  return create(PriceLineSchema, init)
}
