import { create, type JsonObject } from '@bufbuild/protobuf'
import sharp from 'sharp'
import { afterEach, describe, expect, test } from 'vitest'
import { ResolvedParametersSchema, WarningKind, WarningSchema } from '../../gen/atelier/v1/image_pb.ts'
import { GenerateImagesRequestSchema } from '../../gen/atelier/v1/image_service_pb.ts'
import { decodeMessage } from '../../src/contract/json.ts'
import { isImageBody } from '../../src/events.ts'
import { readWhole } from '../../src/images/image-body.ts'
import { createLog } from '../../src/log.ts'
import type { ProviderEvent, Work } from '../../src/providers/provider.ts'
import { createStabilityProvider, toWire } from '../../src/providers/stability.ts'
import { fromWire } from '../../src/providers/stability-answer.ts'
import { createUpstreamClient } from '../../src/upstream/client.ts'
import answers from '../fixtures/stability/answers.json' with { type: 'json' }
import requests from '../fixtures/stability/requests.json' with { type: 'json' }
import { type ChunkSource, chunkSource, collect as collectChunks } from '../support/chunks.ts'
import { type FakeStabilityOptions, startFakeStability } from '../support/fake-stability.ts'

let opened = new AsyncDisposableStack()
afterEach(async () => {
  await opened.disposeAsync()
  opened = new AsyncDisposableStack()
})

const sdxl = 'stable-diffusion-xl-1024-v1-0'

