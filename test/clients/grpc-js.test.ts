import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { Client, credentials, Metadata, type MethodDefinition, type ServiceError, status } from '@grpc/grpc-js'
import { type AnyDefinition, loadSync, type MessageTypeDefinition, type ServiceDefinition } from '@grpc/proto-loader'
import { afterAll, expect, test } from 'vitest'
import { createBusyUpstream, download, startGateway } from '../support/gateway.ts'

const gateway = await startGateway({ openai: { answer: createBusyUpstream() } })
const definitions = loadSync(['atelier/v1/image_service.proto', 'google/rpc/status.proto', 'google/rpc/error_details.proto'], {
  includeDirs: ['../../proto', '../../third_party'].map((path) => fileURLToPath(new URL(path, import.meta.url))),
  keepCase: true,
  longs: String,
  enums: String
})
const { GenerateImages } = definitions['atelier.v1.ImageService'] as ServiceDefinition
const client = new Client(new URL(gateway.url).host, credentials.createInsecure(), {
  'grpc.service_config': JSON.stringify({
    methodConfig: [
      {
        name: [{ service: 'atelier.v1.ImageService' }],
        retryPolicy: {
          maxAttempts: 5,
          initialBackoff: '0.01s',
          maxBackoff: '0.01s',
          backoffMultiplier: 1,
          retryableStatusCodes: ['UNAVAILABLE', 'INTERNAL', 'UNKNOWN', 'RESOURCE_EXHAUSTED']
        }
      }
    ]
  })
})
afterAll(async () => {
  client.close()
  await gateway[Symbol.asyncDispose]()
})

interface Answer {
  images: { data?: Buffer; url?: string; media_type: string; revised_prompt: string }[]
  provider: string
  model: string
}

test("gets gpt-image-2's image as bytes", async () => {
  const prompt = 'bytes for grpc-js'
  const { images, provider, model } = await generate({ prompt, model: 'MODEL_GPT_IMAGE_2' }).answer
  expect([images[0]?.media_type, provider, model]).toEqual(['image/png', 'openai', 'gpt-image-2'])
  expect(images[0]?.data).toEqual(await gateway.upstreamImage({ model: 'gpt-image-2', prompt }))
})

test("gets dall-e-3's image as a link, with the revised prompt", async () => {
  const prompt = 'a link for grpc-js'
  const { images } = await generate({ prompt, model_name: 'openai/dall-e-3' }).answer
  expect(images[0]?.revised_prompt).toBe(`A detailed, high-quality image of the following: ${prompt}`)
  expect(await download(images[0]?.url)).toEqual(await gateway.upstreamImage({ model: 'dall-e-3', prompt }))
})

test.each([
  [status.INVALID_ARGUMENT, 'MISSING_PARAMETER', 'prompt', {}],
  [status.INVALID_ARGUMENT, 'INVALID_SIZE', 'size', { prompt: 'a cat', model: 'MODEL_DALL_E_3', size: 'SIZE_512X512' }],
  [status.INVALID_ARGUMENT, 'CONTENT_POLICY_VIOLATION', undefined, { prompt: '[moderated]', model: 'MODEL_DALL_E_3' }],
  [status.NOT_FOUND, 'MODEL_NOT_FOUND', 'model', { prompt: 'a cat', model_name: 'dall-e-9' }],
  [status.INTERNAL, 'PROVIDER_FAILED', undefined, { prompt: '[server-error]', model: 'MODEL_DALL_E_3' }],
  [status.FAILED_PRECONDITION, 'PROVIDER_KEY_MISSING', undefined, { prompt: 'a cat', model_name: 'sd3.5-large' }]
])('gets status %i and decodes %s out of its details', async (code, reason, field, request) => {
  const error = await failureOf(generate(request).answer)
  const details = detailsOf(error)
  expect([error.code, details['google.rpc.ErrorInfo']]).toEqual([code, expect.objectContaining({ reason, domain: 'atelier.v1' })])
  expect(details['google.rpc.BadRequest']).toEqual(
    field === undefined ? undefined : { field_violations: [expect.objectContaining({ field, description: error.details })] }
  )
})

