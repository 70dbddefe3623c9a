import { create } from '@bufbuild/protobuf'
import { createClient } from '@connectrpc/connect'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { CostEstimateSchema, CostSchema, PriceUnit, Quality, Size } from '../../gen/atelier/v1/image_pb.ts'
import { ImageService } from '../../gen/atelier/v1/image_service_pb.ts'
import { Model } from '../../gen/atelier/v1/model_pb.ts'
import { startAtelier, type TestServer } from '../support/atelier.ts'
import { type FakeOpenAI, startFakeOpenAI } from '../support/fake-openai.ts'
import { startFakeStability } from '../support/fake-stability.ts'
import { transports } from '../support/rpc-server.ts'

const generations = '/v1/images/generations'
const estimate = '/v1/images/estimate'
const catInLow = { model: 'gpt-image-2', prompt: 'a white cat', size: '1024x1024', quality: 'low' }

let openai: FakeOpenAI
let atelier: TestServer

beforeAll(async () => {
  openai = await startFakeOpenAI()
  atelier = await startAtelier({
    environment: { OPENAI_API_KEY: 'sk-provider-key-1234', OPENAI_BASE_URL: openai.url },
    settings: {
      prices: [
        {
          models: ['gpt-image-*'],
          providers: [],
          qualities: [],
          sizes: ['auto', '1024x1024'],
          perImageMicros: 200_000,
          otherSizesFactorMicros: 1_500_000
        }
      ],
      priceUnit: 'credits'
    }
  })
})

afterAll(async () => {
  await atelier[Symbol.asyncDispose]()
  await openai[Symbol.asyncDispose]()
})

test('tells over REST what a request would cost, and sends nothing anywhere', async () => {
  const before = openai.requests.length
  const response = await atelier.post(estimate, catInLow)
  expect(response.status).toBe(200)
  expect(await response.json()).toEqual({
    estimate: {
      lines: [
        { description: 'image output, low, 1024x1024', unit: 'image_output_token', quantity: 196, micros: 5880 },
        { description: 'prompt, about one token for 4 bytes', unit: 'text_input_token', quantity: 9, micros: 45 }
      ],
      total_micros: 5925,
      upper_bound: false,
      charge: { micros: 200_000, unit: 'credits' }
    },
    provider: 'openai',
    model: 'gpt-image-2'
  })
  expect(openai.requests.length).toBe(before)
})

test.each(Object.entries(transports))('tells over %s what a request would cost', async (_, transport) => {
  const images = createClient(ImageService, transport(atelier.url, atelier.apiKey))
  const { $typeName: __, ...response } = await images.estimateCost({
    request: {
      prompt: 'a white cat',
      modelSelector: { case: 'model', value: Model.GPT_IMAGE_2 },
      sizeSelector: { case: 'size', value: Size.SIZE_1536X1024 },
      quality: Quality.HIGH,
      n: 2
    }
  })
  expect(response).toEqual({
    estimate: create(CostEstimateSchema, {
      lines: [
        { description: 'image output, high, 1536x1024', unit: PriceUnit.IMAGE_OUTPUT_TOKEN, quantity: 10_976n, micros: 329_280n },
        { description: 'prompt, about one token for 4 bytes', unit: PriceUnit.TEXT_INPUT_TOKEN, quantity: 9n, micros: 45n }
      ],
      totalMicros: 329_325n,
      charge: { micros: 600_000n, unit: 'credits' }
    }),
    provider: 'openai',
    model: 'gpt-image-2',
    warnings: []
  })
})

test('says plainly that a cost is not known, before and after', async () => {
  const request = { model: 'openai/some-new-model', prompt: 'a white cat' }
  expect(await (await atelier.post(estimate, request)).json()).toEqual({
    estimate: { upper_bound: false, unknown_reason: 'no price is known for some-new-model' },
    provider: 'openai',
    model: 'some-new-model'
  })
  await using upstream = await startFakeOpenAI({
    answer: () => ({
      status: 200,
      headers: { 'content-type': 'application/json' },
      body: Buffer.from('{"data":[{"b64_json":"iVBORw0KGgo="}]}')
    })
  })
  await using gateway = await startAtelier({ environment: { OPENAI_BASE_URL: upstream.url } })
  const response = await gateway.post(generations, { ...request, response_format: 'b64_json' }, { 'x-atelier-include': 'cost' })
  expect([response.status, response.headers.get('x-atelier-cost')]).toEqual([200, null])
  expect(await response.json()).toMatchObject({ atelier: { cost: null } })
})

