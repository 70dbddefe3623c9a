import type { JsonObject } from '@bufbuild/protobuf'
import { afterEach, describe, expect, test } from 'vitest'
import { InputFidelity, WarningKindSchema } from '../../gen/atelier/v1/image_pb.ts'
import { GenerateImagesRequestSchema } from '../../gen/atelier/v1/image_service_pb.ts'
import { decodeMessage } from '../../src/contract/json.ts'
import { wireName } from '../../src/contract/wire-names.ts'
import { imageFromBytes } from '../../src/images/image-body.ts'
import { createLog } from '../../src/log.ts'
import type { EditInputs, InputImage, Work } from '../../src/providers/provider.ts'
import { createStabilityProvider } from '../../src/providers/stability.ts'
import { createUpstreamClient } from '../../src/upstream/client.ts'
import { startFakeStability } from '../support/fake-stability.ts'
import { editOf, leftHalfMask, noisyImage, plainImage, type TrackedImage } from '../support/input-images.ts'
import { pixelAt } from '../support/pictures.ts'
import { outlineOf, readEvents } from '../support/read-events.ts'
import { startUpstreamServer } from '../support/upstream-server.ts'

let opened = new AsyncDisposableStack()
afterEach(async () => {
  await opened.disposeAsync()
  opened = new AsyncDisposableStack()
})

const sdxl = 'stable-diffusion-xl-1024-v1-0'

