import { create } from '@bufbuild/protobuf'
import { expect, test } from 'vitest'
import { CostEstimateSchema, InputFidelity, PriceUnit } from '../../gen/atelier/v1/image_pb.ts'
import { encodeMessage } from '../../src/contract/json.ts'
import { estimateCost, type Order } from '../../src/ledger/estimate.ts'
import { orderOf } from '../support/priced.ts'

const standardSizes = ['1024x1024', '1024x1536', '1536x1024']

// OpenAI's image generation guide, in US dollars for an image of each standard size.
test.each([
  ['gpt-image-2', 'low', [0.006, 0.005, 0.005]],
  ['gpt-image-2', 'medium', [0.053, 0.041, 0.041]],
  ['gpt-image-2', 'high', [0.211, 0.165, 0.165]],
  ['gpt-image-1.5', 'low', [0.009, 0.013, 0.013]],
  ['gpt-image-1.5', 'medium', [0.034, 0.05, 0.05]],
  ['gpt-image-1.5', 'high', [0.133, 0.2, 0.2]],
  ['gpt-image-1', 'low', [0.011, 0.016, 0.016]],
  ['gpt-image-1', 'medium', [0.042, 0.063, 0.063]],
  ['gpt-image-1', 'high', [0.167, 0.25, 0.25]],
  ['gpt-image-1-mini', 'low', [0.005, 0.006, 0.006]],
  ['gpt-image-1-mini', 'medium', [0.011, 0.015, 0.015]],
  ['gpt-image-1-mini', 'high', [0.036, 0.052, 0.052]]
])('an image of %s in %s costs what OpenAI publishes', (model, quality, prices) => {
  expect(standardSizes.map((size) => Math.round(imageMicros(orderOf(model, { quality, size })) / 1000) / 1000)).toEqual(prices)
})

test.each([
  ['dall-e-3', { size: '1024x1024', quality: 'standard' }, 40_000],
  ['dall-e-3', {}, 40_000],
  ['dall-e-3', { quality: 'hd' }, 80_000],
  ['dall-e-3', { size: '1792x1024' }, 80_000],
  ['dall-e-3', { size: '1024x1792', quality: 'hd' }, 120_000],
  ['dall-e-2', { size: '1024x1024' }, 20_000],
  ['dall-e-2', {}, 20_000],
  ['dall-e-2', { size: '512x512' }, 18_000],
  ['dall-e-2', { size: '256x256' }, 16_000],
  ['dall-e-2', { size: '256x256', n: 10 }, 160_000],
  ['stable-image-core', {}, 30_000],
  ['stable-image-ultra', { aspect_ratio: '16:9' }, 80_000],
  ['sd3.5-large', {}, 65_000],
  ['sd3.5-large-turbo', {}, 40_000],
  ['sd3.5-medium', { n: 2 }, 70_000],
  ['nano-banana-pro', {}, 134_000],
  ['nano-banana-pro', { resolution: '2K' }, 134_000],
  ['nano-banana-pro', { resolution: '4K' }, 240_000],
  ['nano-banana-2', { resolution: '512' }, 45_000],
  ['nano-banana-2', {}, 67_000],
  ['nano-banana-2', { resolution: '2K' }, 101_000],
  ['nano-banana-2', { resolution: '4K' }, 151_000],
  ['nano-banana', {}, 39_000],
  ['sketch', {}, 0],
  ['sketch', { n: 10, size: '4096x4096' }, 0]
] as [string, Record<string, string | number>, number][])('%s with %o costs %i micro-USD', (model, fields, micros) => {
  const { totalMicros, upperBound, unknownReason } = estimateCost(orderOf(model, fields))
  expect({ totalMicros, upperBound, unknownReason }).toEqual({ totalMicros: BigInt(micros), upperBound: false, unknownReason: '' })
})

test('says what a total is made of', () => {
  expect(spell(orderOf('gpt-image-2', { prompt: 'a white siamese cat', quality: 'high', size: '1536x1024', n: 3 }))).toEqual({
    lines: [
      { description: 'image output, high, 1536x1024', unit: 'image_output_token', quantity: 16_464, micros: 493_920 },
      { description: 'prompt, about one token for 4 bytes', unit: 'text_input_token', quantity: 11, micros: 55 }
    ],
    total_micros: 493_975,
    upper_bound: false
  })
})

test('tells orders apart that differ in one thing', () => {
  const asked = { prompt: 'a cat', quality: 'low', size: '1024x1024', n: 1, partial_images: 0 }
  const orders = [
    asked,
    { ...asked, prompt: 'a cat that sleeps on a red sofa' },
    { ...asked, quality: 'high' },
    { ...asked, size: '1024x1536' },
    { ...asked, size: '2048x2048' },
    { ...asked, n: 2 },
    { ...asked, partial_images: 2 }
  ].map((fields) => orderOf('gpt-image-2', fields))
  const totals = orders.map((order) => estimateCost(order).totalMicros)
  expect(new Set(totals).size).toBe(orders.length)
  expect(orders.map((order) => estimateCost(order).totalMicros)).toEqual(totals)
})

