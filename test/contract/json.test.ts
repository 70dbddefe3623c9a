import { create } from '@bufbuild/protobuf'
import { expect, test } from 'vitest'
import { AspectRatioSchema, DimensionsSchema, Quality, Resolution, Size, UsageSchema } from '../../gen/atelier/v1/image_pb.ts'
import { GenerateImagesRequestSchema } from '../../gen/atelier/v1/image_service_pb.ts'
import { Model, ModelCapabilitiesSchema } from '../../gen/atelier/v1/model_pb.ts'
import { decodeMessage, encodeMessage } from '../../src/contract/json.ts'
import { GatewayError } from '../../src/errors.ts'

const decode = (json: Record<string, never> | object) => decodeMessage(GenerateImagesRequestSchema, json as never)

test('reads enums by the names that vendors write', () => {
  const { message, unknown } = decode({ prompt: 'a cat', model: 'dall-e-3', size: '1792x1024', quality: 'hd', n: 2 })
  expect(message).toEqual(
    create(GenerateImagesRequestSchema, {
      prompt: 'a cat',
      modelSelector: { case: 'model', value: Model.DALL_E_3 },
      sizeSelector: { case: 'size', value: Size.SIZE_1792X1024 },
      quality: Quality.HD,
      n: 2
    })
  )
  expect(unknown).toEqual({})
})

test('feeds one string into the member of a selector that fits it', () => {
  expect(decode({ model: 'basement/sd-turbo' }).message.modelSelector).toEqual({ case: 'modelName', value: 'basement/sd-turbo' })
  expect(decode({ size: '1600x912' }).message.sizeSelector).toEqual({
    case: 'dimensions',
    value: create(DimensionsSchema, { width: 1600, height: 912 })
  })
  expect(decode({ size: '16:9' }).message.sizeSelector).toEqual({
    case: 'aspectRatio',
    value: create(AspectRatioSchema, { width: 16, height: 9 })
  })
})

test('reads an aspect ratio and its tier by their own names', () => {
  const { message } = decode({ aspect_ratio: '9:16', resolution: '2K' })
  expect(message.sizeSelector).toEqual({ case: 'aspectRatio', value: create(AspectRatioSchema, { width: 9, height: 16 }) })
  expect(message.resolution).toBe(Resolution.RESOLUTION_2K)
})

test('takes null as unset', () => {
  expect(decode({ prompt: 'a cat', size: null, n: null, quality: null, vendor_thing: null })).toEqual({
    message: create(GenerateImagesRequestSchema, { prompt: 'a cat' }),
    unknown: {}
  })
})

test('hands back what it does not know: keys, enum values and sizes', () => {
  const { unknown } = decode({ prompt: 'a cat', quality: 'ultra', size: 'huge', steps: 30, lora: { name: 'x' } })
  expect(unknown).toEqual({ quality: 'ultra', size: 'huge', steps: 30, lora: { name: 'x' } })
})

test('treats names that a dialect leaves out as unknown', () => {
  const { message, unknown } = decodeMessage(GenerateImagesRequestSchema, { strict: true }, { without: ['strict'] })
  expect(message.strict).toBe(false)
  expect(unknown).toEqual({ strict: true })
})

test.each([
  [{ prompt: 7 }, 'prompt', 'prompt: must be a string'],
  [{ n: 'two' }, 'n', 'n: must be a number'],
  [{ n: 1.5 }, 'n', 'n: must be a whole number'],
  [{ seed: -1 }, 'seed', 'seed: must be 0 to 4294967295, not -1'],
  [{ quality: 3 }, 'quality', 'quality: must be a string'],
  [{ size: 1024 }, 'size', 'size: must be a string such as "1024x1024"'],
  [{ model: ['dall-e-3'] }, 'model', 'model: must be a string']
])('refuses a value of the wrong type: %j', (json, param, message) => {
  expect(() => decode(json)).toThrow(expect.objectContaining({ reason: 'INVALID_PARAMETER', param, message }))
})

test('refuses two members of one selector', () => {
  expect(() => decode({ size: '1024x1024', aspect_ratio: '1:1' })).toThrow(GatewayError)
})

test('is not confused by names that every object has', () => {
  const { unknown } = decode(JSON.parse('{"constructor":1,"toString":2,"hasOwnProperty":3}'))
  expect(unknown).toEqual({ constructor: 1, toString: 2, hasOwnProperty: 3 })
})

test('writes numbers, names and texts, and leaves out what is unset', () => {
  expect(
    encodeMessage(
      UsageSchema,
      create(UsageSchema, { inputTokens: 5n, outputTokens: 7n, totalTokens: 12n, inputTokensDetails: { textTokens: 5n } })
    )
  ).toEqual({
    input_tokens: 5,
    output_tokens: 7,
    total_tokens: 12,
    input_tokens_details: { text_tokens: 5, image_tokens: 0 }
  })
  const capabilities = create(ModelCapabilitiesSchema, {
    size: { rule: { case: 'list', value: { sizes: [{ width: 256, height: 256 }], auto: true } } },
    qualities: [Quality.STANDARD, Quality.HD]
  })
  expect(encodeMessage(ModelCapabilitiesSchema, capabilities)).toMatchObject({
    size: { list: { sizes: ['256x256'], auto: true } },
    qualities: ['standard', 'hd']
  })
})

test('writes back what it read', () => {
  const json = { prompt: 'a cat', model: 'gpt-image-2', n: 3, size: '2048x1152', quality: 'high', seed: 7, background: 'opaque' }
  expect(encodeMessage(GenerateImagesRequestSchema, decode(json).message)).toMatchObject(json)
})
