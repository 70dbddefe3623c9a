import { create, fromBinary } from '@bufbuild/protobuf'
import { expect, test } from 'vitest'
import { ImageOutcome, ImageSchema } from '../../gen/atelier/v1/image_pb.ts'
import {
  EditImagesResponseSchema,
  GenerateImagesResponseSchema,
  ImageChunkSchema,
  StreamEditImagesResponseSchema,
  StreamGenerateImagesResponseSchema
} from '../../gen/atelier/v1/image_service_pb.ts'
import { encodeChunk, encodeResponse, wrappings } from '../../src/wire/encode-images.ts'

const bytes = (length: number, value: number) => new Uint8Array(length).fill(value)
const joined = (pieces: readonly Uint8Array[]) => new Uint8Array(Buffer.concat(pieces))

test('a response encoded in pieces is the message that holds the same bytes', () => {
  const first = create(ImageSchema, { index: 0, mediaType: 'image/png', outcome: ImageOutcome.DELIVERED, revisedPrompt: 'a cat' })
  const second = create(ImageSchema, { index: 1, outcome: ImageOutcome.DELIVERED, providerFields: { seed: 7 } })
  const third = create(ImageSchema, { index: 2, outcome: ImageOutcome.MODERATED, message: 'withheld' })
  const fourth = create(ImageSchema, { index: 3, outcome: ImageOutcome.DELIVERED, content: { case: 'url', value: 'https://a.example/4' } })
  const response = create(GenerateImagesResponseSchema, {
    created: 1_700_000_000n,
    provider: 'openai',
    model: 'gpt-image-2',
    images: [first, second, third, fourth]
  })
  const files = new Map([
    [first, [bytes(300, 1), bytes(1, 2), bytes(70_000, 3)]],
    [second, [bytes(100, 4)]]
  ])
  const expected = create(GenerateImagesResponseSchema, {
    ...response,
    images: [
      { ...first, content: { case: 'data', value: new Uint8Array([...bytes(300, 1), 2, ...bytes(70_000, 3)]) } },
      { ...second, content: { case: 'data', value: bytes(100, 4) } },
      third,
      fourth
    ]
  })
  const encoded = encodeResponse(response, files)
  expect(fromBinary(GenerateImagesResponseSchema, joined(encoded))).toEqual(expected)
  expect(encoded).toContain(files.get(first)?.[2])
  expect(fromBinary(EditImagesResponseSchema, joined(wrappings.editImages.wrapEncoded(encoded)))).toEqual(
    create(EditImagesResponseSchema, { result: expected })
  )
})

test('an image of no bytes at all keeps its field', () => {
  const image = create(ImageSchema, { outcome: ImageOutcome.DELIVERED })
  const encoded = encodeResponse(create(GenerateImagesResponseSchema, { images: [image] }), new Map([[image, []]]))
  const { images } = fromBinary(GenerateImagesResponseSchema, joined(encoded))
  expect(images[0]?.content).toEqual({ case: 'data', value: new Uint8Array() })
})

test('a chunk encoded in pieces is the event that holds the same bytes', () => {
  const chunk = create(ImageChunkSchema, { index: 3, previewIndex: 0, last: true })
  const encoded = encodeChunk(chunk, [bytes(100_000, 1), bytes(5, 2)])
  const expected = create(StreamGenerateImagesResponseSchema, {
    event: { case: 'chunk', value: { index: 3, previewIndex: 0, last: true, data: new Uint8Array([...bytes(100_000, 1), ...bytes(5, 2)]) } }
  })
  expect(fromBinary(StreamGenerateImagesResponseSchema, joined(encoded))).toEqual(expected)
  expect(fromBinary(StreamEditImagesResponseSchema, joined(wrappings.streamEditImages.wrapEncoded(encoded)))).toEqual(
    create(StreamEditImagesResponseSchema, { result: expected })
  )
})