describe('the request to Stability', () => {
  test.each(requests)('is exactly that of $name', async ({ request, upstreamModel, n, path, accept, body }) => {
    const { provider, fake } = await start({ answer: anImage })
    await collect(provider.run({ ...work(request, upstreamModel), n }, attempt()))
    expect(fake.requests.map((received) => [received.path, received.headers.accept, received.body])).toEqual([[path, accept, body]])
  })

  test('writes a form as bytes whose boundary no value holds', async () => {
    const { contentType, body } = toWire(work({ prompt: 'a fox\r\n--', seed: 7 }, 'core'))
    const boundary = /^multipart\/form-data; boundary=(atelier-[0-9a-f]{32})$/.exec(contentType)?.[1] ?? ''
    expect((await textOf(body)).replaceAll(boundary, 'BOUNDARY')).toBe(
      '--BOUNDARY\r\ncontent-disposition: form-data; name="prompt"\r\n\r\na fox\r\n--\r\n' +
        '--BOUNDARY\r\ncontent-disposition: form-data; name="seed"\r\n\r\n7\r\n--BOUNDARY--\r\n'
    )
    expect(toWire(work({ prompt: 'a fox' }, 'core')).contentType).not.toBe(contentType)
  })

  test('carries the credential as a bearer token, the configured headers and no more than it needs', async () => {
    const { provider, fake } = await start({}, { Organization: 'org-123456', 'Content-Type': 'text/plain' })
    await collect(provider.run(work({ prompt: 'a fox' }, sdxl), attempt()))
    const { host, connection, 'content-length': length, ...rest } = fake.requests[0]?.headers ?? {}
    expect(rest).toEqual({
      accept: 'image/png',
      'accept-encoding': 'identity',
      authorization: 'Bearer sk-test-credential',
      'content-type': 'application/json',
      organization: 'org-123456'
    })
  })

  test('carries no authorization for an empty credential', async () => {
    const { provider, fake } = await start({ answer: anImage })
    await collect(provider.run(work({ prompt: 'a fox' }, 'core'), { ...attempt(), credential: '' }))
    expect(fake.requests[0]?.headers.authorization).toBeUndefined()
  })

  test.each([
    [{ user: 'user-1234' }, 'user-1234'],
    [{ user: 'user-1234', safety_identifier: 'DiscordUser#9999' }, 'DiscordUser#9999'],
    [{ user: 'Jörg' }, '8e63741c42f7c08025339f1a380d98030a698aa04f1fa3c595dcb581632af452'],
    [{ user: ' a' }, '7de598b3ff8a99638e1f9bf49260baa0d98e069dde32d1f2e153adb5ce478242'],
    [{ user: 'x'.repeat(257) }, '15eb95a462ee20bd91a415ae2d4aed341288186ddaa2b37908f7d592f0c3f85f']
  ])('names the end user in a header: %j', async (fields, expected) => {
    const { provider, fake } = await start({ answer: anImage })
    await collect(provider.run(work({ prompt: 'a fox', ...fields }, 'sd3.5-large'), attempt()))
    expect(fake.requests[0]?.headers['stability-client-user-id']).toBe(expected)
  })

  test('lets further parameters override nothing that the contract names', async () => {
    const provider_options = { text_prompts: [], samples: 9, prompt: 'a cat', model: 'core', steps: 30, style_preset: null }
    expect(JSON.parse(String(toWire(work({ prompt: 'a fox', provider_options }, sdxl)).body))).toEqual({
      text_prompts: [{ text: 'a fox' }],
      width: 1024,
      height: 1024,
      samples: 1,
      prompt: 'a cat',
      model: 'core',
      steps: 30
    })
    const form = await textOf(toWire(work({ prompt: 'a fox', provider_options: { prompt: 'a cat', model: 'x' } }, 'sd3.5-large')).body)
    expect(form).toContain('name="prompt"\r\n\r\na fox\r\n')
    expect(form).toContain('name="model"\r\n\r\nsd3.5-large\r\n')
  })

  test.each([
    [sdxl, 0, 4_294_967_295],
    ['core', 0, 4_294_967_294],
    ['core', 4_294_967_295, 4_294_967_294]
  ])('says a seed that it cannot say as %s with another fixed one, and warns: %s', async (model, seed, sent) => {
    const { provider, fake } = await start()
    const events = await collect(provider.run(work({ prompt: 'a fox', seed }, model), attempt()))
    expect(String(fake.requests[0]?.body?.seed)).toBe(String(sent))
    const why = seed === 0 ? 'to this vendor 0 means a random seed' : "the vendor's seeds end at 4294967294"
    expect(events.at(-1)).toMatchObject({
      warnings: [{ kind: WarningKind.CONVERTED, param: 'seed', message: `${seed} became ${sent}: ${why}` }]
    })
  })

  test('for a model that nobody knew warns of every field that it cannot say', async () => {
    const { provider, fake } = await start({ answer: anImage })
    const fields = { quality: 'high', style: 'vivid', background: 'opaque', output_format: 'webp', output_compression: 3, resolution: '2K' }
    const events = await collect(provider.run(work({ prompt: 'a fox', moderation: 'low', ...fields }, 'engine-9'), attempt()))
    expect(fake.requests[0]?.body).toEqual({ text_prompts: [{ text: 'a fox' }], samples: 1 })
    const params = ['resolution', 'quality', 'style', 'background', 'output_format', 'output_compression', 'moderation']
    const warnings = params.map((param) =>
      create(WarningSchema, { kind: WarningKind.IGNORED, param, message: 'engine-9 has no such parameter' })
    )
    expect(events.at(-1)).toMatchObject({ warnings })
  })

  test.each([
    ['a field without a parameter under strict', { quality: 'high', strict: true }, 'sd3.5-flash', 1, 'UNSUPPORTED_PARAMETER', 'quality'],
    ['an aspect ratio for an engine', { size: '16:9' }, sdxl, 1, 'INVALID_PARAMETER', 'aspect_ratio'],
    ['two images of one call', {}, 'core', 2, 'INVALID_PARAMETER', 'n'],
    ['an object in a form', { provider_options: { style_preset: {} } }, 'core', 1, 'INVALID_PARAMETER', 'style_preset']
  ])('is never sent with %s', async (_, fields, model, n, reason, param) => {
    const { provider, fake } = await start()
    const run = provider.run({ ...work({ prompt: 'a fox', ...fields }, model), n }, attempt())
    await expect(collect(run)).rejects.toMatchObject({ reason, param, outcome: 'not_sent' })
    expect(fake.requests).toEqual([])
  })

  test('takes the options that the model knows', async () => {
    const { provider } = await start()
    const understands = provider.understands as (model: string) => readonly string[]
    expect([sdxl, 'core', 'ultra', 'sd3.5-medium', 'sd3.5-large-turbo'].map(understands)).toEqual([
      ['cfg_scale', 'clip_guidance_preset', 'extras', 'image_strength', 'sampler', 'steps', 'style_preset'],
      ['style_preset'],
      ['strength', 'style_preset'],
      ['cfg_scale', 'strength', 'style_preset'],
      ['strength', 'style_preset']
    ])
  })
})

