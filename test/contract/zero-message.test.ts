import { create } from '@bufbuild/protobuf'
import { expect, test } from 'vitest'
import { file_atelier_v1_image_service, GenerateImagesRequestSchema, ImageChunkSchema } from '../../gen/atelier/v1/image_service_pb.ts'
import { ModelCapabilitiesSchema } from '../../gen/atelier/v1/model_pb.ts'
import { copyMessage } from '../../src/contract/copy-message.ts'
import { zeroMessage } from '../../src/contract/zero-message.ts'

test.each([...file_atelier_v1_image_service.messages, ModelCapabilitiesSchema, ImageChunkSchema])(
  'makes of %s what protobuf makes',
  (type) => {
    expect(zeroMessage(type)).toStrictEqual(create(type))
  }
)

test('gives each message its own lists and oneofs', () => {
  const one = zeroMessage(ModelCapabilitiesSchema)
  one.qualities.push(1)
  const request = zeroMessage(GenerateImagesRequestSchema)
  request.modelSelector.case = 'modelName'
  expect(zeroMessage(ModelCapabilitiesSchema)).toStrictEqual(create(ModelCapabilitiesSchema))
  expect(zeroMessage(GenerateImagesRequestSchema)).toStrictEqual(create(GenerateImagesRequestSchema))
})

test('copies the fields that are set, and no other ones', () => {
  const request = create(GenerateImagesRequestSchema, { prompt: 'a cat', n: 2 })
  const copy = copyMessage(request)
  expect(copy).toStrictEqual(request)
  copy.prompt = 'a dog'
  expect(request.prompt).toBe('a cat')
})
