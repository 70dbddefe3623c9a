import { readFile } from 'node:fs/promises'
import { create } from '@bufbuild/protobuf'
import { expect, test } from 'vitest'
import { ChargeSchema, CostSchema } from '../../gen/atelier/v1/image_pb.ts'
import type { PriceRule } from '../../src/ledger/price-list.ts'
import { createPrices } from '../../src/ledger/prices.ts'
import { loadCatalog } from '../../src/routing/catalog.ts'
import { createModels } from '../../src/routing/models.ts'
import { planGeneration } from '../../src/routing/plan.ts'
import { loadYaml } from '../support/config-file.ts'
import { requestOf } from '../support/priced.ts'

const models = createModels(
  {
    providers: [
      { name: 'openai', adapter: 'openai', baseUrl: 'http://127.0.0.1:9/v1', apiKey: '', models: [] },
      { name: 'google', adapter: 'google', apiKey: 'key', models: [] }
    ],
    aliases: { 'house-style': 'openai/gpt-image-2', 'dall-e-2': 'openai/gpt-image-2' },
    defaultModel: 'dall-e-3'
  },
  { catalog: loadCatalog() }
)

const example = await loadYaml(await readFile(new URL('../../examples/prices-003.yaml', import.meta.url), 'utf8'))

// Seed 003's table: the 1K column and the sizes that come back for 1K, auto or none at the price, any other size at 1.5 times.
test.each([
  [undefined, 1],
  ['auto', 1],
  ['1024x1024', 1],
  ['1536x1024', 1],
  ['1024x1536', 1],
  ['1792x1024', 1],
  ['1024x1792', 1],
  ['2048x2048', 1.5],
  ['2048x1536', 1.5],
  ['1536x2048', 1.5],
  ['2048x1152', 1.5],
  ['1152x2048', 1.5],
  ['2880x2880', 1.5],
  ['3264x2448', 1.5],
  ['2448x3264', 1.5],
  ['3840x2160', 1.5],
  ['2160x3840', 1.5],
  ['1280x1280', 1.5]
])('the example list charges gpt-image-2 at the size %s with %d credits', (size, credits) => {
  expect(charged(example.settings, { model: 'gpt-image-2', ...(size === undefined ? {} : { size }) })).toBe(`${credits} credits`)
})

test.each(['1254x1254', '1672x941', '941x1672'])('the example list counts %s among the 1K sizes', (size) => {
  expect(charged(example.settings, { model: 'gpt-image-2', size })).toBe('1 credits')
})

test.each([
  ['nano-banana', 0.14],
  ['nano-banana-2', 0.28],
  ['nano-banana-pro', 0.35]
])('the example list charges %s with %d credits at any size', (model, credits) => {
  for (const size of ['1024x1024', '1792x1024', '512x512']) expect(charged(example.settings, { model, size })).toBe(`${credits} credits`)
})

test('a ratio is charged as the size that it became, and as its tier where it stays one', () => {
  expect(charged(example.settings, { model: 'gpt-image-2', aspect_ratio: '1:1', resolution: '1K' })).toBe('1 credits')
  expect(charged(example.settings, { model: 'gpt-image-2', aspect_ratio: '1:1', resolution: '2K' })).toBe('1.5 credits')
  const rules = [{ ...rule(2), sizes: ['auto'], otherSizesFactorMicros: 1_500_000 }]
  expect(charged({ prices: rules, priceUnit: 'USD' }, { model: 'nano-banana-pro', aspect_ratio: '16:9' })).toBe('2 USD')
  expect(charged({ prices: rules, priceUnit: 'USD' }, { model: 'nano-banana-pro', aspect_ratio: '16:9', resolution: '4K' })).toBe('3 USD')
})

test('every image is charged', () => {
  expect(charged(example.settings, { model: 'gpt-image-2', size: '2048x2048', n: 3 })).toBe('4.5 credits')
})

test('the first rule whose conditions all fit counts', () => {
  const prices = [
    { ...rule(1), models: ['dall-e-3'], qualities: ['hd'] },
    { ...rule(2), models: ['dall-e-3'], sizes: ['1024x1024'] },
    { ...rule(3), models: ['dall-e-*'] },
    { ...rule(4), providers: ['goo*'] },
    { ...rule(5), models: ['house-style'] },
    rule(6)
  ]
  const charge = (fields: Record<string, string>) => charged({ prices, priceUnit: 'USD' }, fields)
  expect(charge({ model: 'dall-e-3', quality: 'hd' })).toBe('1 USD')
  expect(charge({ model: 'dall-e-3' })).toBe('2 USD')
  expect(charge({ model: 'openai/dall-e-3', size: '1792x1024' })).toBe('3 USD')
  expect(charge({ model: 'dall-e-2' })).toBe('3 USD')
  expect(charge({ model: 'nano-banana-pro' })).toBe('4 USD')
  expect(charge({ model: 'house-style' })).toBe('5 USD')
  expect(charge({ model: 'gpt-image-2' })).toBe('6 USD')
})

test('an alias of the operator is charged as the model that it stands for', () => {
  const prices = [{ ...rule(7), models: ['gpt-image-2'] }]
  expect(charged({ prices, priceUnit: 'USD' }, { model: 'house-style' })).toBe('7 USD')
  expect(charged({ prices, priceUnit: 'USD' }, { model: 'gpt-image-2-2026-04-21' })).toBe('7 USD')
})

test('a charge follows what the caller wrote, not what became of it', () => {
  const prices = [{ ...rule(7), models: ['dall-e-2'], qualities: ['standard'], sizes: ['1024x1024'] }]
  expect(charged({ prices, priceUnit: 'USD' }, { model: 'dall-e-2', quality: 'standard' })).toBe('7 USD')
})

test('without a rule for it nothing is charged, and the cost stays', () => {
  const prices = [{ ...rule(7), models: ['gpt-image-2'] }]
  expect(charged({ prices, priceUnit: 'USD' }, { model: 'dall-e-3' })).toBeUndefined()
})

test('what is charged and what the provider takes do not depend on each other', () => {
  const resolution = models.resolve('nano-banana-2-lite')
  const request = requestOf({ prompt: 'a cat' })
  const plan = planGeneration(request, resolution, () => 'any option')
  const { withCharge } = createPrices({ prices: [rule(7)], priceUnit: 'USD' })
  const charge = create(ChargeSchema, { micros: 14_000_000n, unit: 'USD' })
  const known = create(CostSchema, { totalMicros: 5n, estimated: true })
  expect(withCharge(undefined, { request, resolution, plan }, 2)).toEqual(create(CostSchema, { charge }))
  expect(withCharge(known, { request, resolution, plan }, 2)).toEqual(create(CostSchema, { totalMicros: 5n, estimated: true, charge }))
})

function rule(perImage: number): PriceRule {
  return { models: [], providers: [], qualities: [], sizes: [], perImageMicros: perImage * 1_000_000 }
}

function charged(options: { prices: readonly PriceRule[]; priceUnit: string }, { model, ...fields }: Record<string, string | number>) {
  const resolution = models.resolve(String(model))
  const request = requestOf({ prompt: 'a cat', ...fields })
  const plan = planGeneration(request, resolution, () => 'any option')
  const { charge } = createPrices(options).estimate({ request, resolution, plan })
  return charge && `${Number(charge.micros) / 1_000_000} ${charge.unit}`
}