describe('the answer of Stability', () => {
  const png = Buffer.from('iVBORw0KGgo=', 'base64')
  const resolved = create(ResolvedParametersSchema, { size: { width: 1024, height: 1024 }, outputFormat: 1 })

  test.each(['artifacts', 'bare-array'] as const)('holds images, seeds and one that was withheld: %s', async (name) => {
    expect(await readArtifacts([JSON.stringify(answers[name].body)], 3)).toEqual([
      { kind: 'image', index: 0, image: { mediaType: 'image/png', bytes: png } },
      { kind: 'image_details', index: 0, providerFields: { seed: 1050625087 } },
      { kind: 'no_image', index: 1, outcome: 2, message: "the provider's safety system withheld the image" },
      { kind: 'image', index: 2, image: { mediaType: 'image/png', bytes: Buffer.from('iVBORw0KGgp0cmk=', 'base64') } },
      { kind: 'image_details', index: 2, providerFields: { seed: 3817857576 } },
      { kind: 'completed', resolved }
    ])
  })

  test.each(['artifacts', 'bare-array'] as const)('means the same in chunks of one byte: %s', async (name) => {
    const body = Buffer.from(JSON.stringify(answers[name].body))
    const bytes = [...body].map((byte) => Buffer.of(byte))
    expect(await readArtifacts(bytes, 3)).toEqual(await readArtifacts([body], 3))
  })

  test('holds back what is missing until an image is there', async () => {
    const body =
      '{"artifacts":[null,"x",{"base64":""},{"base64":7},{"finishReason":"ERROR","base64":"AAAA"},{"base64":"iVBORw0KGgo="},{"seed":9}]}'
    const events = await readArtifacts([body], 8)
    expect(events.map((event) => ('index' in event ? `${event.kind} ${event.index}` : event.kind))).toEqual([
      'no_image 0',
      'no_image 1',
      'no_image 2',
      'no_image 3',
      'no_image 4',
      'image 5',
      'no_image 6',
      'no_image 7',
      'completed'
    ])
  })

  test('does not hand out more images than were asked for, nor one twice', async () => {
    const body =
      '{"artifacts":[{"base64":"AAAA"},{"base64":"BBBB"},{"base64":"CCCC"}],"artifacts":[{"base64":"DDDD"},{"base64":"EEEE"},{"seed":1}]}'
    const events = await readArtifacts([body], 2)
    expect(events.filter((event) => event.kind === 'image')).toEqual([
      { kind: 'image', index: 0, image: { mediaType: 'image/png', bytes: Buffer.from('AAAA', 'base64') } },
      { kind: 'image', index: 1, image: { mediaType: 'image/png', bytes: Buffer.from('BBBB', 'base64') } }
    ])
  })

  test('gives an artifact without an image none of another one', async () => {
    const body = '{"artifacts":[{"base64":"AAAA"}],"artifacts":[{"base64":"BBBB"},{"seed":1}]}'
    const events = await readArtifacts([body], 2)
    expect(events.map((event) => ('index' in event ? `${event.kind} ${event.index}` : event.kind))).toEqual([
      'image 0',
      'no_image 1',
      'completed'
    ])
  })

  test('keeps what the contract does not name, and finish reasons that are not known', async () => {
    const [image, details] = await readArtifacts(['{"artifacts":[{"base64":"AAAA","id":"a","mask":null,"finishReason":"WARMED_UP"}]}'])
    expect([image?.kind, details]).toEqual([
      'image',
      { kind: 'image_details', index: 0, providerFields: { id: 'a', finish_reason: 'WARMED_UP' } }
    ])
  })

  test('as bytes is passed on untouched, with its seed and its format', async () => {
    const source = chunkSource(['one', 'two'])
    const headers = { 'content-type': 'image/webp', 'finish-reason': 'SUCCESS', seed: '3817857576' }
    expect(await collect(fromWire({ headers, body: source }, { ...context, size: undefined }))).toEqual([
      { kind: 'image', index: 0, image: { mediaType: 'image/webp', bytes: Buffer.from('onetwo') } },
      { kind: 'image_details', index: 0, providerFields: { seed: 3817857576 } },
      { kind: 'completed', resolved: create(ResolvedParametersSchema, { outputFormat: 3 }) }
    ])
  })

  test('as bytes hands out the very chunks of the connection', async () => {
    const chunks = [Buffer.from('one'), Buffer.from('two')]
    for await (const event of fromWire({ headers: { 'content-type': 'image/png' }, body: chunkSource(chunks) }, context)) {
      if (event.kind !== 'image' || !isImageBody(event.image)) continue
      const read = []
      for await (const chunk of event.image.read('bytes')) read.push(chunk)
      expect(read.map((chunk, index) => chunk === chunks[index])).toEqual([true, true])
    }
  })

  test.each([
    ['that says nothing about itself', {}, []],
    ['with an odd seed', { seed: '-1', 'finish-reason': '' }, []],
    ['with a finish reason that is not known', { 'finish-reason': 'WARMED_UP' }, [{ finish_reason: 'WARMED_UP' }]]
  ])('as bytes %s is an image', async (_, headers, fields) => {
    const events = await collect(fromWire({ headers: { 'content-type': 'image/png', ...headers }, body: chunkSource(['x']) }, context))
    expect(events).toEqual([
      { kind: 'image', index: 0, image: { mediaType: 'image/png', bytes: Buffer.from('x') } },
      ...fields.map((providerFields) => ({ kind: 'image_details', index: 0, providerFields })),
      { kind: 'completed', resolved }
    ])
  })

  const withheld = {
    reason: 'CONTENT_POLICY_VIOLATION',
    outcome: 'unknown',
    retryable: false,
    moderation: { stage: 'output', categories: [] },
    message: "the provider's safety system withheld the image"
  }
  const failed = { reason: 'PROVIDER_FAILED', outcome: 'unknown' }
  test.each([
    ['filtered', { 'content-type': 'image/png', 'finish-reason': 'CONTENT_FILTERED' }, withheld],
    [
      'failed',
      { 'content-type': 'image/png', 'finish-reason': 'ERROR' },
      { ...failed, outcome: 'rejected', message: 'the provider paint failed: the provider could not make the image' }
    ],
    [
      'in HTML',
      { 'content-type': 'Text/HTML; charset=utf-8' },
      { ...failed, message: 'the provider paint failed: it answered with text/html instead of an image' }
    ],
    ['of no type', {}, { ...failed, message: 'the provider paint failed: it answered with something instead of an image' }],
    [
      'of nothing',
      { 'content-type': 'image/png', 'content-length': '0' },
      { ...failed, message: 'the provider paint failed: it answered without any image' }
    ]
  ])('as bytes that is %s is an error, and is left', async (_, headers, expected) => {
    const body = chunkSource(['x'])
    await expect(collect(fromWire({ headers, body }, context))).rejects.toMatchObject(expected)
    expect(leftOf(body)).toEqual({ taken: 0, released: true })
  })

  const unknown = { reason: 'OUTCOME_UNKNOWN', outcome: 'unknown', retryable: false }
  test.each([
    ['with filtered artifacts only', '{"artifacts":[{"base64":"AAAA","finishReason":"CONTENT_FILTERED"},{}]}', withheld],
    ['with failed artifacts only', '{"artifacts":[{"base64":"AAAA","finishReason":"ERROR"}]}', { ...failed, outcome: 'rejected' }],
    ['with a failed artifact and an empty one', '{"artifacts":[{"base64":"AAAA","finishReason":"ERROR"},{}]}', failed],
    ['without artifacts', '{"artifacts":[]}', { ...failed, message: 'the provider paint failed: it answered without any image' }],
    ['of v2beta', '{"image":"AAAA","finish_reason":"SUCCESS","seed":1}', failed],
    ['that is no object', '7', failed],
    ['that is malformed', '{"artifacts":[{"base64":oops}]}', unknown],
    ['that is malformed behind its image', '{"artifacts":[{"base64":"AAAA"}],}', unknown],
    ['that ends early', '{"artifacts":[{"base64":"AAAA"}', unknown],
    ['that ends in an image', '{"artifacts":[{"base64":"AAAA', unknown],
    ['whose image is no base64', '{"artifacts":[{"base64":"AA*A"}]}', unknown],
    ['in HTML', '<html></html>', unknown],
    ['of nothing', '', unknown],
    ['that nests without end', `{"artifacts":${'['.repeat(5000)}`, unknown],
    ['with a million keys', `{${Array.from({ length: 100_000 }, (_, key) => `"${key}":1`).join()}}`, unknown]
  ])('in JSON %s is an error', async (_, body, expected) => {
    await expect(readArtifacts([body], 2)).rejects.toMatchObject(expected)
  })

  test('with an image that does not end is given up, and left', async () => {
    const body = chunkSource(['{"artifacts":[{"base64":"', ...Array(100).fill('A'.repeat(1_048_576))])
    const events = fromWire({ headers: { 'content-type': 'application/json' }, body }, context)
    await expect(collect(events)).rejects.toMatchObject({
      ...unknown,
      message: expect.stringContaining('an image is larger than 33554432 bytes')
    })
    expect(leftOf(body)).toEqual({ taken: 44, released: true })
  })
})

