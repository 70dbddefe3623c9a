import { create, type DescMessage } from '@bufbuild/protobuf'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ConfigSchema } from '../../gen/atelier/v1/config_pb.ts'
import { OutputFormat } from '../../gen/atelier/v1/image_pb.ts'
import { GenerateImagesRequestSchema } from '../../gen/atelier/v1/image_service_pb.ts'
import { Model } from '../../gen/atelier/v1/model_pb.ts'
import { ListTasksRequestSchema } from '../../gen/atelier/v1/task_service_pb.ts'
import { createQuickCheck } from '../../src/contract/quick-check.ts'
import { createLeanValidator } from '../../src/contract/validator.ts'
import { messages, typesOfTheSchema } from '../support/messages.ts'

const validator = createLeanValidator()

test.each(await typesOfTheSchema())('finds nothing plainly valid that the validator refuses: $typeName', (type) => {
  const isPlain = createQuickCheck<DescMessage>(type)
  fc.assert(
    fc.property(messages(type), (message) => {
      if (isPlain(message)) expect(validator.validate<DescMessage>(type, message).kind).toBe('valid')
    }),
    { numRuns: 200 }
  )
})

test.each([GenerateImagesRequestSchema, ListTasksRequestSchema, ConfigSchema])(
  'of $typeName too, in many of its forms',
  (type: DescMessage) => {
    const isPlain = createQuickCheck<DescMessage>(type)
    fc.assert(
      fc.property(messages(type), (message) => {
        if (isPlain(message)) expect(validator.validate<DescMessage>(type, message).kind).toBe('valid')
      }),
      { numRuns: 2_000 }
    )
  }
)

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

test('finds a usual configuration plainly valid', () => {
  const isPlain = createQuickCheck(ConfigSchema)
  expect(isPlain(create(ConfigSchema))).toBe(true)
  const config = create(ConfigSchema, {
    listen: '127.0.0.1:8080',
    publicUrl: 'https://images.example.com/gateway',
    apiKey: 'sk-0123456789abcdef',
    logLevel: 'info',
    providers: { openai: { baseUrl: 'https://api.openai.com/v1', apiKey: 'sk-upstream-0123456789', models: ['gpt-image-2'] } },
    aliases: { cheap: 'openai/dall-e-2' }
  })
  expect(isPlain(config)).toBe(true)
})
