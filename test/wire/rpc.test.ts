import { randomBytes } from 'node:crypto'
import { connect as connectHttp2, constants } from 'node:http2'
import { setTimeout as sleep } from 'node:timers/promises'
import { create, toBinary } from '@bufbuild/protobuf'
import { Code, ConnectError, createClient, type Transport } from '@connectrpc/connect'
import { createGrpcTransport } from '@connectrpc/connect-node'
import { describe, expect, onTestFinished, test } from 'vitest'
import { ImageOutcome, WarningKind, WarningSchema } from '../../gen/atelier/v1/image_pb.ts'
import { type GenerateImagesRequest, GenerateImagesRequestSchema, ImageService } from '../../gen/atelier/v1/image_service_pb.ts'
import { ModelService } from '../../gen/atelier/v1/model_service_pb.ts'
import { BadRequestSchema, ErrorInfoSchema } from '../../gen/google/rpc/error_details_pb.ts'
import type { Call } from '../../src/call.ts'
import { gatewayError } from '../../src/errors.ts'
import type { GenerationEvent } from '../../src/events.ts'
import { imageFromBytes } from '../../src/images/image-body.ts'
import { connectRaw } from '../support/raw-client.ts'
import { startRpcServer, transports } from '../support/rpc-server.ts'

const png = Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII=', 'base64')
const everyTransport = Object.entries(transports)

const accepted: GenerationEvent = {
  kind: 'accepted',
  taskId: '',
  createdAt: 1_777_048_800,
  isReplay: false,
  provider: 'openai',
  model: 'gpt-image-2',
  warnings: [create(WarningSchema, { kind: WarningKind.IGNORED, param: 'style', message: 'gpt-image-2 has no styles' })]
}

async function* oneImage(): AsyncIterable<GenerationEvent> {
  yield accepted
  yield { kind: 'image', index: 0, image: imageFromBytes(png, 'image/png') }
  yield { kind: 'completed' }
}

/** The same bytes in pieces of 1 B to 100 kB. */
async function* unevenly(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  for (let start = 0, length = 1; start < bytes.length; start += length, length = (length * 7) % 100_003) {
    yield bytes.subarray(start, start + length)
  }
}

/** An operation that waits until its call is ended and then throws as an upstream client does. */
function waiting() {
  const { promise: ended, resolve } = Promise.withResolvers<Call>()
  const { promise: begun, resolve: begin } = Promise.withResolvers<Call>()
  async function* generateImages(_: GenerateImagesRequest, call: Call): AsyncIterable<GenerationEvent> {
    begin(call)
    await new Promise((abort) => call.signal.addEventListener('abort', abort))
    resolve(call)
    throw gatewayError('CANCELLED', {}, { outcome: 'unknown' })
  }
  return { generateImages, begun, ended }
}

async function failureOf(run: Promise<unknown>): Promise<ConnectError> {
  return run.then(
    () => {
      throw new Error('it did not fail')
    },
    (error: unknown) => ConnectError.from(error)
  )
}

function reasonOf(error: ConnectError): string | undefined {
  return error.findDetails(ErrorInfoSchema)[0]?.reason
}

