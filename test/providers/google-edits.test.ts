import type { JsonObject } from '@bufbuild/protobuf'
import { afterEach, describe, expect, test } from 'vitest'
import { GenerateImagesRequestSchema } from '../../gen/atelier/v1/image_service_pb.ts'
import { decodeMessage } from '../../src/contract/json.ts'
import { createLog } from '../../src/log.ts'
import { createGoogleProvider } from '../../src/providers/google.ts'
import type { EditInputs, InputImage, Work } from '../../src/providers/provider.ts'
import { createUpstreamClient } from '../../src/upstream/client.ts'
import { startFakeGoogle } from '../support/fake-google.ts'
import { editOf, leftHalfMask, noisyImage, plainImage } from '../support/input-images.ts'
import { outlineOf, readEvents } from '../support/read-events.ts'
import { startUpstreamServer } from '../support/upstream-server.ts'

let opened = new AsyncDisposableStack()
afterEach(async () => {
  await opened.disposeAsync()
  opened = new AsyncDisposableStack()
})

describe('an edit by the Gemini API', () => {
  test('is asked for with the images behind the prompt, as base64, in one body of the announced length', async () => {
    const { provider, fake } = await start()
    const images = [await plainImage('red'), await plainImage('lime', 'jpeg'), await noisyImage(200), await plainImage('blue', 'webp')]
    const events = await readEvents(provider.run(work({ prompt: 'put "them" together', size: '16:9', seed: 7 }, editOf(images)), attempt()))
    expect(outlineOf(events)).toEqual(['image 0', 'completed'])
    const [{ body, headers, sizeBytes } = unsent] = fake.requests
    expect(body).toEqual({
      contents: [
        {
          role: 'user',
          parts: [
            { text: 'put "them" together' },
            ...images.map(({ bytes, mediaType }) => ({ inlineData: { mimeType: mediaType, data: bytes.toString('base64') } }))
          ]
        }
      ],
      generationConfig: { responseModalities: ['IMAGE'], imageConfig: { aspectRatio: '16:9' }, seed: 7 }
    })
    expect([headers['content-length'], headers['content-type'], headers['transfer-encoding']]).toEqual([
      String(sizeBytes),
      'application/json',
      undefined
    ])
    expect(images.map(({ opened, reading }) => [opened, reading])).toEqual(Array(4).fill([1, 0]))
  })

  test('counts the tokens of the images', async () => {
    const { provider } = await start()
    const inputs = editOf([await plainImage('red'), await plainImage('blue')])
    const events = await readEvents(provider.run(work({ prompt: 'a hat' }, inputs), attempt()))
    expect(events.at(-1)).toMatchObject({ usage: { inputTokens: 518n, inputTokensDetails: { imageTokens: 516n, textTokens: 2n } } })
  })

  test('is not asked for with a mask, which the vendor does not know', async () => {
    const { provider, fake } = await start()
    const inputs = editOf([await plainImage('red')], { mask: await leftHalfMask() })
    await expect(readEvents(provider.run(work({ prompt: 'a hat' }, inputs), attempt()))).rejects.toMatchObject({
      reason: 'INVALID_PARAMETER',
      param: 'mask',
      outcome: 'not_sent'
    })
    expect(fake.requests).toEqual([])
  })

  test.each<[string, string, () => Promise<InputImage[]>, string]>([
    [
      'more images than the model takes',
      'gemini-2.5-flash-image',
      async () => Array(4).fill(await plainImage('red')),
      'Please use at most 3 images for this model.'
    ],
    [
      'an image of another type',
      'gemini-3-pro-image',
      async () => [{ ...(await plainImage('red')), mediaType: 'image/gif' }],
      'Unsupported MIME type: image/gif'
    ],
    [
      'more than 20 MB',
      'gemini-3-pro-image',
      async () => Array(3).fill(await noisyImage(1400)),
      'Request payload size exceeds the limit: 20971520 bytes.'
    ]
  ])('relays what the vendor has against %s', async (_, model, images, message) => {
    const { provider } = await start()
    const run = provider.run({ ...work({ prompt: 'a hat' }, editOf(await images())), upstreamModel: model }, attempt())
    await expect(readEvents(run)).rejects.toMatchObject({ reason: 'PROVIDER_REJECTED', outcome: 'rejected', message })
  })

  test.each([
    ['[withheld]', { reason: 'CONTENT_POLICY_VIOLATION' }],
    ['[rate-limit]', { reason: 'PROVIDER_RATE_LIMITED', retryAfterMs: expect.any(Number) }],
    ['[truncated]', { reason: 'OUTCOME_UNKNOWN' }]
  ])('fails as a generation does: %s', async (word, expected) => {
    const { provider } = await start()
    const run = provider.run(work({ prompt: `a hat ${word}` }, editOf([await plainImage('red')])), attempt())
    await expect(readEvents(run)).rejects.toMatchObject(expected)
  })

  test('lets go of its images when it is cancelled on the way', async () => {
    const caller = new AbortController()
    const server = opened.use(
      await startUpstreamServer((request) => void request.on('error', () => undefined).once('data', () => caller.abort()))
    )
    const images = [await noisyImage(1024), await noisyImage(1024)]
    const run = connect(`${server.origin}/v1beta`).run(work({ prompt: 'a hat' }, editOf(images)), { ...attempt(), signal: caller.signal })
    await expect(readEvents(run)).rejects.toMatchObject({ reason: 'CANCELLED', outcome: 'unknown' })
    await expect.poll(() => images.map(({ reading }) => reading)).toEqual([0, 0])
    await server.closed()
  })
})

const unsent = { body: {}, headers: {} as Record<string, string | undefined>, sizeBytes: 0 }

async function start() {
  const fake = opened.use(await startFakeGoogle())
  return { fake, provider: connect(fake.url) }
}

function connect(baseUrl: string) {
  const client = opened.use(createUpstreamClient({ provider: 'google', baseUrl, maxConnections: 4 }))
  return createGoogleProvider({ name: 'google', baseUrl, headers: {} }, { client })
}

function work(fields: JsonObject, inputs: EditInputs): Work {
  return { request: decodeMessage(GenerateImagesRequestSchema, fields).message, upstreamModel: 'gemini-3-pro-image', n: 1, inputs }
}

function attempt() {
  return { credential: 'quiet-credential', signal: new AbortController().signal, timeoutMs: 10_000, log: createLog({ level: 'silent' }) }
}