test.each([
  ['no prompt', { model: 'gpt-image-2' }],
  ['a size that is not legal', { model: 'dall-e-3', prompt: 'a cat', size: '512x512' }],
  ['too many images', { model: 'dall-e-3', prompt: 'a cat', n: 2 }],
  ['a model that is not known', { model: 'dall-e-5', prompt: 'a cat' }],
  ['a value of the wrong type', { model: 'gpt-image-2', prompt: 3 }],
  ['partial images without a stream', { model: 'gpt-image-2', prompt: 'a cat', partial_images: 1 }]
])('an estimate for a request with %s is refused as the request is', async (_, body) => {
  const [refused, unestimated] = await Promise.all([atelier.post(generations, body), atelier.post(estimate, body)])
  expect([400, 404]).toContain(refused.status)
  expect(unestimated.status).toBe(refused.status)
  const withoutId = async (response: Response) => (await response.text()).replace(/req_\w+/, '')
  expect(await withoutId(unestimated)).toBe(await withoutId(refused))
})

test('an estimate is refused under strict where the request would be', async () => {
  const body = { ...catInLow, style: 'vivid' }
  const { warnings } = (await (await atelier.post(estimate, body)).json()) as { warnings: unknown[] }
  expect(warnings).toEqual([{ kind: 'ignored', param: 'style', message: expect.stringContaining('gpt-image-2') }])
  expect((await atelier.post(estimate, body, { 'x-atelier-strict': 'true' })).status).toBe(400)
})

test('an answer carries its cost, from the tokens that the provider counted, where it is asked for', async () => {
  const response = await atelier.post(generations, catInLow, { 'x-atelier-include': 'warnings, Cost' })
  const { data, atelier: included } = (await response.json()) as { data: unknown[]; atelier: unknown }
  expect(data).toHaveLength(1)
  expect(included).toEqual({
    cost: {
      total_micros: 5925,
      estimated: false,
      lines: [
        { description: 'prompt', unit: 'text_input_token', quantity: 9, micros: 45 },
        { description: 'image output', unit: 'image_output_token', quantity: 196, micros: 5880 }
      ],
      charge: { micros: 200_000, unit: 'credits' }
    },
    warnings: []
  })
})

test('an answer that nobody asked for more stays as the vendor writes it', async () => {
  const plain = (await (await atelier.post(generations, catInLow)).json()) as object
  expect(Object.keys(plain)).not.toContain('atelier')
  const response = await atelier.post(generations, { ...catInLow, style: 'vivid' }, { 'x-atelier-include': 'warnings' })
  expect(await response.json()).toMatchObject({
    atelier: { warnings: [{ kind: 'ignored', param: 'style', message: expect.stringContaining('gpt-image-2') }] }
  })
})

test('an answer of links tells its cost in a header', async () => {
  const response = await atelier.post(generations, { ...catInLow, response_format: 'url' })
  expect(response.headers.get('x-atelier-cost')).toBe('5925')
})

test.each(Object.entries(transports))('an answer over %s always carries its cost', async (_, transport) => {
  let header: string | null = null
  const images = createClient(ImageService, transport(atelier.url, atelier.apiKey))
  const response = await images.generateImages(
    {
      prompt: 'a white cat',
      modelSelector: { case: 'modelName', value: 'gpt-image-2' },
      sizeSelector: { case: 'size', value: Size.SIZE_1024X1024 },
      quality: Quality.LOW
    },
    { onHeader: (headers) => (header = headers.get('x-atelier-cost')) }
  )
  expect(response.cost).toEqual(
    create(CostSchema, {
      totalMicros: 5925n,
      lines: [
        { description: 'prompt', unit: PriceUnit.TEXT_INPUT_TOKEN, quantity: 9n, micros: 45n },
        { description: 'image output', unit: PriceUnit.IMAGE_OUTPUT_TOKEN, quantity: 196n, micros: 5880n }
      ],
      charge: { micros: 200_000n, unit: 'credits' }
    })
  )
  expect(header).toBe('5925')
})

test('a drawing of sketch costs nothing, and that is known', async () => {
  expect(await (await atelier.post(estimate, { model: 'sketch', prompt: 'a cat', n: 3 })).json()).toMatchObject({
    estimate: { total_micros: 0, upper_bound: false }
  })
  const response = await atelier.post(
    generations,
    { model: 'sketch', prompt: 'a cat', response_format: 'url' },
    { 'x-atelier-include': 'cost' }
  )
  expect(response.headers.get('x-atelier-cost')).toBe('0')
  expect(await response.json()).toMatchObject({ atelier: { cost: { total_micros: 0, estimated: false } } })
})