describe.each(everyTransport)('%s', (_, transport) => {
  test('carries a request and its answer', async () => {
    let asked: GenerateImagesRequest | undefined
    const { url } = await startRpcServer({
      generateImages: (request) => {
        asked = request
        return oneImage()
      }
    })
    const response = await createClient(ImageService, transport(url, 'key')).generateImages({
      prompt: 'a cat',
      n: 1,
      providerOptions: { a: 1 }
    })
    expect(asked).toEqual(create(GenerateImagesRequestSchema, { prompt: 'a cat', n: 1, providerOptions: { a: 1 } }))
    expect(response.images[0]?.content).toEqual({ case: 'data', value: new Uint8Array(png) })
    expect({ ...response.images[0], content: undefined }).toMatchObject({
      index: 0,
      mediaType: 'image/png',
      outcome: ImageOutcome.DELIVERED
    })
    expect([response.provider, response.model, response.warnings[0]?.param]).toEqual(['openai', 'gpt-image-2', 'style'])
  })

  test('carries images of megabytes whole and in chunks of at most 1 MiB, however their bytes come', async () => {
    const files = [randomBytes(1_400_003), randomBytes(1024 * 1024), randomBytes(5)]
    const { url } = await startRpcServer({
      async *generateImages() {
        yield accepted
        for (const [index, file] of files.entries()) yield { kind: 'image', index, image: imageFromBytes(unevenly(file), 'image/png') }
        yield { kind: 'completed' }
      }
    })
    const client = createClient(ImageService, transport(url, 'key'))
    const { images, provider } = await client.generateImages({ prompt: 'a cat', n: 3 })
    expect(provider).toBe('openai')
    expect(images.map(({ content }, index) => content.case === 'data' && files[index]?.equals(content.value))).toEqual([true, true, true])
    const received: Uint8Array[][] = [[], [], []]
    const events: unknown[] = []
    for await (const { event } of client.streamGenerateImages({ request: { prompt: 'a cat', n: 3 } })) {
      if (event.case === 'chunk') {
        received[event.value.index]?.push(event.value.data)
        events.push([event.value.index, event.value.data.length, event.value.last])
      } else events.push(event.case)
    }
    expect(events).toEqual([
      'accepted',
      [0, 1024 * 1024, false],
      [0, 351_427, true],
      'image',
      [1, 1024 * 1024, true],
      'image',
      [2, 5, true],
      'image',
      'completed'
    ])
    expect(received.map((chunks, index) => files[index]?.equals(Buffer.concat(chunks)))).toEqual([true, true, true])
  })

  test('says in headers who served', async () => {
    const { url } = await startRpcServer({ generateImages: oneImage })
    const headers: Record<string, string> = {}
    await createClient(ImageService, transport(url, 'key')).generateImages(
      { prompt: 'a cat' },
      { onHeader: (header) => Object.assign(headers, Object.fromEntries(header)) }
    )
    expect(headers).toMatchObject({
      'x-request-id': expect.stringMatching(/^req_[0-9a-f]{32}$/),
      'x-atelier-provider': 'openai',
      'x-atelier-model': 'gpt-image-2',
      'x-atelier-warnings': expect.stringMatching(/^style=ignored/)
    })
  })

  test('carries an error with its details', async () => {
    const { url } = await startRpcServer({
      generateImages() {
        throw gatewayError('INVALID_SIZE', { model: 'dall-e-3', allowed: '1024x1024 – größer nicht' }, { param: 'size' })
      }
    })
    const error = await failureOf(createClient(ImageService, transport(url, 'key')).generateImages({ prompt: 'a cat' }))
    expect({
      code: error.code,
      message: error.rawMessage,
      reason: reasonOf(error),
      field: error.findDetails(BadRequestSchema)[0]?.fieldViolations[0]?.field
    }).toEqual({
      code: Code.InvalidArgument,
      message: 'Invalid size for dall-e-3: must be 1024x1024 – größer nicht',
      reason: 'INVALID_SIZE',
      field: 'size'
    })
  })

  test('refuses a caller without a key', async () => {
    const { url } = await startRpcServer({ generateImages: oneImage })
    const error = await failureOf(createClient(ImageService, transport(url)).generateImages({ prompt: 'a cat' }))
    expect([error.code, reasonOf(error), error.rawMessage]).toEqual([
      Code.Unauthenticated,
      'INVALID_API_KEY',
      'missing or invalid API key: send it as `Authorization: Bearer <key>`'
    ])
    expect(error.metadata.get('x-request-id')).toMatch(/^req_/)
  })

  test('tells the deadline to the operation, and its passing to the caller', async () => {
    const { generateImages, begun, ended } = waiting()
    const { url, logLines } = await startRpcServer({ generateImages })
    const through = transport(url, 'key')
    await createClient(ModelService, through).listModels({})
    const failure = failureOf(createClient(ImageService, through).generateImages({ prompt: 'a cat' }, { timeoutMs: 400 }))
    const { deadlineMs } = await begun
    expect(deadlineMs - Date.now()).toBeLessThanOrEqual(400)
    expect((await failure).code).toBe(Code.DeadlineExceeded)
    expect((await ended).signal.reason).toMatchObject({ reason: 'DEADLINE_EXCEEDED' })
    await expect.poll(() => logLines.map(({ outcome }) => outcome)).toEqual(['ok', 'DEADLINE_EXCEEDED'])
  })

  test('stops the operation when the caller cancels', async () => {
    const { generateImages, begun, ended } = waiting()
    const { url } = await startRpcServer({ generateImages })
    const leave = new AbortController()
    const failure = failureOf(
      createClient(ImageService, transport(url, 'key')).generateImages({ prompt: 'a cat' }, { signal: leave.signal })
    )
    await begun
    leave.abort()
    expect((await failure).code).toBe(Code.Canceled)
    expect((await ended).signal.reason).toMatchObject({ reason: 'CANCELLED' })
  })

  test('answers UNIMPLEMENTED where there is no such method', async () => {
    const { url } = await startRpcServer({})
    const method = { ...ModelService.method.listModels, name: 'DropModels' }
    const failure = transport(url, 'key').unary(method, undefined, undefined, undefined, {}, undefined)
    const error = await failureOf(failure)
    expect([error.code, reasonOf(error)]).toEqual([Code.Unimplemented, 'ROUTE_NOT_FOUND'])
  })

  test('tells nothing of an unforeseen exception but logs it', async () => {
    const { url, logLines } = await startRpcServer({
      generateImages() {
        throw new Error('the disk is on fire')
      }
    })
    const error = await failureOf(createClient(ImageService, transport(url, 'key')).generateImages({ prompt: 'a cat' }))
    expect([error.code, error.rawMessage]).toEqual([Code.Internal, 'internal error; the request id finds it in the log'])
    await expect.poll(() => JSON.stringify(logLines)).toContain('the disk is on fire')
  })

  test('refuses a message above its limit', async () => {
    const { url } = await startRpcServer({ generateImages: oneImage }, {}, { maxRequestBytes: 1000 })
    const error = await failureOf(createClient(ImageService, transport(url, 'key')).generateImages({ prompt: 'a'.repeat(2000) }))
    expect([error.code, reasonOf(error), error.rawMessage]).toEqual([
      Code.ResourceExhausted,
      'BODY_TOO_LARGE',
      'the body is larger than the 1000 bytes that are accepted here'
    ])
  })

  test('refuses a message that nests too deeply', async () => {
    const { url } = await startRpcServer({ generateImages: oneImage })
    const nested = Array.from({ length: 120 }).reduce<Record<string, never>>((inner) => ({ a: inner as never }), {})
    const error = await failureOf(
      createClient(ImageService, transport(url, 'key')).generateImages({ prompt: 'a cat', providerOptions: nested })
    )
    expect([error.code, reasonOf(error)]).toEqual([Code.InvalidArgument, 'MALFORMED_BODY'])
  })
})

