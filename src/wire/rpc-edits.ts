import { create } from '@bufbuild/protobuf'
import { Code, ConnectError } from '@connectrpc/connect'
import { type ImageSource, InputFidelitySchema } from '../../gen/atelier/v1/image_pb.ts'
import {
  type CreateVariationsRequest,
  type EditImagesRequest,
  GenerateImagesRequestSchema,
  type UploadImageRequest
} from '../../gen/atelier/v1/image_service_pb.ts'
import type { Call } from '../call.ts'
import { wireName } from '../contract/wire-names.ts'
import { gatewayError } from '../errors.ts'
import type { EditOrder, VariationOrder } from '../services/plan-edit-run.ts'
import type { InputSource } from '../services/take-inputs.ts'
import type { Uploads } from '../storage/uploads.ts'

/** An edit as it was asked for by RPC, its files on the disk; they belong to whoever gets the order. */
export async function openEdit(request: EditImagesRequest, call: Call, uploads: Uploads): Promise<EditOrder> {
  const { parameters, images, mask, inputFidelity } = request
  if (!parameters) throw gatewayError('MISSING_PARAMETER', { param: 'parameters' })
  if (images.length === 0) throw gatewayError('MISSING_PARAMETER', { param: 'images' })
  if (images.length > maxImages) {
    throw gatewayError('INVALID_PARAMETER', { param: 'images', problem: `must be at most ${maxImages}, not ${images.length}` })
  }
  if (inputFidelity !== 0 && wireName(InputFidelitySchema, inputFidelity) === undefined) {
    throw gatewayError('INVALID_PARAMETER', { param: 'input_fidelity', problem: `must be one of low, high, not ${inputFidelity}` })
  }
  await using files = new AsyncDisposableStack()
  const open = (source: ImageSource, param: string) => openSource(source, param, call, uploads, files)
  const sources: InputSource[] = []
  for (const [index, image] of images.entries()) sources.push(await open(image, `images[${index}]`))
  const order = { parameters, images: sources, inputFidelity, ...(mask && { mask: await open(mask, 'mask') }) }
  files.move()
  return order
}

/** Variations as they were asked for by RPC; the file belongs to whoever gets the order. */
export async function openVariation({ image, parameters }: CreateVariationsRequest, call: Call, uploads: Uploads): Promise<VariationOrder> {
  if (!image) throw gatewayError('MISSING_PARAMETER', { param: 'image' })
  await using files = new AsyncDisposableStack()
  const source = await openSource(image, 'image', call, uploads, files)
  files.move()
  return { image: source, parameters: parameters ?? create(GenerateImagesRequestSchema) }
}

/** The bytes of a client stream. Throws INVALID_PARAMETER for a message above 1 MiB, BODY_TOO_LARGE for one that is not even read. */
export async function* uploadedBytes(
  requests: AsyncIterable<UploadImageRequest>,
  maxRequestBytes: number
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    for await (const { data } of requests) {
      if (data.length > maxPartBytes) {
        throw gatewayError('INVALID_PARAMETER', {
          param: 'data',
          problem: `is ${data.length} bytes: must be at most ${maxPartBytes} in one message`
        })
      }
      yield data
    }
  } catch (error) {
    throw toComplaint(error, maxRequestBytes)
  }
}

const maxImages = 16
const maxPartBytes = 1024 * 1024

async function openSource(
  { source }: ImageSource,
  name: string,
  call: Call,
  uploads: Uploads,
  files: AsyncDisposableStack
): Promise<InputSource> {
  switch (source.case) {
    case 'data': {
      const param = `${name}.data`
      const upload = files.use(await uploads.take(once(source.value), { param, callerId: call.caller.organizationId }))
      return { kind: 'upload', param, upload }
    }
    case 'url':
      return { kind: 'url', param: `${name}.url`, url: source.value }
    case 'imageId':
      return { kind: 'image_id', param: `${name}.image_id`, imageId: source.value }
    case undefined:
      throw gatewayError('MISSING_PARAMETER', { param: name })
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes
}

/** What the router has against a message of a stream comes as the stream's error. */
function toComplaint(error: unknown, limitBytes: number): unknown {
  if (!(error instanceof ConnectError)) return error
  switch (error.code) {
    case Code.ResourceExhausted:
      return gatewayError('BODY_TOO_LARGE', { limitBytes }, { cause: error })
    case Code.InvalidArgument:
      return gatewayError('MALFORMED_BODY', { problem: error.rawMessage }, { cause: error })
    case Code.Canceled:
    case Code.Aborted:
      return gatewayError('CANCELLED', {}, { cause: error })
    default:
      return error
  }
}
