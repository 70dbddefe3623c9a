import { create, type JsonObject } from '@bufbuild/protobuf'
import sharp from 'sharp'
import { afterEach, describe, expect, test } from 'vitest'
import { ResolvedParametersSchema, UsageSchema } from '../../gen/atelier/v1/image_pb.ts'
import { GenerateImagesRequestSchema } from '../../gen/atelier/v1/image_service_pb.ts'
import { decodeMessage } from '../../src/contract/json.ts'
import { isImageBody } from '../../src/events.ts'
import { readWhole } from '../../src/images/image-body.ts'
import { createLog } from '../../src/log.ts'
import { createOpenAIProvider, toWire } from '../../src/providers/openai.ts'
import { fromWire } from '../../src/providers/openai-answer.ts'
import type { ProviderEvent, Work } from '../../src/providers/provider.ts'
import { createUpstreamClient } from '../../src/upstream/client.ts'
import answers from '../fixtures/openai/answers.json' with { type: 'json' }
import requests from '../fixtures/openai/requests.json' with { type: 'json' }
import { type FakeOpenAIOptions, startFakeOpenAI } from '../support/fake-openai.ts'
import { startUpstreamServer } from '../support/upstream-server.ts'

let opened = new AsyncDisposableStack()
afterEach(async () => {
  await opened.disposeAsync()
  opened = new AsyncDisposableStack()
})

describe('the request to an OpenAI-shaped upstream', () => {
  test.each(requests)('has exactly the fields of $name', async ({ request, upstreamModel, n, body }) => {
    const { provider, fake } = await start({
      answer: () => ({ status: 200, headers: {}, body: Buffer.from('{"data":[{"b64_json":"AAAA"}]}') })
    })
    await collect(provider.run({ ...work(request), upstreamModel, n }, attempt()))
    expect(fake.requests.map((received) => received.body)).toEqual([body])
  })

  test('carries the credential as a bearer token, the configured headers and no more than it needs', async () => {
    const { provider, fake } = await start({}, { 'OpenAI-Organization': 'org-1', 'Content-Type': 'text/plain' })
    await collect(provider.run(work({ prompt: 'a fox', model: 'gpt-image-1' }), attempt()))
    const [{ method, path, headers } = { method: '', path: '', headers: {} }] = fake.requests
    expect([method, path]).toEqual(['POST', '/v1/images/generations'])
    const { host, connection, 'content-length': length, ...rest } = headers
    expect(rest).toEqual({
      accept: 'application/json',
      'accept-encoding': 'identity',
      authorization: 'Bearer sk-test-credential',
      'content-type': 'application/json',
      'openai-organization': 'org-1'
    })
  })

  test('carries no authorization for an empty credential', async () => {
    const { provider, fake } = await start({ answer: () => answerOf('gpt-image') })
    await collect(provider.run(work({ prompt: 'a fox' }), { ...attempt(), credential: '' }))
    expect(fake.requests[0]?.headers.authorization).toBeUndefined()
  })

  test('lets further parameters override nothing that the contract names', () => {
    const provider_options = { model: 'gpt-image-9', n: 10, prompt: 'a cat', size: '9x9', quality: 'max', steps: 4 }
    expect(toWire(work({ prompt: 'a fox', model: 'sd', size: '512x512', provider_options }))).toEqual({
      model: 'sd',
      prompt: 'a fox',
      n: 1,
      size: '512x512',
      quality: 'max',
      steps: 4
    })
  })

  test('holds nothing of what the request asks of the gateway', () => {
    const ours = { request_id: 'r1', strict: true, on_interrupt: 'retry', on_disconnect: 'cancel', max_cost_micros: 5 }
    expect(toWire(work({ prompt: 'a fox', model: 'gpt-image-1', ...ours }))).toEqual({ model: 'gpt-image-1', prompt: 'a fox', n: 1 })
  })

  test('never asks for a stream, which this call could not read', () => {
    expect(() => toWire(work({ prompt: 'a fox', provider_options: { stream: true } }))).toThrow(
      expect.objectContaining({ reason: 'INVALID_PARAMETER', param: 'stream', outcome: 'not_sent' })
    )
    expect(toWire(work({ prompt: 'a fox', provider_options: { stream: false } })).stream).toBe(false)
  })
})