describe('images in an answer', () => {
  test('become links where they do not fit together, with a warning', async () => {
    const hosted: { sizeBytes: number; mediaType: string; provider: string }[] = []
    const { url } = await startRpcServer(
      {
        async *generateImages() {
          yield { ...accepted, warnings: [] }
          yield { kind: 'image', index: 0, image: imageFromBytes(Buffer.alloc(600, 'a'), 'image/png') }
          yield { kind: 'image', index: 1, image: imageFromBytes(Buffer.alloc(600, 'b'), 'image/png') }
          yield { kind: 'image_details', index: 1, revisedPrompt: 'a black cat', providerFields: { seed: 7 } }
          yield { kind: 'image', index: 2, image: imageFromBytes(Buffer.alloc(300, 'c'), 'image/png') }
          yield { kind: 'completed' }
        }
      },
      {
        async hostImage(image, provider) {
          let sizeBytes = 0
          for await (const chunk of image.read('bytes')) sizeBytes += chunk.length
          hosted.push({ sizeBytes, mediaType: image.mediaType, provider })
          return { url: 'https://images.example/1.png', mediaType: 'image/png' }
        }
      },
      { maxImageBytes: 1000 }
    )
    const { images, warnings } = await createClient(
      ImageService,
      createGrpcTransport({ baseUrl: url, interceptors: [keyed] })
    ).generateImages({
      prompt: 'a cat',
      n: 3
    })
    expect(
      images.map(({ index, content, outcome, revisedPrompt, providerFields }) => ({
        index,
        content,
        outcome,
        revisedPrompt,
        providerFields
      }))
    ).toEqual([
      {
        index: 0,
        content: { case: 'data', value: new Uint8Array(600).fill(97) },
        outcome: 1,
        revisedPrompt: '',
        providerFields: undefined
      },
      {
        index: 1,
        content: { case: 'url', value: 'https://images.example/1.png' },
        outcome: 1,
        revisedPrompt: 'a black cat',
        providerFields: { seed: 7 }
      },
      { index: 2, content: { case: 'data', value: new Uint8Array(300).fill(99) }, outcome: 1, revisedPrompt: '', providerFields: undefined }
    ])
    expect(warnings.map(({ kind, param, message }) => ({ kind, param, message }))).toEqual([
      {
        kind: WarningKind.CONVERTED,
        param: 'response_format',
        message: 'images 1 are links: an answer carries at most 1000 bytes of images'
      }
    ])
    expect(hosted).toEqual([{ sizeBytes: 600, mediaType: 'image/png', provider: 'openai' }])
  })

  test('stand in the order in which they were asked for, the missing ones with their reason', async () => {
    const { url } = await startRpcServer({
      async *generateImages() {
        yield { ...accepted, warnings: [] }
        yield { kind: 'image', index: 1, image: { url: 'https://vendor.example/1', mediaType: '' } }
        yield { kind: 'no_image', index: 0, outcome: ImageOutcome.MODERATED, message: 'withheld by the provider' }
        yield { kind: 'completed', warnings: [create(WarningSchema, { kind: WarningKind.CLAMPED, param: 'n', message: '' })] }
      }
    })
    const { images, warnings } = await createClient(
      ImageService,
      createGrpcTransport({ baseUrl: url, interceptors: [keyed] })
    ).generateImages({
      prompt: 'a cat'
    })
    expect(images.map(({ index, content, outcome, message }) => ({ index, content, outcome, message }))).toEqual([
      { index: 0, content: { case: undefined }, outcome: ImageOutcome.MODERATED, message: 'withheld by the provider' },
      { index: 1, content: { case: 'url', value: 'https://vendor.example/1' }, outcome: ImageOutcome.DELIVERED, message: '' }
    ])
    expect(warnings.map(({ param }) => param)).toEqual(['n'])
  })

  test('of 2 MiB pass by the dozen over one connection, and new requests are still taken', async () => {
    const image = Buffer.alloc(2 * 1024 * 1024, 7)
    const { url } = await startRpcServer({
      async *generateImages() {
        yield accepted
        yield { kind: 'image', index: 0, image: imageFromBytes(image, 'image/png') }
        yield { kind: 'completed' }
      }
    })
    const client = createClient(ImageService, createGrpcTransport({ baseUrl: url, interceptors: [keyed] }))
    const answers = await Promise.all(
      Array.from({ length: 36 }, async (_, i) => {
        await sleep(i * 3)
        const { images } = await client.generateImages({ prompt: 'a cat' })
        return images[0]?.content.case === 'data' && image.equals(images[0].content.value)
      })
    )
    expect(answers).toEqual(Array(36).fill(true))
  })
})