test('a stream of server-sent events tells its cost at the end', async () => {
  const response = await atelier.post(generations, { model: 'sketch', prompt: 'a cat', size: '64x64', stream: true })
  const last = (await response.text()).trim().split('data: ').at(-1) ?? ''
  expect(JSON.parse(last)).toMatchObject({
    type: 'image_generation.completed',
    atelier: { cost: { total_micros: 0, estimated: false } }
  })
})

test.each(Object.entries(transports))('a stream over %s tells its cost at the end', async (_, transport) => {
  const images = createClient(ImageService, transport(atelier.url, atelier.apiKey))
  const stream = images.streamGenerateImages({
    request: {
      prompt: 'a cat',
      modelSelector: { case: 'model', value: Model.SKETCH },
      sizeSelector: { case: 'size', value: Size.SIZE_256X256 }
    }
  })
  const events = await Array.fromAsync(stream)
  expect(events.at(-1)?.event).toMatchObject({ case: 'completed', value: { cost: create(CostSchema, { totalMicros: 0n }) } })
})

test('only images that were delivered are billed', async () => {
  const picture = Buffer.from('89504e470d0a1a0a', 'hex').toString('base64')
  const data = [{ b64_json: picture }, { error: { code: 'content_policy_violation', message: 'no' } }, { b64_json: picture }]
  await using upstream = await startFakeOpenAI({
    answer: () => ({
      status: 200,
      headers: { 'content-type': 'application/json' },
      body: Buffer.from(JSON.stringify({ created: 1, data }))
    })
  })
  await using gateway = await startAtelier({
    environment: {},
    settings: {
      providers: [
        { name: 'proxy', adapter: 'openai', baseUrl: upstream.url, apiKey: '', models: ['dall-e-2'], headers: {}, maxConnections: 4 }
      ]
    }
  })
  const request = { model: 'dall-e-2', prompt: 'a cat', size: '512x512', n: 3, response_format: 'b64_json' }
  const response = await gateway.post(generations, request, { 'x-atelier-include': 'cost' })
  expect(await response.json()).toMatchObject({
    data: [{}, {}],
    atelier: { cost: { total_micros: 36_000, estimated: false, lines: [{ unit: 'image', quantity: 2, micros: 36_000 }] } }
  })
})

test('each of the calls that a request is divided into is billed, in one account, and one that was refused is not', async () => {
  const refusal = { id: '1', name: 'content_moderation', errors: ['your request was flagged'] }
  const refused = { status: 403, headers: { 'content-type': 'application/json' }, body: Buffer.from(JSON.stringify(refusal)) }
  await using stability = await startFakeStability({ answer: (_, ordinal) => (ordinal === 4 ? refused : undefined) })
  await using gateway = await startAtelier({
    environment: { STABILITY_API_KEY: 'sk-provider-key-1234', STABILITY_BASE_URL: stability.url }
  })
  const request = { model: 'stability/stable-image-core', prompt: 'a white cat', n: 3, response_format: 'b64_json' }
  const include = { 'x-atelier-include': 'cost' }
  const bill = (images: number) => ({
    total_micros: 30_000 * images,
    estimated: false,
    lines: [{ description: 'images', unit: 'image', quantity: images, micros: 30_000 * images }]
  })
  expect(await (await gateway.post(generations, request, include)).json()).toMatchObject({ atelier: { cost: bill(3) } })
  expect(await (await gateway.post(generations, request, include)).json()).toMatchObject({ data: [{}, {}], atelier: { cost: bill(2) } })
})

test('what to include must be known, and needs a body to be in', async () => {
  const refused = await atelier.post(generations, catInLow, { 'x-atelier-include': 'cost, colour, toString' })
  expect([refused.status, await refused.json()]).toEqual([
    400,
    {
      error: {
        message: expect.stringContaining('must be a list of cost and warnings, not "colour, tostring"'),
        type: 'invalid_request_error',
        param: 'x-atelier-include',
        code: expect.anything()
      }
    }
  ])
  const raw = await atelier.post(generations, catInLow, { 'x-atelier-include': 'cost', accept: 'image/png' })
  expect(raw.status).toBe(400)
})