describe('the answer of an OpenAI-shaped upstream', () => {
  const png = Buffer.from('iVBORw0KGgo=', 'base64')

  test('of gpt-image holds bytes, usage and what was made', async () => {
    expect(await read('gpt-image', { output_format: 'webp' })).toEqual([
      { kind: 'image', index: 0, image: { mediaType: 'image/webp', bytes: png } },
      {
        kind: 'completed',
        usage: create(UsageSchema, {
          inputTokens: 50n,
          outputTokens: 6328n,
          totalTokens: 6378n,
          inputTokensDetails: { textTokens: 10n, imageTokens: 40n },
          outputTokensDetails: { textTokens: 120n, imageTokens: 6208n }
        }),
        resolved: create(ResolvedParametersSchema, { size: { width: 1536, height: 1024 }, quality: 6, outputFormat: 3, background: 2 })
      }
    ])
  })

  test('keeps fields that the contract does not name, inside usage too', async () => {
    const events = await read('svg')
    expect(events.at(-1)).toEqual({
      kind: 'completed',
      usage: create(UsageSchema, { inputTokens: 9n, totalTokens: 9n, inputTokensDetails: { textTokens: 9n } }),
      resolved: create(ResolvedParametersSchema, { outputFormat: 5 }),
      providerFields: { svg_usage: answers.svg.body.svg_usage, usage: { input_tokens_details: { cached_tokens: 4 } } }
    })
  })

  test('of dall-e-3 holds a link with its signature, and the revised prompt', async () => {
    expect(await read('dall-e-3')).toEqual([
      { kind: 'image', index: 0, image: { url: answers['dall-e-3'].body.data[0]?.url, mediaType: '' } },
      { kind: 'image_details', index: 0, revisedPrompt: 'A red fox with a lush coat' },
      { kind: 'completed' }
    ])
  })

  test('with a flag of a safety system is an image and one that was withheld', async () => {
    const fields = { mime_type: 'image/jpeg', respect_moderation: true }
    expect(await read('xai', {}, 2)).toEqual([
      { kind: 'image', index: 0, image: { url: 'https://imgen.x.ai/xai-imgen/1.jpeg', mediaType: 'image/jpeg' } },
      { kind: 'image_details', index: 0, providerFields: fields },
      { kind: 'no_image', index: 1, outcome: 2, message: "the provider's safety system withheld the image" },
      { kind: 'completed', providerFields: { usage: { cost_in_usd_ticks: 400_000_000 } } }
    ])
  })

  test('mixes bytes and links', async () => {
    expect(await read('together', { output_format: 'jpeg' }, 2)).toEqual([
      { kind: 'image', index: 0, image: { mediaType: 'image/jpeg', bytes: Buffer.from('/9j/4AAQ', 'base64') } },
      { kind: 'image_details', index: 0, providerFields: { index: 0, type: 'b64_json' } },
      { kind: 'image', index: 1, image: { url: 'https://api.together.ai/imgproxy/1.jpg', mediaType: '' } },
      { kind: 'image_details', index: 1, providerFields: { index: 1, type: 'url' } },
      { kind: 'completed', providerFields: { id: 'oEcGdYM-4yUbBN', model: 'black-forest-labs/FLUX.1-schnell', object: 'list' } }
    ])
  })

  test('takes null for unset', async () => {
    expect(await read('vllm-omni')).toEqual([{ kind: 'image', index: 0, image: { mediaType: '', bytes: png } }, { kind: 'completed' }])
  })

  test('resolves a relative link against the base URL', async () => {
    expect(await read('sglang')).toEqual([
      { kind: 'image', index: 0, image: { url: 'http://127.0.0.1:30000/v1/images/img_1/content', mediaType: '' } },
      { kind: 'image_details', index: 0, revisedPrompt: 'a red fox', providerFields: { file_path: 'outputs/img_1.png' } },
      { kind: 'completed', providerFields: { id: 'img_1', inference_time_s: 1.25 } }
    ])
  })

  test('takes data URLs for what they are', async () => {
    expect(await read('data-urls', { output_format: 'png' }, 2)).toEqual([
      { kind: 'image', index: 0, image: { mediaType: 'image/webp', bytes: Buffer.from('RIFF') } },
      { kind: 'image', index: 1, image: { mediaType: 'image/png', bytes: png } },
      { kind: 'completed' }
    ])
  })

  test('holds back what is missing until an image is there', async () => {
    expect(await read('seedream', {}, 4)).toEqual([
      {
        kind: 'no_image',
        index: 0,
        outcome: 2,
        message: "the provider's safety system withheld the image: the output image may contain sensitive information"
      },
      { kind: 'no_image', index: 1, outcome: 3, message: 'the provider returned no image: internal error' },
      { kind: 'image', index: 2, image: { url: 'https://ark-content.example/1.jpeg', mediaType: '' } },
      { kind: 'image_details', index: 2, providerFields: { size: '2048x2048' } },
      { kind: 'no_image', index: 3, outcome: 3, message: 'the provider returned no image' },
      { kind: 'completed', providerFields: { model: 'seedream-4-0-250828' } }
    ])
  })

  test.each(Object.keys(answers) as AnswerName[])('means the same in chunks of one byte: %s', async (name) => {
    const body = Buffer.from(JSON.stringify(answers[name].body))
    const bytes = [...body].map((byte) => Buffer.of(byte))
    expect(await readBody(bytes, 3)).toEqual(await readBody([body], 3))
  })

  test('means the same with the image behind its siblings', async () => {
    expect(await readBody(['{"data":[{"revised_prompt":"r","b64_json":"iVBORw0KGgo="}]}'])).toEqual([
      { kind: 'image', index: 0, image: { mediaType: '', bytes: png } },
      { kind: 'image_details', index: 0, revisedPrompt: 'r' },
      { kind: 'completed' }
    ])
  })

  test('does not hand out more images than were asked for', async () => {
    const events = await readBody(['{"data":[{"b64_json":"AAAA"},{"b64_json":"BBBB"},{"url":"https://x.example/1.png"}]}'])
    expect(events.map((event) => event.kind)).toEqual(['image', 'completed'])
    expect(events.at(-1)).toMatchObject({
      warnings: [{ param: 'n', message: 'the provider paint returned 3 images instead of 1: the first 1 are delivered' }]
    })
  })

  test('that repeats its members gives each image once', async () => {
    const events = await readBody(['{"data":[{"b64_json":"AAAA","b64_json":"BBBB"}],"data":[{"b64_json":"CCCC"},{"b64_json":"DDDD"}]}'], 2)
    expect(events.map((event) => ('index' in event ? `${event.kind} ${event.index}` : event.kind))).toEqual([
      'image 0',
      'image 1',
      'completed'
    ])
  })

  test('with elements that are no images counts them as missing', async () => {
    const events = await readBody(
      ['{"data":[null,"x",{"b64_json":""},{"b64_json":7,"url":"ftp://x.example/1.png"},{"url":"https://x.example/1.png"},3]}'],
      6
    )
    expect(events.map((event) => ('index' in event ? `${event.kind} ${event.index}` : event.kind))).toEqual([
      'no_image 0',
      'no_image 1',
      'no_image 2',
      'no_image 3',
      'image 4',
      'no_image 5',
      'completed'
    ])
  })

  const unknown = { reason: 'OUTCOME_UNKNOWN', outcome: 'unknown', retryable: false }
  const failed = { reason: 'PROVIDER_FAILED', outcome: 'unknown' }
  test.each([
    ['without items', '{"created":1,"data":[]}', { ...failed, message: 'the provider paint failed: it answered without any image' }],
    ['without data', '{"created":1}', { ...failed, message: 'the provider paint failed: it answered without any image' }],
    ['that is no object', '[]', { ...failed, message: 'the provider paint failed: it answered without any image' }],
    ['with an empty item', '{"data":[{}]}', { ...failed, message: 'the provider paint failed: the provider returned no image' }],
    [
      'withheld by a safety system',
      '{"data":[{"url":"","respect_moderation":false}]}',
      { reason: 'CONTENT_POLICY_VIOLATION', outcome: 'unknown', moderation: { stage: 'output', categories: [] } }
    ],
    [
      'withheld for reasons that it names',
      '{"data":[{"content_filter_results":{"hate":{"filtered":false},"violence":{"filtered":true,"severity":"high"}},"error":{"message":"no","code":"moderation_blocked","moderation_details":{"moderation_stage":"output","categories":["sexual"]}}}]}',
      { reason: 'CONTENT_POLICY_VIOLATION', outcome: 'unknown', moderation: { stage: 'output', categories: ['violence', 'sexual'] } }
    ],
    [
      'withheld although its link is there',
      '{"data":[{"url":"https://x.example/1.png","respect_moderation":false}]}',
      { reason: 'CONTENT_POLICY_VIOLATION', outcome: 'unknown' }
    ],
    [
      'with an error object',
      '{"error":{"message":"it broke","type":"server_error","param":null,"code":null}}',
      { ...failed, message: 'the provider paint failed: it broke' }
    ],
    [
      'with a moderation error',
      '{"error":{"message":"no","type":"invalid_request_error","code":"content_policy_violation"}}',
      { reason: 'CONTENT_POLICY_VIOLATION', outcome: 'rejected', message: 'no' }
    ],
    [
      'with an error that names a field',
      '{"error":{"message":"bad","type":"invalid_request_error","param":"size","code":"invalid_size"}}',
      { reason: 'PROVIDER_REJECTED', outcome: 'rejected', param: 'size', code: 'invalid_size' }
    ],
    ['with an overload error', '{"error":{"message":"busy","code":"slow_down"}}', { reason: 'PROVIDER_OVERLOADED', outcome: 'rejected' }],
    ['with an error in words', '{"error":"out of paint"}', { ...failed, message: 'the provider paint failed: out of paint' }],
    [
      'with an error without words',
      '{"error":{}}',
      { ...failed, message: 'the provider paint failed: it reports an error without a message' }
    ],
    ['with a detail', '{"detail":"out of paint"}', { ...failed, message: 'the provider paint failed: out of paint' }],
    ['that is malformed', '{"data":[{"b64_json":oops}]}', unknown],
    ['that is malformed behind its image', '{"data":[{"b64_json":"AAAA"}],}', unknown],
    ['that ends early', '{"data":[{"b64_json":"AAAA"}', unknown],
    ['that ends in an image', '{"data":[{"b64_json":"AAAA', unknown],
    ['whose image is no base64', '{"data":[{"b64_json":"AA*A"}]}', unknown],
    ['whose image is a data URL without base64', '{"data":[{"b64_json":"data:image/svg+xml,<svg/>"}]}', unknown],
    ['in HTML', '<html></html>', unknown],
    ['of nothing', '', unknown],
    ['that nests without end', `{"data":${'['.repeat(5000)}`, unknown],
    ['with a million keys', `{${Array.from({ length: 100_000 }, (_, key) => `"${key}":1`).join()}}`, unknown]
  ])('%s is an error', async (_, body, expected) => {
    await expect(readBody([body])).rejects.toMatchObject(expected)
  })

  test('never shows a key', async () => {
    await expect(readBody(['{"error":{"message":"bad key sk-abcdefghijkl or quiet-credential"}}'])).rejects.toThrow(
      'the provider paint failed: bad key [key] or [key]'
    )
  })
})