test('is refused with a wrong key', async () => {
  const error = await failureOf(generate({ prompt: 'a cat' }, { key: 'sk-wrong-key-of-a-stranger' }).answer)
  expect([error.code, detailsOf(error)['google.rpc.ErrorInfo']]).toEqual([
    status.UNAUTHENTICATED,
    expect.objectContaining({ reason: 'INVALID_API_KEY' })
  ])
})

test('does not send again what the provider may have billed, although its retry policy would', async () => {
  const prompt = '[server-error] for grpc-js'
  await failureOf(generate({ prompt, model: 'MODEL_DALL_E_3' }).answer)
  expect(gateway.upstreamCalls(prompt)).toBe(1)
})

test('waits as long as the provider asks and sends it again', async () => {
  const prompt = 'busy at first, for grpc-js'
  const { images } = await generate({ prompt, model: 'MODEL_GPT_IMAGE_2' }).answer
  expect(images[0]?.data).toEqual(await gateway.upstreamImage({ model: 'gpt-image-2', prompt }))
  expect(gateway.upstreamCalls(prompt)).toBe(3)
})

test('stops the upstream call by its deadline, where it wishes that', async () => {
  const prompt = '[hang] until the deadline of grpc-js'
  const error = await failureOf(
    generate({ prompt, model: 'MODEL_DALL_E_3', on_disconnect: 'ON_DISCONNECT_CANCEL' }, { deadlineMs: 500 }).answer
  )
  expect(error.code).toBe(status.DEADLINE_EXCEEDED)
  expect(await gateway.upstreamEnd(prompt)).toBe('abandoned')
})

test('stops the upstream call by cancelling, where it wishes that', async () => {
  const prompt = '[hang] until grpc-js cancels'
  const { call, answer } = generate({ prompt, model: 'MODEL_DALL_E_3', on_disconnect: 'ON_DISCONNECT_CANCEL' })
  const failure = failureOf(answer)
  await expect.poll(() => gateway.upstreamCalls(prompt)).toBe(1)
  call.cancel()
  expect((await failure).code).toBe(status.CANCELLED)
  expect(await gateway.upstreamEnd(prompt)).toBe('abandoned')
})

test('tells who served in the metadata', async () => {
  const { call, answer } = generate({ prompt: 'who', model: 'MODEL_SKETCH', size: 'SIZE_256X256' })
  const [metadata] = (await once(call, 'metadata')) as [Metadata]
  await answer
  expect([metadata.get('x-atelier-provider'), metadata.get('x-atelier-model')]).toEqual([['sketch'], ['sketch']])
})

function generate(request: object, { key = gateway.apiKey, deadlineMs = 20_000 } = {}) {
  const metadata = new Metadata()
  metadata.set('authorization', `Bearer ${key}`)
  const { promise, resolve, reject } = Promise.withResolvers<Answer>()
  const { path, requestSerialize, responseDeserialize } = GenerateImages as MethodDefinition<object, object>
  const options = { deadline: Date.now() + deadlineMs }
  const call = client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, metadata, options, (error, answer) => {
    if (error) reject(error)
    else resolve(answer as Answer)
  })
  return { call, answer: promise }
}

async function failureOf(run: Promise<unknown>): Promise<ServiceError> {
  return run.then(
    () => {
      throw new Error('it did not fail')
    },
    (error: ServiceError) => error
  )
}

/** The details of an error by their type names. */
function detailsOf(error: ServiceError): Record<string, unknown> {
  const [bytes] = error.metadata.get('grpc-status-details-bin')
  const { details } = decode(definitions['google.rpc.Status'], bytes as Buffer) as { details: { type_url: string; value: Buffer }[] }
  return Object.fromEntries(
    details.map(({ type_url, value }) => {
      const name = type_url.slice(type_url.lastIndexOf('/') + 1)
      return [name, decode(definitions[name], value)]
    })
  )
}

function decode(type: AnyDefinition | undefined, bytes: Buffer): object {
  return (type as MessageTypeDefinition<object, object>).deserialize(bytes)
}
