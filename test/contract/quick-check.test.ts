import { create, type DescField, type DescMessage, type Message, ScalarType } from '@bufbuild/protobuf'
import { StructSchema } from '@bufbuild/protobuf/wkt'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ImageSourceSchema, OutputFormat } from '../../gen/atelier/v1/image_pb.ts'
import {
  CreateVariationsRequestSchema,
  DeleteImageRequestSchema,
  EditImagesRequestSchema,
  EstimateCostRequestSchema,
  GenerateImagesRequestSchema
} from '../../gen/atelier/v1/image_service_pb.ts'
import { Model } from '../../gen/atelier/v1/model_pb.ts'
import { GetModelRequestSchema } from '../../gen/atelier/v1/model_service_pb.ts'
import { GetTaskRequestSchema, ListTasksRequestSchema, WatchTaskRequestSchema } from '../../gen/atelier/v1/task_service_pb.ts'
import { createQuickCheck } from '../../src/contract/quick-check.ts'
import { validator } from '../../src/contract/validator.ts'

const types = [
  GenerateImagesRequestSchema,
  CreateVariationsRequestSchema,
  DeleteImageRequestSchema,
  EditImagesRequestSchema,
  EstimateCostRequestSchema,
  ImageSourceSchema,
  GetModelRequestSchema,
  GetTaskRequestSchema,
  ListTasksRequestSchema,
  WatchTaskRequestSchema
]

test.each(types)('finds nothing plainly valid that the validator refuses: $typeName', (type) => {
  const isPlain = createQuickCheck<DescMessage>(type)
  fc.assert(
    fc.property(messages(type), (message) => {
      if (isPlain(message)) expect(validator.validate<DescMessage>(type, message).kind).toBe('valid')
    }),
    { numRuns: 2_000 }
  )
})

test('finds a usual request plainly valid', () => {
  const isPlain = createQuickCheck(GenerateImagesRequestSchema)
  const request = create(GenerateImagesRequestSchema, {
    prompt: 'a cat on a mat 🐈',
    modelSelector: { case: 'model', value: Model.DALL_E_3 },
    sizeSelector: { case: 'dimensions', value: { width: 1024, height: 1536 } },
    n: 10,
    outputFormat: OutputFormat.WEBP,
    outputCompression: 0,
    user: 'u'.repeat(512),
    providerOptions: { further: true }
  })
  expect(isPlain(request)).toBe(true)
})

test.each([
  ['an empty prompt', { prompt: '' }],
  ['11 images', { n: 11 }],
  ['no images', { n: 0 }],
  ['a user of 513 characters', { user: 'u'.repeat(513) }],
  ['a format that does not exist', { outputFormat: 99 as OutputFormat }],
  ['no width', { sizeSelector: { case: 'dimensions' as const, value: { width: 0, height: 1 } } }],
  ['the model 0', { modelSelector: { case: 'model' as const, value: Model.UNSPECIFIED } }]
])('leaves %s to the validator', (_, fields) => {
  const request = create(GenerateImagesRequestSchema, { prompt: 'a cat', ...fields })
  expect(createQuickCheck(GenerateImagesRequestSchema)(request)).toBe(false)
  expect(validator.validate(GenerateImagesRequestSchema, request).kind).toBe('invalid')
})

/** Messages whose fields are mostly legal, at the limits of the rules, or just beyond them. */
function messages(type: DescMessage, depth = 0): fc.Arbitrary<Message> {
  if (type.typeName === StructSchema.typeName) return fc.constant({ a: 1 } as unknown as Message)
  const fields = type.fields.filter((field) => !field.message || depth < 2)
  const values = fields.map((field) => fc.option(valuesOf(field, depth), { nil: undefined, freq: 3 }))
  return fc.tuple(...values).map((all) => {
    const message = create(type) as unknown as Record<string, unknown>
    for (const [place, value] of all.entries()) {
      const field = fields[place]
      if (!field || value === undefined) continue
      if (field.oneof) message[field.oneof.localName] = { case: field.localName, value }
      else message[field.localName] = value
    }
    return message as unknown as Message
  })
}

function valuesOf(field: DescField, depth: number): fc.Arbitrary<unknown> {
  if (field.fieldKind === 'list') return fc.array(oneValue(field, depth), { maxLength: 3 })
  return oneValue(field, depth)
}

function oneValue(field: DescField, depth: number): fc.Arbitrary<unknown> {
  if (field.message) return messages(field.message, depth + 1)
  if (field.enum) return fc.constantFrom(...field.enum.values.map(({ number }) => number), 0, 99)
  switch (field.fieldKind === 'map' ? undefined : field.scalar) {
    case ScalarType.STRING:
      return fc.oneof(
        fc.string({ maxLength: 12 }),
        fc.constantFrom(63, 64, 65, 128, 255, 256, 257, 512, 513, 131_072, 131_073).map((length) => 'x'.repeat(length)),
        fc.constantFrom(128, 129, 256, 257).map((length) => '🐈'.repeat(length))
      )
    case ScalarType.BOOL:
      return fc.boolean()
    case ScalarType.BYTES:
      return fc.uint8Array({ maxLength: 4 })
    case ScalarType.INT64:
    case ScalarType.UINT64:
      return fc.bigInt({ min: 0n, max: 1_000n })
    default:
      return fc.constantFrom(0, 1, 3, 4, 10, 11, 100, 101, 1000, 1001, 16_384, 16_385)
  }
}
