import { once } from 'node:events'
import { connect } from 'node:http2'
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { ResponseFormat } from '../gen/atelier/v1/image_pb.ts'
import {
  GenerateImagesRequestSchema,
  GenerateImagesResponseSchema,
  StreamGenerateImagesRequestSchema,
  StreamGenerateImagesResponseSchema
} from '../gen/atelier/v1/image_service_pb.ts'
import { sha256 } from './answers.ts'
import type { Expected, LoadConnection, LoadJob } from './load-job.ts'

/** An HTTP/2 connection that makes gRPC calls one after the other, with nothing between the frames and the comparison. */
export async function connectGrpc(job: LoadJob, expected: Expected): Promise<LoadConnection> {
  const session = connect(job.url, { settings: { initialWindowSize: 4 * 1024 * 1024 } })
  await once(session, 'connect')
  session.setLocalWindowSize(8 * 1024 * 1024)
  const streams = job.protocol === 'grpc-stream'
  const frame = enveloped(streams ? streamRequest(job) : unaryRequest(job))
  const headers = {
    ':method': 'POST',
    ':path': `/atelier.v1.ImageService/${streams ? 'StreamGenerateImages' : 'GenerateImages'}`,
    'content-type': 'application/grpc+proto',
    te: 'trailers',
    ...job.headers
  }

  async function request(verify: boolean): Promise<{ sizeBytes: number }> {
    const stream = session.request(headers)
    let trailers: Record<string, unknown> = {}
    stream.on('trailers', (received) => {
      trailers = received
    })
    stream.on('response', (received) => {
      if (received['grpc-status'] !== undefined) trailers = received
    })
    stream.end(frame)
    const chunks: Buffer[] = []
    for await (const chunk of stream) chunks.push(chunk)
    if (trailers['grpc-status'] !== '0') throw new Error(`grpc-status ${trailers['grpc-status']}: ${trailers['grpc-message']}`)
    const answer = Buffer.concat(chunks)
    if (answer.length <= (job.answer.images * job.answer.base64Length * 3) / 4) throw new Error(`only ${answer.length} bytes`)
    const messages = [...messagesIn(answer)]
    if (!streams && messages.length !== 1) throw new Error(`${messages.length} messages instead of one`)
    if (verify) compare(streams ? streamedImages(messages) : unaryImages(messages))
    return { sizeBytes: answer.length }
  }

  function compare(images: readonly Uint8Array[]): void {
    if (images.length !== job.answer.images) throw new Error(`${images.length} images instead of ${job.answer.images}`)
    if (images.some((image) => sha256(image) !== expected.bytesSha256)) throw new Error('an image is not the one that the upstream gave')
  }

  return { request, close: () => new Promise((resolve) => session.close(resolve)) }
}

function unaryRequest({ answer }: LoadJob): Uint8Array {
  return toBinary(GenerateImagesRequestSchema, imagesRequest(answer.images))
}

function streamRequest({ answer }: LoadJob): Uint8Array {
  return toBinary(StreamGenerateImagesRequestSchema, create(StreamGenerateImagesRequestSchema, { request: imagesRequest(answer.images) }))
}

function imagesRequest(n: number) {
  return create(GenerateImagesRequestSchema, {
    prompt: 'a cat on a mat',
    modelSelector: { case: 'modelName', value: 'dall-e-2' },
    n,
    responseFormat: ResponseFormat.B64_JSON
  })
}

function unaryImages(messages: readonly Uint8Array[]): Uint8Array[] {
  return messages.flatMap((message) =>
    fromBinary(GenerateImagesResponseSchema, message).images.map(({ content }) =>
      content.case === 'data' ? content.value : new Uint8Array()
    )
  )
}

/** The chunks of each image, joined; the last event must be there too. */
function streamedImages(messages: readonly Uint8Array[]): Uint8Array[] {
  const images: Uint8Array[][] = []
  const events = messages.map((message) => fromBinary(StreamGenerateImagesResponseSchema, message).event)
  if (events.at(-1)?.case !== 'completed') throw new Error('the stream ends before it says that it is complete')
  for (const event of events) {
    if (event.case !== 'chunk') continue
    const chunks = images[event.value.index] ?? []
    images[event.value.index] = chunks
    chunks.push(event.value.data)
  }
  return images.map((chunks) => Buffer.concat(chunks))
}

function enveloped(message: Uint8Array): Buffer {
  const prefix = Buffer.alloc(5)
  prefix.writeUInt32BE(message.length, 1)
  return Buffer.concat([prefix, message])
}

function* messagesIn(answer: Buffer): Iterable<Uint8Array> {
  for (let offset = 0; offset < answer.length; ) {
    const end = answer.length < offset + 5 ? Number.POSITIVE_INFINITY : offset + 5 + answer.readUInt32BE(offset + 1)
    if (end > answer.length) throw new Error('the answer ends inside a message')
    yield answer.subarray(offset + 5, end)
    offset = end
  }
}