describe('a call to the fake OpenAI', () => {
  test('gives real images of the requested size, in order', async () => {
    const { provider } = await start()
    const request = { prompt: 'a fox', model: 'gpt-image-2', size: '1024x640', output_format: 'jpeg', quality: 'low' }
    const events = await collect(provider.run({ ...work(request), n: 3 }, attempt()))
    expect(events.map((event) => ('index' in event ? `${event.kind} ${event.index}` : event.kind))).toEqual([
      'image 0',
      'image 1',
      'image 2',
      'completed'
    ])
    const images = events.flatMap((event) => (event.kind === 'image' && 'bytes' in event.image ? [event.image.bytes] : []))
    const pictures = await Promise.all(images.map((image) => sharp(image).metadata()))
    expect(pictures.map(({ format, width, height }) => [format, width, height])).toEqual(Array(3).fill(['jpeg', 1024, 640]))
    expect(new Set(images.map((image) => Buffer.from(image).toString('base64'))).size).toBe(3)
    expect(events.at(-1)).toMatchObject({ resolved: { size: { width: 1024, height: 640 }, quality: 4 }, usage: { inputTokens: 8n } })
  })

  test('gives links and revised prompts for dall-e-3, and the links work', async () => {
    const { provider } = await start()
    const [image, details] = await collect(provider.run(work({ prompt: 'a fox', model: 'dall-e-3', size: '1792x1024' }), attempt()))
    expect(details).toEqual({ kind: 'image_details', index: 0, revisedPrompt: 'A detailed, high-quality image of the following: a fox' })
    const url = image?.kind === 'image' && 'url' in image.image ? image.image.url : ''
    const file = await fetch(url)
    expect(file.headers.get('content-type')).toBe('image/png')
    expect(await sharp(await file.arrayBuffer()).metadata()).toMatchObject({ format: 'png', width: 1792, height: 1024 })
  })

  test.each([
    ['a fox [moderated]', 'gpt-image-1', { reason: 'CONTENT_POLICY_VIOLATION', moderation: { stage: 'input', categories: ['sexual'] } }],
    ['a fox [moderated]', 'dall-e-3', { reason: 'CONTENT_POLICY_VIOLATION', moderation: { stage: 'unknown', categories: [] } }],
    ['a fox [moderated-output]', 'gpt-image-1', { moderation: { stage: 'output', categories: ['violence'] } }],
    ['a fox [rate-limit]', 'gpt-image-1', { reason: 'PROVIDER_RATE_LIMITED', outcome: 'rejected', retryAfterMs: 12_000 }],
    ['a fox [quota]', 'gpt-image-1', { reason: 'PROVIDER_KEY_REFUSED', outcome: 'rejected' }],
    ['a fox [billing-limit]', 'gpt-image-1', { reason: 'PROVIDER_KEY_REFUSED', outcome: 'rejected' }],
    ['a fox [unverified]', 'gpt-image-1', { reason: 'PROVIDER_KEY_REFUSED', outcome: 'rejected' }],
    ['a fox [server-error]', 'gpt-image-1', { reason: 'PROVIDER_FAILED', outcome: 'unknown' }],
    ['a fox [overloaded]', 'gpt-image-1', { reason: 'PROVIDER_OVERLOADED', outcome: 'rejected' }],
    ['a fox [bad-gateway]', 'gpt-image-1', { reason: 'PROVIDER_FAILED', outcome: 'unknown' }],
    ['a fox [redirect]', 'gpt-image-1', { reason: 'PROVIDER_FAILED', outcome: 'rejected' }],
    ['a fox [error-200]', 'gpt-image-1', { reason: 'PROVIDER_FAILED', outcome: 'unknown' }],
    ['a fox [empty]', 'gpt-image-1', { reason: 'PROVIDER_FAILED', outcome: 'unknown' }],
    ['a fox [malformed]', 'gpt-image-1', { reason: 'OUTCOME_UNKNOWN', outcome: 'unknown' }],
    ['a fox [truncated]', 'gpt-image-1', { reason: 'OUTCOME_UNKNOWN', outcome: 'unknown' }],
    ['a fox [short]', 'gpt-image-1', { reason: 'OUTCOME_UNKNOWN', outcome: 'unknown' }],
    ['a fox [reset]', 'gpt-image-1', { reason: 'OUTCOME_UNKNOWN', outcome: 'unknown' }],
    ['a fox', 'gpt-image-9', { reason: 'PROVIDER_REJECTED', code: 'model_not_found', outcome: 'rejected' }]
  ])('fails as it says: "%s" on %s', async (prompt, model, expected) => {
    const { provider } = await start()
    await expect(collect(provider.run(work({ prompt, model }), attempt()))).rejects.toMatchObject(expected)
  })

  test.each([
    [{ model: 'gpt-image-1', response_format: 'url' }, 1, 'unknown_parameter', 'response_format', "Unknown parameter: 'response_format'."],
    [{ model: 'dall-e-3', size: '256x256' }, 1, 'invalid_size', undefined, 'The size is not supported by this model.'],
    [
      { model: 'gpt-image-2', size: '1792x936' },
      1,
      'invalid_size',
      'size',
      "Invalid size '1792x936'. Width and height must both be divisible by 16."
    ],
    [{ model: 'dall-e-3' }, 2, 'provider_rejected', undefined, 'You must provide n=1 for this model.'],
    [
      { model: 'gpt-image-1', quality: 'hd' },
      1,
      'invalid_value',
      'quality',
      "Invalid value: 'hd'. Supported values are: 'low', 'medium', 'high', and 'auto'."
    ],
    [{ model: 'dall-e-2', provider_options: { steps: 4 } }, 1, 'unknown_parameter', 'steps', "Unknown parameter: 'steps'."]
  ])('relays what OpenAI has against %j', async (request, n, code, param, message) => {
    const { provider } = await start()
    await expect(collect(provider.run({ ...work({ prompt: 'a fox', ...request }), n }, attempt()))).rejects.toMatchObject({
      reason: 'PROVIDER_REJECTED',
      outcome: 'rejected',
      code,
      param,
      message
    })
  })

  test('with a refused key says so without the key', async () => {
    const { provider } = await start({ apiKey: 'sk-another-key' })
    await expect(collect(provider.run(work({ prompt: 'a fox', model: 'gpt-image-1' }), attempt()))).rejects.toMatchObject({
      reason: 'PROVIDER_KEY_REFUSED',
      message:
        'the provider paint refused the configured key or its account: Incorrect API key provided: [key]. You can find your API key at https://platform.openai.com/account/api-keys.'
    })
  })

  test('reads no more of an error than it can show', async () => {
    const { provider, fake } = await start({ answer: () => ({ status: 500, headers: {}, body: Buffer.alloc(20_000_000, 'x') }) })
    await expect(collect(provider.run(work({ prompt: 'a fox' }), attempt()))).rejects.toMatchObject({
      message: `the provider paint failed: ${'x'.repeat(499)}…`
    })
    expect(await fake.requests[0]?.ended).toBe('abandoned')
  })

  test('goes by the status of an error whose body breaks off', async () => {
    const server = opened.use(
      await startUpstreamServer((_, response) => {
        response.writeHead(429, { 'content-length': 100, 'retry-after': '3' })
        response.write('{"error":{"mess', () => response.socket?.destroy())
      })
    )
    const { provider } = connect(`${server.origin}/v1`)
    await expect(collect(provider.run(work({ prompt: 'a fox' }), attempt()))).rejects.toMatchObject({
      reason: 'PROVIDER_RATE_LIMITED',
      outcome: 'rejected',
      retryAfterMs: 3000
    })
  })

  test.each(['[hang]', '[hang-body]'])('stops the upstream call when its signal aborts: %s', async (word) => {
    const { provider, fake } = await start()
    const caller = new AbortController()
    const events = collect(provider.run(work({ prompt: `a fox ${word}`, model: 'gpt-image-1' }), { ...attempt(), signal: caller.signal }))
    const failure = expect(events).rejects.toMatchObject({ reason: 'CANCELLED', outcome: 'unknown' })
    await expect.poll(() => fake.requests.length).toBe(1)
    caller.abort()
    await failure
    expect(await fake.requests[0]?.ended).toBe('abandoned')
  })

  test('stops the upstream call when its events are left', async () => {
    const { provider, fake } = await start()
    for await (const event of provider.run(work({ prompt: 'a fox [hang-body]', model: 'gpt-image-1' }), attempt())) {
      expect(event.kind).toBe('image')
      break
    }
    expect(await fake.requests[0]?.ended).toBe('abandoned')
  })

  test('stops the upstream call when an image is left, and fails for who asks on', async () => {
    const { provider, fake } = await start()
    const events = provider.run(work({ prompt: 'a fox [hang-body]', model: 'gpt-image-1' }), attempt())[Symbol.asyncIterator]()
    const { value } = await events.next()
    for await (const _ of value?.kind === 'image' && isImageBody(value.image) ? value.image.read('bytes') : []) break
    expect(await fake.requests[0]?.ended).toBe('abandoned')
    await expect(events.next()).rejects.toMatchObject({ reason: 'OUTCOME_UNKNOWN', outcome: 'unknown' })
  })

  test('ends at its time limit', async () => {
    const { provider } = await start()
    const run = provider.run(work({ prompt: 'a fox [hang]', model: 'gpt-image-1' }), { ...attempt(), timeoutMs: 50 })
    await expect(collect(run)).rejects.toMatchObject({ reason: 'DEADLINE_EXCEEDED', outcome: 'unknown' })
  })
})

