import type { JsonObject } from '@bufbuild/protobuf'
import sharp from 'sharp'
import { afterEach, describe, expect, test } from 'vitest'
import { GenerateImagesRequestSchema } from '../../gen/atelier/v1/image_service_pb.ts'
import { decodeMessage } from '../../src/contract/json.ts'
import { createLog } from '../../src/log.ts'
import { createGoogleProvider, toWire } from '../../src/providers/google.ts'
import type { Work } from '../../src/providers/provider.ts'
import { createUpstreamClient } from '../../src/upstream/client.ts'
import answers from '../fixtures/google/answers.json' with { type: 'json' }
import requests from '../fixtures/google/requests.json' with { type: 'json' }
import { collectImages } from '../support/collect-images.ts'
import { type FakeGoogleOptions, startFakeGoogle } from '../support/fake-google.ts'
import { startUpstreamServer } from '../support/upstream-server.ts'

let opened = new AsyncDisposableStack()
afterEach(async () => {
  await opened.disposeAsync()
  opened = new AsyncDisposableStack()
})

describe('the request to the Gemini API', () => {
  test.each(requests)('has exactly the fields of $name', async ({ request, upstreamModel, path, body }) => {
    const { provider, fake } = await start({
      answer: () => ({ status: 200, headers: { 'content-type': 'application/json' }, body: Buffer.from(JSON.stringify(answers.pro.body)) })
    })
    await collectImages(provider.run({ ...work(request), upstreamModel }, attempt()))
    expect(fake.requests.map((received) => [received.method, received.path, received.body])).toEqual([['POST', path, body]])
  })

  test('carries the credential and the configured headers, and no more than it needs', async () => {
    const { provider, fake } = await start({}, { 'X-Team': 'drawing', 'Content-Type': 'text/plain', 'X-Goog-Api-Key': 'another' })
    await collectImages(provider.run(work({ prompt: 'a fox' }), attempt()))
    const { host, connection, 'content-length': length, ...rest } = fake.requests[0]?.headers ?? {}
    expect(rest).toEqual({
      accept: 'application/json',
      'accept-encoding': 'identity',
      'content-type': 'application/json',
      'x-goog-api-key': 'quiet-credential',
      'x-team': 'drawing'
    })
  })

  test('carries no key for an empty credential', async () => {
    const { provider, fake } = await start()
    await expect(collectImages(provider.run(work({ prompt: 'a fox' }), { ...attempt(), credential: '' }))).rejects.toMatchObject({
      reason: 'PROVIDER_KEY_REFUSED',
      outcome: 'rejected'
    })
    expect(fake.requests[0]?.headers['x-goog-api-key']).toBeUndefined()
  })

  test('stays below the address, whatever the name of the model', async () => {
    const { provider, fake } = await start()
    const run = provider.run({ ...work({ prompt: 'a fox' }), upstreamModel: '../files?x=1' }, attempt())
    await expect(collectImages(run)).rejects.toMatchObject({ reason: 'PROVIDER_REJECTED', code: 'NOT_FOUND', outcome: 'rejected' })
    expect(fake.requests[0]?.path).toBe('/v1beta/models/..%2Ffiles%3Fx%3D1:generateContent')
  })

  test.each([{ size: '1024x1024' }, { size: '1000x500' }])('is not made for a size in pixels: %j', (fields) => {
    expect(() => toWire(work({ prompt: 'a fox', ...fields }))).toThrow(
      expect.objectContaining({
        reason: 'INVALID_SIZE',
        param: 'size',
        outcome: 'not_sent',
        message:
          'Invalid size for gemini-3-pro-image: must be an aspect ratio such as 16:9, beside which `resolution` may be 512, 1K, 2K or 4K, or auto'
      })
    )
  })
})

