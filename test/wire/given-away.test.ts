import { connect as connectHttp2 } from 'node:http2'
import { setTimeout as sleep } from 'node:timers/promises'
import { create, toBinary } from '@bufbuild/protobuf'
import { createClient, type Transport } from '@connectrpc/connect'
import { describe, expect, test } from 'vitest'
import { GenerateImagesRequestSchema, ImageService } from '../../gen/atelier/v1/image_service_pb.ts'
import type { GenerationEvent } from '../../src/events.ts'
import type { ImageBody } from '../../src/images/image-body.ts'
import { chunkSource } from '../support/chunks.ts'
import { startRpcServer, transports } from '../support/rpc-server.ts'

const chunkBytes = 100_000

/** Large enough to be sent as they are; the last one is only a part of its memory. */
function chunksOfImage(): Uint8Array[] {
  const whole = Array.from({ length: 20 }, (_, index) => new Uint8Array(chunkBytes).fill(index + 1))
  return [...whole, new Uint8Array(2 * chunkBytes).fill(21).subarray(chunkBytes)]
}

const expected = Buffer.concat(chunksOfImage())

async function* events(chunks: Uint8Array[], givesChunksAway: boolean): AsyncGenerator<GenerationEvent> {
  const image: ImageBody = { mediaType: 'image/png', form: 'bytes', givesChunksAway, read: () => chunkSource(chunks) }
  yield { kind: 'accepted', taskId: '', createdAt: 1, isReplay: false, provider: 'openai', model: 'dall-e-2', warnings: [] }
  yield { kind: 'image', index: 0, image }
  yield { kind: 'completed' }
}

async function unary(transport: Transport): Promise<Uint8Array> {
  const { images } = await createClient(ImageService, transport).generateImages({ prompt: 'a cat' })
  const content = images[0]?.content
  return content?.case === 'data' ? content.value : new Uint8Array()
}

async function streamed(transport: Transport): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  for await (const { event } of createClient(ImageService, transport).streamGenerateImages({ request: { prompt: 'a cat' } })) {
    if (event.case === 'chunk') parts.push(event.value.data)
  }
  return Buffer.concat(parts)
}

/** JSON is written by the RPC library, from copies. */
const binaryTransports = Object.entries(transports).filter(([name]) => !name.includes('JSON'))

describe.each(binaryTransports)('%s', (_, transport) => {
  test.each([
    ['in one message', unary, 20],
    // One chunk stands in two messages.
    ['as a stream', streamed, 19]
  ])('frees what an image gives away when it is sent, %s, but what others have a part of', async (_, receive, freed) => {
    const chunks = chunksOfImage()
    const { url } = await startRpcServer({ generateImages: () => events(chunks, true) })
    expect(expected.equals(await receive(transport(url, 'key')))).toBe(true)
    await expect.poll(() => chunks.filter(({ length }) => length === 0).length).toBe(freed)
    expect(chunks.at(-1)?.length).toBe(chunkBytes)
  })

  test.each([
    ['in one message', unary],
    ['as a stream', streamed]
  ])('leaves the chunks of any other image as they are, %s', async (_, receive) => {
    const chunks = chunksOfImage()
    const { url } = await startRpcServer({ generateImages: () => events(chunks, false) })
    expect(expected.equals(await receive(transport(url, 'key')))).toBe(true)
    expect(expected.equals(Buffer.concat(chunks))).toBe(true)
  })
})

const grpcCall = {
  ':method': 'POST',
  ':path': '/atelier.v1.ImageService/GenerateImages',
  'content-type': 'application/grpc+proto',
  te: 'trailers',
  authorization: 'Bearer key'
}

test('frees nothing that a client has not made room for, and sends it whole when it has', async () => {
  const chunks = chunksOfImage()
  const { url } = await startRpcServer({ generateImages: () => events(chunks, true) })
  const session = connectHttp2(url, { settings: { initialWindowSize: 1000 } })
  const stream = session.request(grpcCall)
  const message = toBinary(GenerateImagesRequestSchema, create(GenerateImagesRequestSchema, { prompt: 'a cat' }))
  stream.end(Buffer.concat([Buffer.from([0, 0, 0, 0, message.length]), message]))
  await new Promise((resolve) => stream.once('response', resolve))
  await sleep(100)
  expect(chunks.filter(({ length }) => length === 0)).toEqual([])
  const received: Buffer[] = []
  for await (const chunk of stream) received.push(chunk)
  expect(Buffer.concat(received).includes(expected)).toBe(true)
  expect(chunks.filter(({ length }) => length === 0).length).toBe(20)
  session.close()
})

test('frees nothing of what a client that goes away has not taken', async () => {
  const chunks = chunksOfImage()
  const { url } = await startRpcServer({ generateImages: () => events(chunks, true) })
  const session = connectHttp2(url, { settings: { initialWindowSize: 1000 } })
  const stream = session.request(grpcCall)
  stream.on('error', () => undefined)
  stream.end(Buffer.from([0, 0, 0, 0, 0]))
  await new Promise((resolve) => stream.once('response', resolve))
  session.destroy()
  await sleep(100)
  expect(expected.equals(Buffer.concat(chunks))).toBe(true)
})