describe('a call to the fake Stability', () => {
  test('gives several real images of one v1 call, in order', async () => {
    const { provider, fake } = await start()
    const events = await collect(provider.run({ ...work({ prompt: 'a fox', size: '1152x896', seed: 5 }, sdxl), n: 3 }, attempt()))
    expect(events.map((event) => ('index' in event ? `${event.kind} ${event.index}` : event.kind))).toEqual([
      'image 0',
      'image_details 0',
      'image 1',
      'image_details 1',
      'image 2',
      'image_details 2',
      'completed'
    ])
    expect(await measured(events)).toEqual(Array(3).fill(['png', 1152, 896]))
    expect(events.flatMap((event) => (event.kind === 'image_details' ? [event.providerFields?.seed] : []))).toEqual([5, 6, 7])
    expect(new Set(imagesOf(events).map((bytes) => bytes.toString('base64'))).size).toBe(3)
    expect(fake.requests.length).toBe(1)
  })

  test.each([
    [sdxl, {}, ['png', 1024, 1024]],
    ['core', {}, ['png', 1536, 1536]],
    ['core', { output_format: 'webp', size: '16:9', provider_options: { style_preset: 'anime' } }, ['webp', 2048, 1152]],
    ['ultra', { size: '9:21', negative_prompt: 'snow' }, ['png', 640, 1536]],
    ['sd3.5-large', { output_format: 'jpeg', size: '1024x1024', provider_options: { cfg_scale: 5 } }, ['jpeg', 1024, 1024]],
    ['sd3.5-large-turbo', {}, ['png', 1024, 1024]]
  ])('gives a real image of %s with %j', async (model, fields, expected) => {
    const { provider } = await start()
    const events = await collect(provider.run(work({ prompt: 'a fox', ...fields }, model), attempt()))
    expect(events.map(({ kind }) => kind)).toEqual(['image', 'image_details', 'completed'])
    expect(await measured(events)).toEqual([expected])
    expect(events.at(-1)).not.toHaveProperty('warnings')
  })

  test('gives the images of a v1 call that were not filtered', async () => {
    const { provider } = await start()
    const events = await collect(provider.run({ ...work({ prompt: 'a fox [filtered]' }, sdxl), n: 2 }, attempt()))
    expect(events.map((event) => ('index' in event ? `${event.kind} ${event.index}` : event.kind))).toEqual([
      'no_image 0',
      'image 1',
      'image_details 1',
      'completed'
    ])
  })

  const moderated = { reason: 'CONTENT_POLICY_VIOLATION', outcome: 'rejected', moderation: { stage: 'input', categories: [] } }
  const filtered = { reason: 'CONTENT_POLICY_VIOLATION', outcome: 'unknown', moderation: { stage: 'output', categories: [] } }
  const keyRefused = { reason: 'PROVIDER_KEY_REFUSED', outcome: 'rejected' }
  const everywhere = [
    ['a fox [moderated]', moderated],
    ['a fox [all-filtered]', filtered],
    ['a fox [failed]', { reason: 'PROVIDER_FAILED', outcome: 'rejected' }],
    ['a fox [rate-limit]', { reason: 'PROVIDER_RATE_LIMITED', outcome: 'rejected', retryAfterMs: 60_000 }],
    ['a fox [no-credit]', keyRefused],
    ['a fox [forbidden]', keyRefused],
    ['a fox [server-error]', { reason: 'PROVIDER_FAILED', outcome: 'rejected', retryable: true }],
    ['a fox [bad-gateway]', { reason: 'PROVIDER_FAILED', outcome: 'unknown' }],
    ['a fox [redirect]', { reason: 'PROVIDER_FAILED', outcome: 'rejected' }],
    ['a fox [not-an-image]', { reason: 'PROVIDER_FAILED', outcome: 'unknown' }],
    ['a fox [empty]', { reason: 'PROVIDER_FAILED', outcome: 'unknown' }],
    ['a fox [truncated]', { reason: 'OUTCOME_UNKNOWN', outcome: 'unknown' }],
    ['a fox [reset]', { reason: 'OUTCOME_UNKNOWN', outcome: 'unknown' }]
  ] as const
  test.each(
    everywhere.flatMap(([prompt, expected]) => [
      [prompt, sdxl, 1, expected] as const,
      [prompt, sdxl, 2, expected] as const,
      [prompt, 'ultra', 1, expected] as const
    ])
  )('fails as it says: "%s" on %s, %d images', async (prompt, model, n, expected) => {
    const { provider } = await start()
    await expect(collect(provider.run({ ...work({ prompt }, model), n }, attempt()))).rejects.toMatchObject(expected)
  })

  test.each([
    [
      sdxl,
      { size: '1024x1792' },
      'invalid_sdxl_v1_dimensions',
      undefined,
      /^for stable-diffusion-xl-1024-v0-9 .* but we received 1024x1792$/
    ],
    [sdxl, { size: '1000x1000' }, 'invalid_height_or_width', undefined, /^Height and width must be specified in increments of 64$/],
    [sdxl, { provider_options: { steps: 9 } }, 'bad_request', 'steps', /^steps: must be between 10 and 50$/],
    [sdxl, { provider_options: { sampler: 'x' } }, 'bad_request', 'sampler', /^sampler: invalid enum value\. Expected 'DDIM' \|/],
    [sdxl, { negative_prompt: 'x'.repeat(2001) }, 'bad_request', 'text_prompts', /^text_prompts: length must be at most 2000 characters$/],
    [
      'stable-diffusion-v1-6',
      {},
      'not_found',
      undefined,
      /answered 404: The specified engine \(ID stable-diffusion-v1-6\) was not found\.$/
    ],
    ['core', { size: '1792x1024' }, 'bad_request', 'aspect_ratio', /^aspect_ratio: invalid enum value\. .* received '7:4'$/],
    ['core', { provider_options: { cfg_scale: 5 } }, 'bad_request', 'cfg_scale', /^cfg_scale: is not allowed$/],
    ['core', { output_format: 'gif' }, 'bad_request', 'output_format', /^output_format: invalid enum value/],
    ['sd3.5-large', { output_format: 'webp' }, 'bad_request', 'output_format', /^output_format: invalid enum value/],
    ['sd3.5-huge', {}, 'bad_request', 'model', /^model: invalid enum value/],
    ['sd3.5-large-turbo', { negative_prompt: 'snow' }, 'bad_request', 'negative_prompt', /^negative_prompt: is not allowed$/],
    ['core', { prompt: 'x'.repeat(10_001) }, 'bad_request', 'prompt', /^prompt: cannot exceed 10,000 characters$/]
  ])('relays what Stability has against %s with %j', async (model, fields, code, param, message) => {
    const { provider } = await start()
    await expect(collect(provider.run(work({ prompt: 'a fox', ...fields }, model), attempt()))).rejects.toMatchObject({
      reason: 'PROVIDER_REJECTED',
      outcome: 'rejected',
      code,
      param,
      message: expect.stringMatching(message)
    })
  })

  test('with a refused key says so', async () => {
    const { provider } = await start({ apiKey: 'sk-another-key' })
    await expect(collect(provider.run(work({ prompt: 'a fox' }, 'core'), attempt()))).rejects.toMatchObject({
      reason: 'PROVIDER_KEY_REFUSED',
      message: 'the provider paint refused the configured key or its account: Incorrect API key provided'
    })
  })

  test('reads no more of an error than it can show', async () => {
    const { provider, fake } = await start({ answer: () => ({ status: 500, headers: {}, body: Buffer.alloc(20_000_000, 'x') }) })
    await expect(collect(provider.run(work({ prompt: 'a fox' }, 'core'), attempt()))).rejects.toMatchObject({
      message: `the provider paint failed: ${'x'.repeat(499)}…`
    })
    expect(await fake.requests[0]?.ended).toBe('abandoned')
  })

  test.each([
    ['[hang]', sdxl, 1],
    ['[hang-body]', sdxl, 1],
    ['[hang-body]', sdxl, 2],
    ['[hang-body]', 'core', 1]
  ])('stops the upstream call when its signal aborts: %s on %s, %d images', async (word, model, n) => {
    const { provider, fake } = await start()
    const caller = new AbortController()
    const run = provider.run({ ...work({ prompt: `a fox ${word}` }, model), n }, { ...attempt(), signal: caller.signal })
    const failure = expect(collect(run)).rejects.toMatchObject({ reason: 'CANCELLED', outcome: 'unknown' })
    await expect.poll(() => fake.requests.length).toBe(1)
    caller.abort()
    await failure
    expect(await fake.requests[0]?.ended).toBe('abandoned')
  })

  test('stops the upstream call when its events are left', async () => {
    const { provider, fake } = await start()
    for await (const event of provider.run(work({ prompt: 'a fox [hang-body]' }, 'core'), attempt())) {
      expect(event.kind).toBe('image')
      break
    }
    expect(await fake.requests[0]?.ended).toBe('abandoned')
  })

  test('stops the upstream call when an image is left', async () => {
    const { provider, fake } = await start()
    const events = provider.run(work({ prompt: 'a fox [hang-body]' }, 'core'), attempt())[Symbol.asyncIterator]()
    const { value } = await events.next()
    for await (const _ of value?.kind === 'image' && isImageBody(value.image) ? value.image.read('bytes') : []) break
    expect(await fake.requests[0]?.ended).toBe('abandoned')
    await events.return?.()
  })

  test('ends at its time limit', async () => {
    const { provider } = await start()
    const run = provider.run(work({ prompt: 'a fox [hang]' }, 'core'), { ...attempt(), timeoutMs: 50 })
    await expect(collect(run)).rejects.toMatchObject({ reason: 'DEADLINE_EXCEEDED', outcome: 'unknown' })
  })
})