describe('a call to the fake Gemini API', () => {
  test.each([
    ['gemini-3-pro-image', { aspect_ratio: '16:9' }, 'jpeg', 1376, 768],
    ['gemini-nano-banana-2.1', { aspect_ratio: '1:4', resolution: '1K' }, 'png', 512, 2064],
    ['gemini-3.1-flash-image', { resolution: '512' }, 'jpeg', 512, 512],
    ['gemini-3.1-flash-lite-image', { resolution: '1K', seed: 3 }, 'jpeg', 1024, 1024],
    ['gemini-2.5-flash-image', { aspect_ratio: '9:16' }, 'png', 768, 1376]
  ])('gives a real image: %s %j', async (upstreamModel, request, format, width, height) => {
    const { provider } = await start()
    const [image, completed] = await collectImages(provider.run({ ...work({ prompt: 'a fox', ...request }), upstreamModel }, attempt()))
    const bytes = image?.kind === 'image' && 'bytes' in image.image ? image.image.bytes : new Uint8Array()
    expect(await sharp(bytes).metadata()).toMatchObject({ format, width, height })
    expect(completed).toMatchObject({
      kind: 'completed',
      usage: { inputTokens: 2n, outputTokensDetails: { imageTokens: 1120n } },
      resolved: { size: { width, height }, outputFormat: format === 'png' ? 1 : 2 },
      providerFields: { modelVersion: upstreamModel }
    })
  })

  test('gives the result and not its drafts', async () => {
    const images = []
    for (const prompt of ['a fox [drafts]', 'a fox [drafts]', 'another fox [drafts]']) {
      const { provider } = await start()
      const [event] = await collectImages(provider.run(work({ prompt }), attempt()))
      images.push(event?.kind === 'image' && 'bytes' in event.image ? Buffer.from(event.image.bytes).toString('base64') : '')
    }
    expect(images[0]).toBe(images[1])
    expect(images[0]).not.toBe(images[2])
  })

  const moderated = { reason: 'CONTENT_POLICY_VIOLATION', outcome: 'rejected', retryable: false }
  test.each([
    ['[blocked]', { ...moderated, moderation: { stage: 'input', categories: ['prohibited_content'] } }],
    ['[blocked-empty]', { ...moderated, moderation: { stage: 'input', categories: ['prohibited_content'] } }],
    ['[withheld]', { ...moderated, moderation: { stage: 'output', categories: ['image_safety'] } }],
    ['[withheld-drafts]', { ...moderated, moderation: { stage: 'output', categories: ['image_safety'] } }],
    ['[prohibited]', { ...moderated, outcome: 'unknown', moderation: { stage: 'output', categories: ['image_prohibited_content'] } }],
    ['[rated]', { ...moderated, outcome: 'unknown', moderation: { stage: 'output', categories: ['sexually_explicit'] } }],
    ['[filtered]', { ...moderated, moderation: { stage: 'output', categories: ['other'] } }],
    ['[no-image]', { reason: 'PROVIDER_FAILED', outcome: 'unknown' }],
    ['[image-other]', { reason: 'PROVIDER_FAILED', outcome: 'rejected' }],
    ['[text-only]', { message: 'the provider paint failed: it answered with text instead of an image: Here is a fox in words.' }],
    ['[no-candidates]', { reason: 'PROVIDER_FAILED', outcome: 'unknown' }],
    ['[rate-limit]', { reason: 'PROVIDER_RATE_LIMITED', outcome: 'rejected', retryAfterMs: 34_000 }],
    ['[no-quota]', { reason: 'PROVIDER_KEY_REFUSED', outcome: 'rejected' }],
    ['[no-credit]', { reason: 'PROVIDER_KEY_REFUSED', outcome: 'rejected' }],
    ['[location]', { reason: 'PROVIDER_KEY_REFUSED', outcome: 'rejected' }],
    ['[leaked-key]', { reason: 'PROVIDER_KEY_REFUSED', outcome: 'rejected' }],
    ['[overloaded]', { reason: 'PROVIDER_OVERLOADED', outcome: 'rejected', retryable: true }],
    ['[internal]', { reason: 'PROVIDER_FAILED', outcome: 'unknown' }],
    ['[late]', { reason: 'PROVIDER_FAILED', outcome: 'unknown' }],
    ['[bad-gateway]', { reason: 'PROVIDER_FAILED', outcome: 'unknown' }],
    ['[redirect]', { reason: 'PROVIDER_FAILED', outcome: 'rejected' }],
    ['[error-200]', { reason: 'PROVIDER_FAILED', outcome: 'unknown' }],
    ['[malformed]', { reason: 'OUTCOME_UNKNOWN', outcome: 'unknown' }],
    ['[truncated]', { reason: 'OUTCOME_UNKNOWN', outcome: 'unknown' }],
    ['[short]', { reason: 'OUTCOME_UNKNOWN', outcome: 'unknown' }],
    ['[reset]', { reason: 'OUTCOME_UNKNOWN', outcome: 'unknown' }]
  ])('fails as it says: %s', async (word, expected) => {
    const { provider } = await start()
    await expect(collectImages(provider.run(work({ prompt: `a fox ${word}` }), attempt()))).rejects.toMatchObject(expected)
  })

  test.each([
    ['gemini-3-pro-image-preview', {}, 'NOT_FOUND', /^the provider paint answered 404: models\/gemini-3-pro-image-preview is not found/],
    ['gemini-2.5-flash-image', { resolution: '1K' }, 'INVALID_ARGUMENT', 'Image size 1K is not supported for this model'],
    ['gemini-nano-banana-2.1', { resolution: '512' }, 'INVALID_ARGUMENT', 'Image size 512 is not supported for this model'],
    ['gemini-3-pro-image', { aspect_ratio: '1:8' }, 'INVALID_ARGUMENT', 'Aspect ratio 1:8 is not supported for this model'],
    ['gemini-3-pro-image', { aspect_ratio: '9:21' }, 'INVALID_ARGUMENT', /aspect_ratio must be one of '1:1', .*, or '21:9'\.$/],
    [
      'gemini-3-pro-image',
      { provider_options: { temperature: 9 } },
      'INVALID_ARGUMENT',
      /temperature must be in the range \[0\.0, 2\.0\]\.$/
    ]
  ])('relays what the vendor has against %s %j', async (upstreamModel, fields, code, message) => {
    const { provider } = await start()
    await expect(collectImages(provider.run({ ...work({ prompt: 'a fox', ...fields }), upstreamModel }, attempt()))).rejects.toMatchObject({
      reason: 'PROVIDER_REJECTED',
      outcome: 'rejected',
      code,
      message: typeof message === 'string' ? message : expect.stringMatching(message)
    })
  })

  test.each([
    [{ imageConfig: { imageSize: '2k' } }, "Unsupported image_size '2k'. Supported values are: 1K, 2K, 4K, 512, 512P, 512PX."],
    [{ imageConfig: { outputMimeType: 'image/png' } }, /Unknown name "outputMimeType" at 'generation_config.image_config'/],
    [{ imageConfig: { personGeneration: 'ALLOW_ALL' } }, /Unknown name "personGeneration" at 'generation_config.image_config'/],
    [{ aspectRatio: '16:9' }, /Unknown name "aspectRatio" at 'generation_config'/],
    [{ seed: 2 ** 31 }, "Invalid value at 'generation_config.seed' (TYPE_INT32), 2147483648"],
    [{ candidateCount: 2 }, 'Multiple candidates is not enabled for this model']
  ])('is refused where the vendor refuses it: %j', async (generationConfig, message) => {
    const fake = opened.use(await startFakeGoogle())
    const response = await fetch(`${fake.url}/models/gemini-3-pro-image:generateContent`, {
      method: 'POST',
      headers: { 'x-goog-api-key': 'any' },
      body: JSON.stringify({
        contents: [{ parts: [{ text: 'a fox' }] }],
        generationConfig: { responseModalities: ['IMAGE'], ...generationConfig }
      })
    })
    expect([response.status, await response.json()]).toMatchObject([
      400,
      { error: { code: 400, status: 'INVALID_ARGUMENT', message: typeof message === 'string' ? message : expect.stringMatching(message) } }
    ])
  })

  test('with a refused key says so without the key', async () => {
    const { provider } = await start({ apiKey: 'another-credential' })
    await expect(collectImages(provider.run(work({ prompt: 'a fox' }), attempt()))).rejects.toMatchObject({
      reason: 'PROVIDER_KEY_REFUSED',
      outcome: 'rejected',
      message: 'the provider paint refused the configured key or its account: API key not valid. Please pass a valid API key.'
    })
  })

  test('goes by the status of an error whose body breaks off', async () => {
    const server = opened.use(
      await startUpstreamServer((_, response) => {
        response.writeHead(429, { 'content-length': 100, 'retry-after': '3' })
        response.write('{"error":{"mess', () => response.socket?.destroy())
      })
    )
    const { provider } = connect(`${server.origin}/v1beta`)
    await expect(collectImages(provider.run(work({ prompt: 'a fox' }), attempt()))).rejects.toMatchObject({
      reason: 'PROVIDER_RATE_LIMITED',
      outcome: 'rejected',
      retryAfterMs: 3000
    })
  })

  test.each(['[hang]', '[hang-body]'])('stops the upstream call when its signal aborts: %s', async (word) => {
    const { provider, fake } = await start()
    const caller = new AbortController()
    const events = collectImages(provider.run(work({ prompt: `a fox ${word}` }), { ...attempt(), signal: caller.signal }))
    const failure = expect(events).rejects.toMatchObject({ reason: 'CANCELLED', outcome: 'unknown' })
    await expect.poll(() => fake.requests.length).toBe(1)
    caller.abort()
    await failure
    expect(await fake.requests[0]?.ended).toBe('abandoned')
  })

  test('ends at its time limit', async () => {
    const { provider } = await start()
    const run = provider.run(work({ prompt: 'a fox [hang]' }), { ...attempt(), timeoutMs: 50 })
    await expect(collectImages(run)).rejects.toMatchObject({ reason: 'DEADLINE_EXCEEDED', outcome: 'unknown' })
  })
})

async function start(options: FakeGoogleOptions = {}, headers: Record<string, string> = {}) {
  const fake = opened.use(await startFakeGoogle(options))
  return { fake, ...connect(fake.url, headers) }
}

function connect(baseUrl: string, headers: Record<string, string> = {}) {
  const client = opened.use(createUpstreamClient({ provider: 'paint', baseUrl, maxConnections: 4 }))
  return { provider: createGoogleProvider({ name: 'paint', baseUrl, headers }, { client }) }
}

function work(rest: { prompt: string; provider_options?: unknown; [field: string]: unknown }): Work {
  const { provider_options, ...fields } = rest
  const { message } = decodeMessage(GenerateImagesRequestSchema, fields as JsonObject)
  const request = { ...message, ...(provider_options ? { providerOptions: provider_options as JsonObject } : {}) }
  return { request, upstreamModel: 'gemini-3-pro-image', n: 1 }
}

function attempt() {
  return { credential: 'quiet-credential', signal: new AbortController().signal, timeoutMs: 10_000, log: createLog({ level: 'silent' }) }
}