describe('the request for an edit to Stability', () => {
  test.each<[string, string, string, JsonObject, JsonObject]>([
    [
      'the SD3 family, image to image',
      'sd3.5-large',
      '/v2beta/stable-image/generate/sd3',
      { negative_prompt: 'rain', seed: 7, output_format: 'jpeg', provider_options: { cfg_scale: 4 } },
      {
        cfg_scale: '4',
        prompt: 'a hat',
        negative_prompt: 'rain',
        seed: '7',
        output_format: 'jpeg',
        strength: '0.65',
        mode: 'image-to-image',
        model: 'sd3.5-large',
        image: 'image.png'
      }
    ],
    [
      'ultra with a strength of its own',
      'ultra',
      '/v2beta/stable-image/generate/ultra',
      { provider_options: { strength: 0.2, style_preset: 'anime' } },
      { strength: '0.2', style_preset: 'anime', prompt: 'a hat', image: 'image.png' }
    ],
    [
      'inpaint without a mask',
      'inpaint',
      '/v2beta/stable-image/edit/inpaint',
      { provider_options: { grow_mask: 3 } },
      { grow_mask: '3', prompt: 'a hat', image: 'image.png' }
    ],
    [
      'a v1 engine',
      sdxl,
      `/v1/generation/${sdxl}/image-to-image`,
      { negative_prompt: 'rain', seed: 7, provider_options: { steps: 20, image_strength: 0.5 } },
      {
        steps: '20',
        'text_prompts[0][text]': 'a hat',
        'text_prompts[0][weight]': '1',
        'text_prompts[1][text]': 'rain',
        'text_prompts[1][weight]': '-1',
        init_image_mode: 'IMAGE_STRENGTH',
        image_strength: '0.5',
        samples: '1',
        seed: '7',
        init_image: 'init_image.png'
      }
    ]
  ])('is exactly that of %s', async (_, model, path, fields, body) => {
    const { provider, fake } = await start()
    const image = await plainImage('red', 'png', 1024, 1024)
    const events = await readEvents(provider.run(work({ prompt: 'a hat', ...fields }, model, editOf([image])), attempt()))
    expect(outlineOf(events).filter((line) => line !== 'image_details 0')).toEqual(['image 0', 'completed'])
    expect(fake.requests.map((request) => [request.path, request.body])).toEqual([[path, body]])
    const [{ headers, files, text } = unsent] = fake.requests
    expect([headers['transfer-encoding'], headers['content-type']]).toEqual([
      undefined,
      expect.stringMatching(/^multipart\/form-data; boundary=atelier-[0-9a-f]{32}$/)
    ])
    expect(Object.values(files).map((bytes) => bytes.equals(image.bytes))).toEqual([true])
    expect(text).toContain('content-type: image/png')
    expect(warningsOf(events)).toEqual([])
  })

  test.each([
    ['inpaint', 'mask', {}],
    [sdxl, 'mask_image', { mask_source: 'MASK_IMAGE_WHITE' }]
  ])('of %s says by brightness what the mask says by opacity: only the transparent half is painted over', async (model, name, fields) => {
    const { provider, fake } = await start()
    const image = await plainImage('red', 'png', 1024, 1024)
    const mask = await leftHalfMask(1024, 1024)
    const events = await readEvents(provider.run(work({ prompt: 'a hat' }, model, editOf([image], { mask })), attempt()))
    expect(fake.requests[0]?.body).toMatchObject(fields)
    const sent = fake.requests[0]?.files[name] ?? Buffer.alloc(0)
    expect([await pixelAt(sent, 100, 500), await pixelAt(sent, 900, 500)]).toEqual([
      [255, 255, 255],
      [0, 0, 0]
    ])
    const made = events.flatMap((event) => (event.kind === 'image' && event.image.bytes ? [event.image.bytes] : []))[0] ?? Buffer.alloc(0)
    expect(await pixelAt(made, 900, 500)).toEqual([255, 0, 0])
    expect(await pixelAt(made, 100, 500)).not.toEqual([255, 0, 0])
    expect([mask.reading, image.reading]).toEqual([0, 0])
  })

  test('makes several of one image by a v1 engine', async () => {
    const { provider } = await start()
    const inputs = editOf([await plainImage('red', 'png', 1024, 1024)])
    const events = await readEvents(provider.run({ ...work({ prompt: 'a hat [filtered]' }, sdxl, inputs), n: 3 }, attempt()))
    expect(outlineOf(events).filter((line) => !line.startsWith('image_details'))).toEqual(['no_image 0', 'image 1', 'image 2', 'completed'])
  })

  test.each([
    ['sd3.5-large', InputFidelity.HIGH, 'strength', '0.35', 'converted input_fidelity: high became the strength 0.35'],
    ['ultra', InputFidelity.LOW, 'strength', '0.75', 'converted input_fidelity: low became the strength 0.75'],
    [sdxl, InputFidelity.HIGH, 'image_strength', '0.65', 'converted input_fidelity: high became the image_strength 0.65'],
    [
      'inpaint',
      InputFidelity.HIGH,
      'strength',
      undefined,
      'ignored input_fidelity: how far the result may leave the image is said otherwise in this call'
    ]
  ])('says how closely to keep to the image as a strength: %s', async (model, inputFidelity, option, strength, warning) => {
    const { provider, fake } = await start()
    const inputs = editOf([await plainImage('red', 'png', 1024, 1024)], { inputFidelity })
    const events = await readEvents(provider.run(work({ prompt: 'a hat' }, model, inputs), attempt()))
    expect(fake.requests[0]?.body?.[option]).toBe(strength)
    expect(warningsOf(events)).toEqual([warning])
  })

  test('warns of a shape that is not the image’s, and of no other', async () => {
    const { provider } = await start()
    const inputs = editOf([await plainImage('red', 'png', 640, 360)])
    const wide = await readEvents(provider.run(work({ prompt: 'a hat', size: '16:9' }, 'ultra', inputs), attempt()))
    expect(warningsOf(wide)).toEqual([])
    const square = await readEvents(provider.run(work({ prompt: 'a hat', size: '1:1' }, 'ultra', inputs), attempt()))
    expect(warningsOf(square)).toEqual(['ignored size: an edit by ultra has the shape of its image, 640x360'])
  })

  test.each<[string, string, JsonObject, number, () => Promise<EditInputs>, string]>([
    ['two images', 'ultra', {}, 1, async () => editOf([await plainImage('red'), await plainImage('blue')]), 'image'],
    ['a model that cannot edit', 'core', {}, 1, async () => editOf([await plainImage('red')]), 'model'],
    [
      'a mask for a model that takes none',
      'ultra',
      {},
      1,
      async () => editOf([await plainImage('red')], { mask: await leftHalfMask() }),
      'mask'
    ],
    [
      'a mask that cannot be read',
      'inpaint',
      {},
      1,
      async () => editOf([await plainImage('red')], { mask: cutShort(await leftHalfMask(512, 512)) }),
      'mask'
    ],
    [
      'a mask beyond what the vendor takes',
      'inpaint',
      {},
      1,
      async () => editOf([await plainImage('red')], { mask: { ...(await leftHalfMask()), sizeBytes: 10_485_761 } }),
      'mask'
    ],
    ['several images of one call', 'ultra', {}, 2, async () => editOf([await plainImage('red')]), 'n'],
    ['another shape under strict', 'ultra', { size: '16:9', strict: true }, 1, async () => editOf([await plainImage('red')]), 'size']
  ])('is never sent with %s', async (_, model, fields, n, inputs, param) => {
    const { provider, fake } = await start()
    const run = provider.run({ ...work({ prompt: 'a hat', ...fields }, model, await inputs()), n }, attempt())
    await expect(readEvents(run)).rejects.toMatchObject({ reason: 'INVALID_PARAMETER', param, outcome: 'not_sent' })
    expect(fake.requests).toEqual([])
  })

  test('is not made by inpaint without an image', async () => {
    const { provider, fake } = await start()
    await expect(readEvents(provider.run(work({ prompt: 'a hat' }, 'inpaint'), attempt()))).rejects.toMatchObject({
      reason: 'INVALID_PARAMETER',
      param: 'model',
      outcome: 'not_sent'
    })
    expect(fake.requests).toEqual([])
  })

  test.each([
    ['ultra', 'strength'],
    [sdxl, 'image_strength']
  ])('without an image leaves the strength out, and warns: %s', async (model, option) => {
    const { provider, fake } = await start()
    const events = await readEvents(provider.run(work({ prompt: 'a hat', provider_options: { [option]: 0.5 } }, model), attempt()))
    expect(fake.requests[0]?.body?.[option]).toBeUndefined()
    expect(warningsOf(events)).toEqual([`ignored ${option}: it is about an image to work on, and none is given`])
  })
})