async function start(options: FakeOpenAIOptions = {}, headers: Record<string, string> = {}) {
  const fake = opened.use(await startFakeOpenAI(options))
  return { fake, ...connect(fake.url, headers) }
}

function connect(baseUrl: string, headers: Record<string, string> = {}) {
  const client = opened.use(createUpstreamClient({ provider: 'paint', baseUrl, maxConnections: 4 }))
  return { provider: createOpenAIProvider({ name: 'paint', baseUrl, headers }, { client }) }
}

function work(rest: { prompt: string; model?: string; n?: number; provider_options?: JsonObject; [field: string]: unknown }): Work {
  const request = decodeMessage(GenerateImagesRequestSchema, rest as JsonObject).message
  return { request, upstreamModel: rest.model ?? 'gpt-image-1', n: 1 }
}

function attempt() {
  return { credential: 'sk-test-credential', signal: new AbortController().signal, timeoutMs: 10_000, log: createLog({ level: 'silent' }) }
}

type AnswerName = keyof typeof answers

function answerOf(name: AnswerName) {
  return { status: 200, headers: { 'content-type': 'application/json' }, body: Buffer.from(JSON.stringify(answers[name].body)) }
}

async function read(name: AnswerName, request: Record<string, unknown> = {}, n = 1) {
  const mediaType = typeof request.output_format === 'string' ? `image/${request.output_format}` : ''
  return readBody([JSON.stringify(answers[name].body)], n, mediaType)
}

function readBody(chunks: (string | Uint8Array)[], n = 1, mediaType = '') {
  async function* body() {
    for (const chunk of chunks) yield Buffer.from(chunk)
  }
  return collect(fromWire(body(), { provider: 'paint', secrets: ['quiet-credential'], baseUrl: 'http://127.0.0.1:30000/v1', n, mediaType }))
}

/** The events with the bytes of their images. */
async function collect(events: AsyncIterable<ProviderEvent>) {
  const collected = []
  for await (const event of events) {
    if (event.kind !== 'image' || !isImageBody(event.image)) collected.push(event)
    else {
      const bytes = await readWhole(event.image, 'bytes', 10_000_000)
      collected.push({ ...event, image: { mediaType: event.image.mediaType, bytes } })
    }
  }
  return collected
}