test('each partial image costs 100 output tokens', () => {
  const order = orderOf('gpt-image-2', { quality: 'low', size: '1024x1024', n: 2, partial_images: 3 })
  expect(spell(order).lines).toContainEqual({ description: 'partial images', unit: 'image_output_token', quantity: 600, micros: 18_000 })
})

// OpenAI's guide: 65 tokens and 129 for each tile, and 4160 or 6240 where the image is kept to closely.
test.each([
  [
    'gpt-image-1.5',
    InputFidelity.UNSPECIFIED,
    [
      [512, 512],
      [512, 1025]
    ],
    65 + 129 + 65 + 3 * 129
  ],
  [
    'gpt-image-1.5',
    InputFidelity.HIGH,
    [
      [1024, 1024],
      [1536, 1024]
    ],
    65 + 129 + 4160 + 65 + 2 * 129 + 6240
  ],
  ['gpt-image-2', InputFidelity.UNSPECIFIED, [[1024, 1024]], 65 + 129 + 4160],
  ['gpt-image-1-mini', InputFidelity.UNSPECIFIED, [[1024, 1024]], 65 + 129]
] as const)('%s is billed for the images that it works on (fidelity %i, %o)', (model, inputFidelity, shapes, tokens) => {
  const inputs = { inputFidelity, images: shapes.map(([width, height]) => ({ width, height })) }
  const { lines } = estimateCost({ ...orderOf(model, { quality: 'low', size: '1024x1024', n: 2 }), inputs })
  expect(lines.find(({ unit }) => unit === PriceUnit.IMAGE_INPUT_TOKEN)?.quantity).toBe(BigInt(tokens))
})

test('a prompt is billed for each call that its images take', () => {
  const { lines } = estimateCost(orderOf('nano-banana-2.1', { n: 4 }))
  expect(lines.map(({ quantity, micros }) => [quantity, micros])).toEqual([
    [4n, 134_400n],
    [8n, 12n]
  ])
})

test('where the model chooses size and quality, the dearest choice is the upper bound', () => {
  expect(spell(orderOf('gpt-image-2'))).toMatchObject({
    lines: [{ description: 'image output, high, 2880x2880', quantity: 23_719, micros: 711_570 }, {}],
    total_micros: 711_610,
    upper_bound: true
  })
  expect(spell(orderOf('gpt-image-1.5', { quality: 'auto', size: '1024x1024' }))).toMatchObject({
    lines: [{ description: 'images, high, 1024x1024', micros: 133_000 }, {}],
    upper_bound: true
  })
  expect(spell(orderOf('gpt-image-1.5', { quality: 'low', size: 'auto' }))).toMatchObject({
    lines: [{ description: 'images, low, 1536x1024', micros: 13_000 }, {}],
    upper_bound: true
  })
})

test('no legal size of gpt-image-2 takes more tokens than the largest square', () => {
  const bound = imageMicros(orderOf('gpt-image-2', { quality: 'high' }))
  let dearest = 0
  for (let width = 16; width <= 3840; width += 16) {
    for (let height = 16; height <= width; height += 16) {
      const pixels = width * height
      if (pixels < 655_360 || pixels > 8_294_400 || width > 3 * height || (width * 7 + height * 13) % 5 > 0) continue
      dearest = Math.max(dearest, imageMicros(orderOf('gpt-image-2', { quality: 'high', size: `${width}x${height}` })))
    }
  }
  expect(dearest).toBeGreaterThan(700_000)
  expect(dearest).toBeLessThanOrEqual(bound)
})

test.each([
  [
    'gpt-image-2.5-flare',
    { quality: 'xhigh', size: '1024x1024' },
    'neither a price nor a count of tokens is published for an image of gpt-image-2.5-flare, xhigh, 1024x1024'
  ],
  [
    'gpt-image-2.6-sunburst',
    { quality: 'max', size: '1024x1024' },
    'neither a price nor a count of tokens is published for an image of gpt-image-2.6-sunburst, max, 1024x1024'
  ],
  [
    'gpt-image-2.6-flare',
    { size: '1024x1024' },
    'the model chooses, and neither a price nor a count of tokens is published for an image of gpt-image-2.6-flare, xhigh, 1024x1024'
  ],
  ['nano-banana-2.1', { resolution: '4K' }, 'neither a price nor a count of tokens is published for an image of nano-banana-2.1, 4K'],
  ['nano-banana-2-lite', {}, 'neither a price nor a count of tokens is published for an image of nano-banana-2-lite, 1K'],
  ['stable-diffusion-xl-1024-v1-0', {}, 'no price is known for stable-diffusion-xl-1024-v1-0'],
  ['sd-turbo', {}, 'no price is known for sd-turbo']
] as [string, Record<string, string>, string][])('what %s costs with %o is not known, and is not 0', (model, fields, reason) => {
  expect(spell(orderOf(model, fields))).toEqual({ upper_bound: false, unknown_reason: reason })
})

function spell(order: Order) {
  return encodeMessage(CostEstimateSchema, create(CostEstimateSchema, estimateCost(order)))
}

function imageMicros(order: Order): number {
  return Number(estimateCost(order).lines[0]?.micros)
}