describe('an edit by Stability', () => {
  const rejected = { reason: 'PROVIDER_REJECTED', outcome: 'rejected' }
  test.each<[string, string, string, () => Promise<EditInputs>, Record<string, unknown>]>([
    ['a refused image', 'inpaint', '[moderated]', async () => editOf([await plainImage('red')]), { reason: 'CONTENT_POLICY_VIOLATION' }],
    ['a withheld result', 'ultra', '[filtered]', async () => editOf([await plainImage('red')]), { reason: 'CONTENT_POLICY_VIOLATION' }],
    ['too many calls', 'sd3.5-large', '[rate-limit]', async () => editOf([await plainImage('red')]), { reason: 'PROVIDER_RATE_LIMITED' }],
    [
      'an image of another size than the engine works on',
      sdxl,
      '',
      async () => editOf([await plainImage('red')]),
      { ...rejected, code: 'invalid_sdxl_v1_dimensions' }
    ],
    [
      'an image that is too small',
      'ultra',
      '',
      async () => editOf([await plainImage('red', 'png', 32, 32)]),
      { ...rejected, param: 'image' }
    ],
    ['more than 10 MiB', 'ultra', '', async () => editOf([await noisyImage(1900)]), { ...rejected, code: 'payload_too_large' }]
  ])('says what is wrong: %s', async (_, model, word, inputs, expected) => {
    const { provider } = await start()
    const run = provider.run(work({ prompt: `a hat ${word}` }, model, await inputs()), attempt())
    await expect(readEvents(run)).rejects.toMatchObject(expected)
  })

  test('lets go of its image when it is cancelled on the way', async () => {
    const caller = new AbortController()
    const server = opened.use(
      await startUpstreamServer((request) => void request.on('error', () => undefined).once('data', () => caller.abort()))
    )
    const image = await noisyImage(1500)
    const run = connect(server.origin).run(work({ prompt: 'a hat' }, 'ultra', editOf([image])), { ...attempt(), signal: caller.signal })
    await expect(readEvents(run)).rejects.toMatchObject({ reason: 'CANCELLED', outcome: 'unknown' })
    await expect.poll(() => image.reading).toBe(0)
    await server.closed()
  })
})

const unsent = { headers: {} as Record<string, string | undefined>, files: {} as Record<string, Buffer>, text: '' }

async function start() {
  const fake = opened.use(await startFakeStability())
  return { fake, provider: connect(fake.url) }
}

function connect(baseUrl: string) {
  const client = opened.use(createUpstreamClient({ provider: 'stability', baseUrl, maxConnections: 4 }))
  return createStabilityProvider({ name: 'stability', baseUrl, headers: {} }, { client })
}

function work(fields: JsonObject, upstreamModel: string, inputs?: EditInputs): Work {
  return { request: decodeMessage(GenerateImagesRequestSchema, fields).message, upstreamModel, n: 1, ...(inputs && { inputs }) }
}

function attempt() {
  return { credential: 'sk-test-credential', signal: new AbortController().signal, timeoutMs: 10_000, log: createLog({ level: 'silent' }) }
}

/** As in "ignored size: …". */
function warningsOf(events: Awaited<ReturnType<typeof readEvents>>): string[] {
  const last = events.at(-1)
  return (last?.kind === 'completed' ? (last.warnings ?? []) : []).map(
    ({ kind, param, message }) => `${wireName(WarningKindSchema, kind)} ${param}: ${message}`
  )
}

/** A PNG that ends behind its header. */
function cutShort({ bytes, ...mask }: TrackedImage): InputImage {
  return { ...mask, open: () => imageFromBytes(bytes.subarray(0, 60), 'image/png') }
}