describe('the fake Stability refuses', () => {
  const post = async (path: string, init: { headers: Record<string, string>; body?: string | FormData }) => {
    const fake = opened.use(await startFakeStability({ apiKey: 'sk-1' }))
    const response = await fetch(fake.url + path, { method: 'POST', ...init })
    return [response.status, await response.json()]
  }
  const authorization = 'Bearer sk-1'
  const form = new FormData()
  form.set('prompt', 'a fox')

  test.each([
    ['JSON where a form is due', { 'content-type': 'application/json' }, '{"prompt":"a fox"}', 'content-type: must be multipart/form-data'],
    ['a form that is none', { 'content-type': 'multipart/form-data; boundary=x' }, 'a fox', 'content-type: must be multipart/form-data'],
    ['an Accept of one format', { accept: 'image/png' }, form, 'accept: must be application/json or image/*']
  ])('v2beta: %s', async (_, headers, body, message) => {
    const [status, answer] = await post('/v2beta/stable-image/generate/core', {
      headers: { accept: 'image/*', authorization, ...headers },
      body
    })
    expect([status, answer]).toEqual([400, { id: expect.any(String), name: 'bad_request', errors: [message] }])
  })

  test('v1: a form where JSON is due', async () => {
    const [status, answer] = await post(`/v1/generation/${sdxl}/text-to-image`, { headers: { authorization }, body: form })
    expect([status, answer]).toMatchObject([400, { name: 'bad_request', message: 'content-type: must be application/json' }])
  })

  test('v1: several samples as one image', async () => {
    const body = JSON.stringify({ text_prompts: [{ text: 'a fox' }], width: 1024, height: 1024, samples: 2 })
    const headers = { authorization, accept: 'image/png', 'content-type': 'application/json' }
    const [status, answer] = await post(`/v1/generation/${sdxl}/text-to-image`, { headers, body })
    expect([status, answer]).toMatchObject([400, { name: 'invalid_samples' }])
  })

  test('a request without a key', async () => {
    const [status, answer] = await post('/v2beta/stable-image/generate/core', { headers: {}, body: form })
    expect([status, answer]).toMatchObject([401, { name: 'unauthorized', message: 'missing authorization header' }])
  })
})

