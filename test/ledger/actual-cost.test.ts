import { create } from '@bufbuild/protobuf'
import { expect, test } from 'vitest'
import { CostSchema, Quality, ResolvedParametersSchema, UsageSchema } from '../../gen/atelier/v1/image_pb.ts'
import { encodeMessage } from '../../src/contract/json.ts'
import { actualCost, type Ending } from '../../src/ledger/actual-cost.ts'
import { orderOf } from '../support/priced.ts'

test("a count of tokens is billed at the catalog's prices", () => {
  const usage = create(UsageSchema, {
    inputTokens: 59n,
    outputTokens: 4280n,
    totalTokens: 4339n,
    inputTokensDetails: { textTokens: 50n, imageTokens: 9n },
    outputTokensDetails: { textTokens: 120n, imageTokens: 4160n }
  })
  expect(spell('gpt-image-1.5', { quality: 'high' }, 1, { usage })).toEqual({
    total_micros: 134_642,
    estimated: false,
    lines: [
      { description: 'prompt', unit: 'text_input_token', quantity: 50, micros: 250 },
      { description: 'input images', unit: 'image_input_token', quantity: 9, micros: 72 },
      { description: 'image output', unit: 'image_output_token', quantity: 4160, micros: 133_120 },
      { description: 'text output', unit: 'text_output_token', quantity: 120, micros: 1200 }
    ]
  })
})

test('tokens without details are text in and image out', () => {
  const usage = create(UsageSchema, { inputTokens: 13n, outputTokens: 7024n, totalTokens: 7037n })
  expect(spell('gpt-image-2', {}, 1, { usage })).toMatchObject({ total_micros: 210_785, estimated: false })
})

test('tokens that the details leave out are billed as text', () => {
  const usage = create(UsageSchema, { inputTokens: 10n, outputTokens: 1360n, outputTokensDetails: { imageTokens: 1120n } })
  expect(spell('nano-banana-2.1', {}, 1, { usage })).toMatchObject({ total_micros: 15 + 33_600 + 1800, estimated: false })
})

test('a stated cost wins over everything', () => {
  const usage = create(UsageSchema, { inputTokens: 13n, outputTokens: 7024n })
  const cost = create(CostSchema, { totalMicros: 20_000n })
  expect(spell('gpt-image-2', {}, 1, { usage, cost })).toEqual({ total_micros: 20_000, estimated: false })
  expect(spell('sd-turbo', {}, 1, { cost: create(CostSchema, { totalMicros: 0n }) })).toEqual({ total_micros: 0, estimated: false })
})

test('where images have a price only those that were delivered are billed', () => {
  expect(spell('dall-e-2', { n: 4, size: '512x512' }, 3, {})).toEqual({
    total_micros: 54_000,
    estimated: false,
    lines: [{ description: 'images, standard, 512x512', unit: 'image', quantity: 3, micros: 54_000 }]
  })
})

test('without a count of tokens the cost is an estimate for what was made', () => {
  const resolved = create(ResolvedParametersSchema, { size: { width: 1536, height: 1024 }, quality: Quality.MEDIUM })
  expect(spell('gpt-image-2', {}, 2, { resolved })).toMatchObject({
    total_micros: 82_360,
    estimated: true,
    lines: [{ description: 'image output, medium, 1536x1024', quantity: 2744, micros: 82_320 }, {}]
  })
  expect(spell('gpt-image-2', { quality: 'low' }, 1, {})).toMatchObject({
    lines: [{ description: 'image output, low, 2880x2880' }, {}],
    estimated: true
  })
})

test.each([
  ['counts nothing', create(UsageSchema)],
  ['counts tokens whose price is not known', create(UsageSchema, { inputTokens: 10n, outputTokens: 1680n })]
])('a provider that %s is billed by images', (_, usage) => {
  expect(spell('nano-banana-2', { resolution: '2K' }, 1, { usage })).toMatchObject({ total_micros: 101_000, estimated: true })
})

test.each(['sd-turbo', 'stable-diffusion-xl-1024-v1-0', 'nano-banana-2-lite'])('the cost of %s is not known', (model) => {
  const usage = create(UsageSchema, { inputTokens: 10n, outputTokens: 1120n, totalTokens: 1130n })
  expect(actualCost(orderOf(model), 1, { usage })).toBeUndefined()
})

function spell(model: string, fields: Record<string, string | number>, delivered: number, ending: Ending) {
  const cost = actualCost(orderOf(model, fields), delivered, ending)
  return cost && encodeMessage(CostSchema, cost)
}
