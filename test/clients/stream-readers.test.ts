import { fileURLToPath } from 'node:url'
import { createClient, type Transport } from '@connectrpc/connect'
import { createConnectTransport, createGrpcWebTransport } from '@connectrpc/connect-web'
import { Client, credentials, Metadata } from '@grpc/grpc-js'
import { loadSync, type ServiceDefinition } from '@grpc/proto-loader'
import { afterAll, expect, test } from 'vitest'
import { ImageService } from '../../gen/atelier/v1/image_service_pb.ts'
import { needsFiles } from '../support/debian.ts'
import { startGateway } from '../support/gateway.ts'
import { runCommand } from '../support/run-command.ts'

const gateway = await startGateway()
afterAll(() => gateway[Symbol.asyncDispose]())

const baseUrl = gateway.url
const transports: Record<string, Transport> = {
  'Connect over fetch': createConnectTransport({ baseUrl }),
  'gRPC-Web over fetch': createGrpcWebTransport({ baseUrl })
}

test.each(Object.entries(transports))('%s reads a stream of typed events', async (name, transport) => {
  const prompt = `a stream for ${name}`
  const request = { prompt, partialImages: 1, modelSelector: { case: 'modelName', value: 'gpt-image-2' } } as const
  const stream = createClient(ImageService, transport).streamGenerateImages(
    { request },
    { headers: { authorization: `Bearer ${gateway.apiKey}` } }
  )
  const events = (await Array.fromAsync(stream)).map(({ event }) => event)
  expect([events[0]?.case, events.at(-1)?.case]).toEqual(['accepted', 'completed'])
  const chunks = events.flatMap((event) => (event.case === 'chunk' && event.value.previewIndex === undefined ? [event.value.data] : []))
  expect(Buffer.concat(chunks)).toEqual(await gateway.upstreamImage({ model: 'gpt-image-2', prompt }))
})

test('grpc-js reads a stream of typed events, and the error that ends one', async () => {
  const definitions = loadSync('atelier/v1/image_service.proto', {
    includeDirs: ['../../proto', '../../third_party'].map((path) => fileURLToPath(new URL(path, import.meta.url))),
    keepCase: true,
    oneofs: true
  })
  const { StreamGenerateImages: method } = definitions['atelier.v1.ImageService'] as ServiceDefinition
  if (!method) throw new Error('the schema has no StreamGenerateImages')
  const client = new Client(new URL(baseUrl).host, credentials.createInsecure())
  const metadata = new Metadata()
  metadata.set('authorization', `Bearer ${gateway.apiKey}`)
  const read = async (prompt: string) => {
    const request = { request: { prompt, partial_images: 1, model_name: 'gpt-image-2' } }
    const call = client.makeServerStreamRequest(method.path, method.requestSerialize, method.responseDeserialize, request, metadata)
    return (await Array.fromAsync(call)) as { event: string; chunk?: { data: Buffer; _preview_index?: string } }[]
  }
  try {
    const events = await read('a stream for grpc-js')
    expect([events[0]?.event, events.at(-1)?.event]).toEqual(['accepted', 'completed'])
    const chunks = events.flatMap(({ chunk }) => (chunk && chunk._preview_index === undefined ? [chunk.data] : []))
    expect(Buffer.concat(chunks)).toEqual(await gateway.upstreamImage({ model: 'gpt-image-2', prompt: 'a stream for grpc-js' }))
    await expect(read('[stream-error] for grpc-js')).rejects.toMatchObject({ details: expect.stringContaining('Image generation failed.') })
  } finally {
    client.close()
  }
})

test('curl -N reads server-sent events', async (context) => {
  needsFiles(context, { '/usr/bin/curl': 'curl' })
  const body = JSON.stringify({ model: 'gpt-image-2', prompt: 'a stream for curl', stream: true, partial_images: 2 })
  const { stdout } = await runCommand('curl', [
    ...['-sSN', `${baseUrl}/v1/images/generations`, '-H', `Authorization: Bearer ${gateway.apiKey}`],
    ...['-H', 'Content-Type: application/json', '-d', body]
  ])
  const events = stdout
    .toString()
    .split('\n\n')
    .filter((event) => event !== '')
  expect(events.map((event) => event.split('\n')[0])).toEqual([
    'event: image_generation.partial_image',
    'event: image_generation.partial_image',
    'event: image_generation.completed'
  ])
  expect(events.every((event) => event.split('\n').length === 2)).toBe(true)
})