function anImage() {
  return { status: 200, headers: { 'content-type': 'image/png' }, body: Buffer.from('\x89PNG') }
}

async function start(options: FakeStabilityOptions = {}, headers: Record<string, string> = {}) {
  const fake = opened.use(await startFakeStability(options))
  const client = opened.use(createUpstreamClient({ provider: 'paint', baseUrl: fake.url, maxConnections: 4 }))
  return { fake, provider: createStabilityProvider({ name: 'paint', baseUrl: fake.url, headers }, { client }) }
}

function work(fields: { prompt: string; [field: string]: unknown }, upstreamModel: string): Work {
  return { request: decodeMessage(GenerateImagesRequestSchema, fields as JsonObject).message, upstreamModel, n: 1 }
}

function attempt() {
  return { credential: 'sk-test-credential', signal: new AbortController().signal, timeoutMs: 10_000, log: createLog({ level: 'silent' }) }
}

const context = { provider: 'paint', n: 1, size: { width: 1024, height: 1024 }, warnings: [] }

function readArtifacts(chunks: (string | Uint8Array)[], n = 1) {
  return collect(fromWire({ headers: { 'content-type': 'application/json' }, body: chunkSource(chunks) }, { ...context, n }))
}

function leftOf({ taken, released }: ChunkSource) {
  return { taken, released }
}

/** The events with the bytes of their images. */
async function collect(events: AsyncIterable<ProviderEvent>) {
  const collected = []
  for await (const event of events) {
    if (event.kind !== 'image' || !isImageBody(event.image)) collected.push(event)
    else {
      const bytes = Buffer.from(await readWhole(event.image, 'bytes', 40_000_000))
      collected.push({ ...event, image: { mediaType: event.image.mediaType, bytes } })
    }
  }
  return collected
}

function imagesOf(events: Awaited<ReturnType<typeof collect>>): Buffer[] {
  return events.flatMap((event) => (event.kind === 'image' && 'bytes' in event.image ? [event.image.bytes] : []))
}

async function measured(events: Awaited<ReturnType<typeof collect>>) {
  const pictures = await Promise.all(imagesOf(events).map((bytes) => sharp(bytes).metadata()))
  return pictures.map(({ format, width, height }) => [format, width, height])
}

function textOf(body: ReturnType<typeof toWire>['body']): Promise<string> | string {
  return typeof body === 'string' ? body : collectChunks(body.bytes).then(String)
}