describe('refusals before the body is read', () => {
  const announced = 2_000_000_000

  test.each([
    ['application/grpc', /^HTTP\/1\.1 200 [\s\S]*grpc-message: missing or invalid[\s\S]*grpc-status: 16[\s\S]*grpc-status-details-bin: /],
    [
      'application/grpc-web+proto',
      /^HTTP\/1\.1 200 [\s\S]*grpc-message: missing or invalid[\s\S]*grpc-status: 16[\s\S]*grpc-status-details-bin: /
    ],
    ['application/proto', /^HTTP\/1\.1 401 [\s\S]*"code":"unauthenticated"[\s\S]*"details":\[/],
    ['application/json', /^HTTP\/1\.1 401 [\s\S]*"code":"unauthenticated"[\s\S]*"details":\[/],
    ['application/connect+json', /^HTTP\/1\.1 200 [\s\S]*\{"error":\{"code":"unauthenticated"/],
    ['text/plain', /^HTTP\/1\.1 401 [\s\S]*"code":"invalid_api_key"/]
  ])('come at once in %s, and the connection ends', async (contentType, answer) => {
    const { port } = await startRpcServer({})
    using client = await connectRaw({ port })
    client.send(
      `POST /atelier.v1.ImageService/GenerateImages HTTP/1.1\r\nhost: here\r\ncontent-type: ${contentType}\r\ncontent-length: ${announced}\r\n\r\n`
    )
    const received = await client.received(answer)
    expect(received).toMatch(/connection: close/i)
    client.socket.end()
    await client.closed()
  })

  test('over HTTP/2 are trailers alone', async () => {
    const { url } = await startRpcServer({})
    const session = connectHttp2(url)
    onTestFinished(() => session.destroy())
    const stream = session.request({
      ':method': 'POST',
      ':path': '/atelier.v1.ImageService/GenerateImages',
      'content-type': 'application/grpc',
      'content-length': announced
    })
    const [headers, flags] = await new Promise<[Record<string, unknown>, number]>((resolve) =>
      stream.once('response', (received, sent) => resolve([received, sent]))
    )
    expect(headers).toMatchObject({ ':status': 200, 'grpc-status': '16', 'content-type': 'application/grpc' })
    expect(flags & constants.NGHTTP2_FLAG_END_STREAM).toBe(constants.NGHTTP2_FLAG_END_STREAM)
  })

  test('leave a connection usable when the body was small', async () => {
    const { url } = await startRpcServer({})
    const transport = transports['Connect JSON over HTTP/1.1']?.(url) as Transport
    const client = createClient(ImageService, transport)
    for (let i = 0; i < 5; i++) expect((await failureOf(client.generateImages({ prompt: 'a cat' }))).code).toBe(Code.Unauthenticated)
  })
})

describe('requests that no generated client sends', () => {
  async function post(body: string, headers: Record<string, string> = {}) {
    const { url } = await startRpcServer({ generateImages: oneImage })
    const response = await fetch(`${url}/atelier.v1.ImageService/GenerateImages`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: 'Bearer key', ...headers },
      body
    })
    const {
      code,
      message,
      details = []
    } = (await response.json()) as { code: string; message: string; details?: { debug: Record<string, unknown> }[] }
    return { status: response.status, code, message, reason: details[0]?.debug.reason, metadata: details[0]?.debug.metadata }
  }

  test('malformed JSON is refused', async () => {
    expect(await post('{"prompt":')).toMatchObject({ status: 400, code: 'invalid_argument', reason: 'MALFORMED_BODY' })
  })

  test('an unknown field is refused and named', async () => {
    expect(await post('{"prompt":"a cat","stlye":"vivid"}')).toMatchObject({
      status: 400,
      reason: 'MALFORMED_BODY',
      metadata: { param: 'stlye' }
    })
  })

  test('an unknown enum value is refused and its field named', async () => {
    expect(await post('{"prompt":"a cat","model":"MODEL_DALL_E_9"}')).toMatchObject({
      status: 400,
      reason: 'MALFORMED_BODY',
      metadata: { param: 'model' }
    })
  })

  test('JSON that nests 100,000 deep is refused', async () => {
    const body = `{"prompt":"a cat","providerOptions":${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}}`
    expect(await post(body)).toMatchObject({ status: 400, code: 'invalid_argument', reason: 'MALFORMED_BODY' })
  })

  test('a malformed deadline is refused', async () => {
    expect(await post('{"prompt":"a cat"}', { 'connect-timeout-ms': 'soon' })).toMatchObject({ status: 400, code: 'invalid_argument' })
  })

  test('a compressed body is refused', async () => {
    expect(await post('{"prompt":"a cat"}', { 'content-encoding': 'gzip' })).toMatchObject({ status: 501, code: 'unimplemented' })
  })

  test('a content type of no RPC protocol is refused in the shape of REST', async () => {
    const { url } = await startRpcServer({})
    const response = await fetch(`${url}/atelier.v1.ImageService/GenerateImages`, {
      method: 'POST',
      headers: { 'content-type': 'text/plain', authorization: 'Bearer key' },
      body: 'a cat'
    })
    expect([response.status, ((await response.json()) as { error: { code: string } }).error.code]).toEqual([415, 'unsupported_media_type'])
  })

  test('a method that the RPC does not take is refused with Allow', async () => {
    const { url } = await startRpcServer({})
    const response = await fetch(`${url}/atelier.v1.ImageService/GenerateImages`, { headers: { authorization: 'Bearer key' } })
    expect([response.status, response.headers.get('allow')]).toEqual([405, 'POST'])
  })

  test('a read without side effects may be a GET', async () => {
    const { url } = await startRpcServer({})
    const response = await fetch(`${url}/atelier.v1.ModelService/ListModels?connect=v1&encoding=json&message=%7B%7D`, {
      headers: { authorization: 'Bearer key' }
    })
    expect([response.status, await response.json()]).toEqual([200, {}])
  })

  test('what is no RPC is left to others', async () => {
    const { url } = await startRpcServer({})
    const response = await fetch(`${url}/v1/models`)
    expect([response.status, response.headers.get('x-request-id')]).toEqual([404, null])
  })

  test('a deadline of 99,999,999 hours is lowered, not refused', async () => {
    let deadlineMs = Number.POSITIVE_INFINITY
    const { url } = await startRpcServer({
      generateImages(_, call) {
        deadlineMs = call.deadlineMs
        return oneImage()
      }
    })
    expect((await trailersOf(url, { 'grpc-timeout': '99999999H' }))['grpc-status']).toBe('0')
    expect(deadlineMs - Date.now()).toBeLessThanOrEqual(3_600_000)
  })
})

test('gRPC messages are escaped only where they must be', async () => {
  const { url } = await startRpcServer({
    generateImages() {
      throw gatewayError('PROVIDER_REJECTED', { problem: '100% (größer), "no": a/b?' })
    }
  })
  expect((await trailersOf(url))['grpc-message']).toBe('100%25 (gr%C3%B6%C3%9Fer), "no": a/b?')
})

/** The trailers of a gRPC call as they stand on the wire; those of an error are all that comes. */
async function trailersOf(url: string, headers: Record<string, string> = {}): Promise<Record<string, unknown>> {
  const session = connectHttp2(url)
  onTestFinished(() => session.destroy())
  const stream = session.request({
    ':method': 'POST',
    ':path': '/atelier.v1.ImageService/GenerateImages',
    'content-type': 'application/grpc',
    authorization: 'Bearer key',
    ...headers
  })
  const message = toBinary(GenerateImagesRequestSchema, create(GenerateImagesRequestSchema, { prompt: 'a cat' }))
  stream.end(Buffer.concat([Buffer.of(0, 0, 0, 0, message.length), message]))
  stream.resume()
  return new Promise((resolve) => {
    stream.once('trailers', resolve)
    stream.once('response', (received) => {
      if (received['grpc-status'] !== undefined) resolve(received)
    })
  })
}

test('one log line tells who called, who served and how it ended, under the trace of the caller', async () => {
  const { url, logLines } = await startRpcServer({ generateImages: oneImage })
  await createClient(ImageService, createGrpcTransport({ baseUrl: url, interceptors: [keyed] })).generateImages(
    { prompt: 'a very secret cat' },
    { headers: { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' } }
  )
  await expect.poll(() => logLines.length).toBe(1)
  expect(logLines[0]).toMatchObject({
    route: 'atelier.v1.ImageService.GenerateImages',
    outcome: 'ok',
    key: 'key-1',
    provider: 'openai',
    model: 'gpt-image-2',
    trace: '0af7651916cd43dd8448eb211c80319c'
  })
  expect(logLines[0]?.bytes).toBeGreaterThan(png.length)
  expect(JSON.stringify(logLines)).not.toContain('secret')
})

function keyed(next: Parameters<import('@connectrpc/connect').Interceptor>[0]): Parameters<import('@connectrpc/connect').Interceptor>[0] {
  return (req) => {
    req.header.set('authorization', 'Bearer key')
    return next(req)
  }
}
