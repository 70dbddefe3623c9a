import { create, type DescField, type DescMessage, type MessageShape, toBinary } from '@bufbuild/protobuf'
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire'
import { type Image, ImageSchema } from '../../gen/atelier/v1/image_pb.ts'
import {
  CreateVariationsResponseSchema,
  EditImagesResponseSchema,
  type GenerateImagesResponse,
  GenerateImagesResponseSchema,
  type ImageChunk,
  ImageChunkSchema,
  StreamEditImagesResponseSchema,
  type StreamGenerateImagesResponse,
  StreamGenerateImagesResponseSchema
} from '../../gen/atelier/v1/image_service_pb.ts'
import { type Pieces, sizeOf } from './pieces.ts'

/** The message in which an RPC answers with a response, or with an event, of its own or of the RPC that it resembles. */
export interface Wrapping<Inner, Desc extends DescMessage> {
  schema: Desc
  wrap(inner: Inner): MessageShape<Desc>
  wrapEncoded(encoded: Pieces): Pieces
}

export const wrappings = {
  generateImages: unwrapped(GenerateImagesResponseSchema),
  streamGenerateImages: unwrapped(StreamGenerateImagesResponseSchema),
  editImages: {
    schema: EditImagesResponseSchema,
    wrap: (result: GenerateImagesResponse) => create(EditImagesResponseSchema, { result }),
    wrapEncoded: (encoded: Pieces) => asField(EditImagesResponseSchema.field.result, encoded)
  },
  streamEditImages: {
    schema: StreamEditImagesResponseSchema,
    wrap: (result: StreamGenerateImagesResponse) => create(StreamEditImagesResponseSchema, { result }),
    wrapEncoded: (encoded: Pieces) => asField(StreamEditImagesResponseSchema.field.result, encoded)
  },
  createVariations: {
    schema: CreateVariationsResponseSchema,
    wrap: (result: GenerateImagesResponse) => create(CreateVariationsResponseSchema, { result }),
    wrapEncoded: (encoded: Pieces) => asField(CreateVariationsResponseSchema.field.result, encoded)
  }
}

/** A response in protobuf's binary format; `files` are the bytes of those images that hold none themselves. They are not copied. */
export function encodeResponse(response: GenerateImagesResponse, files: ReadonlyMap<Image, Pieces>): Pieces {
  const images = response.images.flatMap((image) =>
    asField(GenerateImagesResponseSchema.field.images, encodeImage(image, files.get(image)))
  )
  return [toBinary(GenerateImagesResponseSchema, { ...response, images: [] }), ...images]
}

/** A chunk, which holds no bytes itself, as an event of a stream in the binary format. The bytes are not copied. */
export function encodeChunk(chunk: ImageChunk, data: Pieces): Pieces {
  const encoded = [toBinary(ImageChunkSchema, chunk), ...asField(ImageChunkSchema.field.data, data)]
  return asField(StreamGenerateImagesResponseSchema.field.chunk, encoded)
}

function unwrapped<Desc extends DescMessage>(schema: Desc): Wrapping<MessageShape<Desc>, Desc> {
  return { schema, wrap: (message) => message, wrapEncoded: (encoded) => encoded }
}

function encodeImage(image: Image, file: Pieces | undefined): Pieces {
  if (!file) return [toBinary(ImageSchema, image)]
  return [toBinary(ImageSchema, image), ...asField(ImageSchema.field.data, file)]
}

/** What is encoded already as the value of a field: bytes or a message. */
function asField({ number }: DescField, value: Pieces): Pieces {
  return [new BinaryWriter().tag(number, WireType.LengthDelimited).uint32(sizeOf(value)).finish(), ...value]
}
