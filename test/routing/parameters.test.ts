import type { JsonObject, JsonValue } from '@bufbuild/protobuf'
import { describe, expect, test } from 'vitest'
import { GenerateImagesRequestSchema } from '../../gen/atelier/v1/image_service_pb.ts'
import { ModelInfoSchema } from '../../gen/atelier/v1/model_pb.ts'
import { encodeMessage } from '../../src/contract/json.ts'
import { GatewayError } from '../../src/errors.ts'
import type { Plan } from '../../src/routing/plan.ts'
import { askedOf, catalog, everyMirror, everyVendor, outputOf, planOf } from '../support/plan.ts'

/** Legal, illegal and unusual values of every parameter; what is one for one model is another for the next. */
const values: Record<string, JsonValue[]> = {
  prompt: ['a', 'x'.repeat(1001), 'x'.repeat(4001), 'x'.repeat(40_000), '🎨'.repeat(2000)],
  n: [1, 2, 3, 7, 10],
  size: [
    'auto',
    ...['256x256', '512x512', '1024x1024', '1792x1024', '1024x1792', '1536x1024', '1024x1536', '2048x2048', '2880x2880', '2048x1152'],
    ...[
      '3840x2160',
      '1254x1254',
      '1672x941',
      '941x1672',
      '1152x896',
      '640x1536',
      '800x600',
      '17x4000',
      '1x1',
      '16384x16384',
      'large',
      '16:9',
      '7:5'
    ]
  ],
  aspect_ratio: ['1:1', '4:3', '3:4', '16:9', '9:16', '21:9', '7:5', '1:8', '1000:1', '32:18'],
  resolution: ['512', '1K', '2K', '4K', '8K'],
  quality: ['auto', 'standard', 'hd', 'low', 'medium', 'high', 'xhigh', 'max', 'superb'],
  style: ['vivid', 'natural', 'cubist'],
  response_format: ['url', 'b64_json', 'carrier pigeon'],
  background: ['auto', 'transparent', 'opaque', 'plaid'],
  output_format: ['png', 'jpeg', 'webp', 'gif', 'svg', 'tiff'],
  output_compression: [0, 50, 99, 100],
  moderation: ['auto', 'low', 'none'],
  seed: [0, 1, 4_294_967_295],
  negative_prompt: ['fog'],
  user: ['user-1'],
  safety_identifier: ['hash-1'],
  partial_images: [0, 2],
  frobnicate: [true]
}

/** Not about what is drawn, or covered by `frobnicate`. */
const others = [
  'model',
  'model_name',
  'dimensions',
  'provider_options',
  'request_id',
  'strict',
  'on_interrupt',
  'on_disconnect',
  'max_cost_micros'
]

const models = catalog.flatMap((vendor) => vendor.models)

test('walks through every parameter of the contract', () => {
  const known = GenerateImagesRequestSchema.fields.map(({ name }) => name)
  expect(known.filter((name) => !(name in values) && !others.includes(name))).toEqual([])
})

describe.each([
  ['serving itself', everyMirror],
  ['at its vendor’s own address', everyVendor]
])('%s,', (_, providers) => {
  test.each(models.map(({ name }) => name))('%s honours, converts with a warning, or refuses every value of every parameter', (model) => {
    for (const [param, value] of Object.entries(values).flatMap(([name, each]) => each.map((one) => [name, one] as const))) {
      for (const companion of companions[param] ?? [{}]) {
        const body = { model, ...companion, [param]: value }
        const fate = fateOf(param, value, body, false)
        expect({ body, fate }).toEqual({ body, fate: expect.stringMatching(/^(honoured|warned|refused)$/) })
        const strictly = fateOf(param, value, body, true)
        if (Object.keys(companion).length === 0) {
          expect({ body, fate, strictly }).toEqual({ body, fate, strictly: fate === 'warned' ? 'refused' : fate })
        }
      }
    }
  })

  function fateOf(param: string, value: JsonValue, body: JsonObject, strict: boolean): string {
    try {
      const plan = planOf(body, { providers, strict })
      if (plan.warnings.some((warning) => warning.param === param || warning.param === alsoNamed(param, value))) return 'warned'
      return isHonoured(param, value, plan) ? 'honoured' : 'dropped'
    } catch (error) {
      if (!(error instanceof GatewayError) || error.entry.http !== 400) throw error
      const isNamed = error.param === alsoNamed(param, value) || (error.param !== undefined && error.param in body)
      return isNamed ? 'refused' : `refused, but blamed on ${error.param}`
    }
  }
})

/** Parameters that mean something only beside others. */
const companions: Record<string, JsonObject[]> = {
  resolution: [{}, { aspect_ratio: '16:9' }, { aspect_ratio: '21:9' }],
  output_compression: [{}, { output_format: 'jpeg' }, { output_format: 'webp' }, { output_format: 'png' }],
  seed: [{}, { n: 3 }],
  output_format: [{}, { background: 'transparent' }, { output_compression: 100 }],
  size: [{}, { output_format: 'webp' }]
}

/** A size may be written as a ratio; pairs that exclude each other may be blamed on either. */
function alsoNamed(param: string, value: JsonValue): string | undefined {
  if (param === 'size' && String(value).includes(':')) return 'aspect_ratio'
  return param === 'output_format' ? 'background' : undefined
}

function isHonoured(param: string, value: JsonValue, plan: Plan): boolean {
  const asked = askedOf(plan)
  const output = outputOf(plan)
  switch (param) {
    case 'prompt':
      return plan.work.request.prompt === value
    case 'n':
      return plan.parts.length === 1 && plan.parts[0]?.work.n === value
    case 'response_format':
      return plan.form === (value === 'url' ? 'url' : 'bytes')
    case 'size':
      return isSizeMade(String(value), asked, output)
    case 'aspect_ratio':
      return ratio(String(asked.size)) === ratio(String(value))
    case 'resolution':
      return asked.resolution === value || tierOf(String(asked.size)) === value
    case 'output_format':
      return asked[param] === value || output.format === value || isOnlyFormat(plan, value)
    case 'output_compression':
      return asked[param] === value || output.compression === value || value === 100
    case 'partial_images':
      return (asked[param] ?? 0) === value
    default:
      return asked[param] === value || value === 'auto'
  }
}

function isSizeMade(value: string, asked: JsonObject, output: JsonObject): boolean {
  if (value === 'auto') return asked.size === undefined || asked.size === 'auto'
  if (value.includes(':')) return ratio(String(asked.size)) === ratio(value)
  if (asked.size === value || output.size === value) return true
  const [width, height] = value.split('x')
  // To a model of ratios these squares mean 1:1; the others are the squares of its tiers.
  return asked.size === '1:1' && width === height && ['256', '512', '1024', '2048', '2880'].includes(width ?? '')
}

function isOnlyFormat({ candidate }: Plan, value: JsonValue): boolean {
  const { output_formats } = encodeMessage(ModelInfoSchema, candidate.info).capabilities as JsonObject
  return Array.isArray(output_formats) && output_formats.length === 1 && output_formats[0] === value
}

function ratio(text: string): number {
  const [width, height] = text.split(/[x:]/).map(Number)
  return (width ?? 0) / (height ?? 0)
}

/** The tier whose square has about as many pixels; the table's own sizes at 1K have up to 1.8 times as many. */
function tierOf(size: string): string {
  const [width = 0, height = 0] = size.split('x').map(Number)
  const pixels = width * height
  return pixels < 600_000 ? '512' : pixels < 2_000_000 ? '1K' : pixels < 5_900_000 ? '2K' : '4K'
}
