import type { JsonObject } from '@bufbuild/protobuf'
import { afterEach, describe, expect, test } from 'vitest'
import { InputFidelity } from '../../gen/atelier/v1/image_pb.ts'
import { GenerateImagesRequestSchema } from '../../gen/atelier/v1/image_service_pb.ts'
import { decodeMessage } from '../../src/contract/json.ts'
import { imageFromBytes } from '../../src/images/image-body.ts'
import { createLog } from '../../src/log.ts'
import { createOpenAIProvider } from '../../src/providers/openai.ts'
import type { EditInputs, InputImage, Work } from '../../src/providers/provider.ts'
import { createUpstreamClient } from '../../src/upstream/client.ts'
import { type FakeOpenAIOptions, startFakeOpenAI } from '../support/fake-openai.ts'
import { editOf, inputImage, leftHalfMask, noisyImage, plainImage } from '../support/input-images.ts'
import { outlineOf, readEvents } from '../support/read-events.ts'
import { startUpstreamServer } from '../support/upstream-server.ts'

let opened = new AsyncDisposableStack()
afterEach(async () => {
  await opened.disposeAsync()
  opened = new AsyncDisposableStack()
})

describe('the request for an edit to an OpenAI-shaped upstream', () => {
  test('is a form of exactly these parts', async () => {
    const { provider, fake } = await start({ answer: anImage })
    const image = await plainImage('red')
    const mask = await leftHalfMask()
    const fields = { prompt: 'a hat\r\nfor "him"', size: '1024x1024', quality: 'low', output_format: 'webp', output_compression: 80 }
    const inputs = editOf([image], { mask, inputFidelity: InputFidelity.HIGH })
    await readEvents(provider.run(work({ ...fields, user: 'user-1' }, inputs), attempt()))
    const [{ method, path, headers, text } = unsent] = fake.requests
    expect([method, path]).toEqual(['POST', '/v1/images/edits'])
    const boundary = /^multipart\/form-data; boundary=(atelier-[0-9a-f]{32})$/.exec(headers['content-type'] ?? '')?.[1] ?? ''
    expect(headers['transfer-encoding']).toBeUndefined()
    const parts = text.split(`--${boundary}`).map((part) => part.split('\r\n\r\n', 1)[0]?.trim())
    expect(parts).toEqual([
      '',
      'content-disposition: form-data; name="model"',
      'content-disposition: form-data; name="prompt"',
      'content-disposition: form-data; name="quality"',
      'content-disposition: form-data; name="output_format"',
      'content-disposition: form-data; name="output_compression"',
      'content-disposition: form-data; name="user"',
      'content-disposition: form-data; name="size"',
      'content-disposition: form-data; name="n"',
      'content-disposition: form-data; name="input_fidelity"',
      'content-disposition: form-data; name="image"; filename="image-1.png"\r\ncontent-type: image/png',
      'content-disposition: form-data; name="mask"; filename="mask.png"\r\ncontent-type: image/png',
      '--'
    ])
  })

  test('holds every value and every file as it was given', async () => {
    const { provider, fake } = await start({ answer: anImage })
    const images = [await plainImage('red'), await plainImage('lime', 'jpeg'), await noisyImage(256)]
    const mask = await leftHalfMask()
    const fields = { prompt: 'a hat\r\nfor "him"', provider_options: { seed: 7, tags: ['a', 'b'], more: { deep: true, none: null } } }
    await readEvents(provider.run({ ...work(fields, editOf(images, { mask })), n: 2 }, attempt()))
    const [{ body, files } = unsent] = fake.requests
    expect(body).toEqual({
      model: 'gpt-image-1.5',
      prompt: 'a hat\r\nfor "him"',
      n: 2,
      seed: '7',
      'tags[]': 'b',
      'more[deep]': 'true'
    })
    expect(files.map(({ name, fileName, mediaType }) => [name, fileName, mediaType])).toEqual([
      ['image[]', 'image-1.png', 'image/png'],
      ['image[]', 'image-2.jpg', 'image/jpeg'],
      ['image[]', 'image-3.png', 'image/png'],
      ['mask', 'mask.png', 'image/png']
    ])
    expect(files.map(({ bytes }, index) => bytes.equals([...images, mask][index]?.bytes ?? Buffer.alloc(0)))).toEqual(Array(4).fill(true))
    expect([...images, mask].map(({ opened, reading }) => [opened, reading])).toEqual(Array(4).fill([1, 0]))
  })

  test('lets further parameters override no file and no field that the contract names', async () => {
    const { provider, fake } = await start({ answer: anImage })
    const provider_options = { image: 'x', 'image[]': 'x', mask: 'x', images: 'x', input_fidelity: 'high', prompt: 'a cat', n: 9 }
    await readEvents(provider.run(work({ prompt: 'a hat', provider_options }, editOf([await plainImage('red')])), attempt()))
    expect(fake.requests[0]?.body).toEqual({ model: 'gpt-image-1.5', prompt: 'a hat', n: 1 })
    expect(fake.requests[0]?.files.map(({ name }) => name)).toEqual(['image'])
  })

  test('streams where previews are asked for', async () => {
    const { provider, fake } = await start()
    const inputs = editOf([await plainImage('red')])
    const events = await readEvents(provider.run(work({ prompt: 'a hat', partial_images: 2 }, inputs), attempt()))
    expect(fake.requests[0]?.body).toMatchObject({ stream: true, partial_images: 2 })
    expect(outlineOf(events)).toEqual(['preview 0', 'preview 0', 'image 0', 'completed'])
  })

  test('can be made again of the same images', async () => {
    const { provider, fake } = await start()
    const image = await plainImage('red')
    for (let round = 0; round < 2; round++) await readEvents(provider.run(work({ prompt: 'a hat' }, editOf([image])), attempt()))
    expect([fake.requests.length, image.opened, image.reading]).toEqual([2, 2, 0])
  })
})

describe('an edit by the fake OpenAI', () => {
  test('gives images and counts the tokens of those that were sent', async () => {
    const { provider } = await start()
    const inputs = editOf([await plainImage('red', 'webp'), await plainImage('blue', 'jpeg', 128, 64)], {
      mask: await leftHalfMask()
    })
    const events = await readEvents(provider.run({ ...work({ prompt: 'a hat' }, inputs), n: 2 }, attempt()))
    expect(outlineOf(events)).toEqual(['image 0', 'image 1', 'completed'])
    expect(events.at(-1)).toMatchObject({ usage: { inputTokensDetails: { imageTokens: 65n + 129n + 65n + 258n } } })
  })

  const refused = { reason: 'PROVIDER_REJECTED', outcome: 'rejected' }
  test.each<[string, { model?: string; [field: string]: unknown }, () => Promise<EditInputs>, Record<string, unknown>]>([
    [
      'a file of another type',
      {},
      async () => editOf([{ ...(await plainImage('red')), mediaType: 'application/octet-stream' }]),
      {
        ...refused,
        param: 'image',
        code: 'unsupported_file_mimetype',
        message:
          "Invalid file 'image': unsupported mimetype ('application/octet-stream'). Supported file formats are 'image/jpeg', 'image/png', and 'image/webp'."
      }
    ],
    [
      'one of several files of another type',
      {},
      async () => editOf([await plainImage('red'), { ...(await plainImage('red')), mediaType: 'image/gif' }]),
      { ...refused, param: 'image[1]', code: 'unsupported_file_mimetype' }
    ],
    [
      'a file that is not what it says',
      {},
      async () => editOf([{ ...(await plainImage('red')), mediaType: 'image/webp' }]),
      { ...refused, code: 'invalid_image_file' }
    ],
    [
      'more images than it takes',
      {},
      async () => editOf(Array<InputImage>(17).fill(await plainImage('red'))),
      { ...refused, param: 'image', code: 'array_above_max_length' }
    ],
    [
      'a mask of another size',
      {},
      async () => editOf([await plainImage('red')], { mask: await leftHalfMask(32, 32) }),
      { ...refused, param: 'mask', message: 'Invalid mask image format - mask size does not match image size.' }
    ],
    [
      'a mask without transparency',
      {},
      async () => editOf([await plainImage('red')], { mask: await plainImage('black') }),
      { ...refused, param: 'mask', message: 'Invalid mask image format - mask image missing alpha channel.' }
    ],
    [
      'a fidelity that the model has not',
      { model: 'gpt-image-2' },
      async () => editOf([await plainImage('red')], { inputFidelity: InputFidelity.HIGH }),
      { ...refused, param: 'input_fidelity' }
    ],
    [
      'a refused prompt',
      { prompt: 'a hat [moderated]' },
      async () => editOf([await plainImage('red')]),
      { reason: 'CONTENT_POLICY_VIOLATION' }
    ],
    [
      'too many calls',
      { prompt: 'a hat [rate-limit]' },
      async () => editOf([await plainImage('red')]),
      { reason: 'PROVIDER_RATE_LIMITED' }
    ],
    ['a broken answer', { prompt: 'a hat [truncated]' }, async () => editOf([await plainImage('red')]), { reason: 'OUTCOME_UNKNOWN' }],
    [
      'a stream that breaks',
      { prompt: 'a hat [stream-error]', partial_images: 1 },
      async () => editOf([await plainImage('red')]),
      { reason: 'PROVIDER_FAILED', outcome: 'unknown' }
    ]
  ])('says what is wrong: %s', async (_, fields, inputs, expected) => {
    const { provider } = await start()
    const run = provider.run(work({ prompt: 'a hat', ...fields }, await inputs()), attempt())
    await expect(readEvents(run)).rejects.toMatchObject(expected)
  })
})

describe('the images of an edit on their way', () => {
  test('are let go of when the call is cancelled', async () => {
    const caller = new AbortController()
    const server = opened.use(
      await startUpstreamServer((request) => void request.on('error', () => undefined).once('data', () => caller.abort()))
    )
    const images = [await noisyImage(1024), await noisyImage(1024), await plainImage('red')]
    const run = connect(`${server.origin}/v1`).run(work({ prompt: 'a hat' }, editOf(images)), { ...attempt(), signal: caller.signal })
    await expect(readEvents(run)).rejects.toMatchObject({ reason: 'CANCELLED', outcome: 'unknown' })
    await expect.poll(() => images.map(({ reading }) => reading)).toEqual([0, 0, 0])
    await server.closed()
    expect(server.paths).toEqual(['/v1/images/edits'])
  })

  test('that break off are the error of the call', async () => {
    const { provider } = await start()
    const image = await noisyImage(512)
    const cut = { ...image, open: () => imageFromBytes(halfOf(image.bytes), image.mediaType) }
    await expect(readEvents(provider.run(work({ prompt: 'a hat' }, editOf([cut])), attempt()))).rejects.toMatchObject({
      reason: 'INTERNAL',
      outcome: 'unknown',
      cause: { message: 'the file is gone' }
    })
  })

  test('give way to a refusal that comes before their end', async () => {
    const server = opened.use(
      await startUpstreamServer((request, response) => {
        request.on('error', () => undefined)
        response.writeHead(413, { 'content-type': 'application/json' }).end('{"error":{"message":"too large"}}')
      })
    )
    const images = Array<InputImage>(16).fill(await noisyImage(2048))
    const run = connect(`${server.origin}/v1`).run(work({ prompt: 'a hat' }, editOf(images)), attempt())
    await expect(readEvents(run)).rejects.toMatchObject({ reason: 'PROVIDER_REJECTED', outcome: 'rejected' })
  })

  test('are read no faster than they are sent: 16 of 50 MB', async () => {
    let taken = 0
    let received = 0
    let ahead = 0
    async function* file(): AsyncGenerator<Uint8Array, void, undefined> {
      for (let at = 0; at < sizeBytes; at += piece.length) {
        const chunk = piece.subarray(0, Math.min(piece.length, sizeBytes - at))
        taken += chunk.length
        ahead = Math.max(ahead, taken - received)
        yield chunk
      }
    }
    const server = opened.use(
      await startUpstreamServer((request, response) => {
        request.on('data', (chunk: Buffer) => {
          received += chunk.length
        })
        request.once('end', () => response.writeHead(200, { 'content-type': 'application/json' }).end('{"data":[{"b64_json":"AAAA"}]}'))
      })
    )
    const sizeBytes = 50_000_000
    const piece = Buffer.alloc(65_536, 'image')
    const small = await inputImage((await plainImage('red')).bytes, 'image/png')
    const large = { ...small, sizeBytes, open: () => imageFromBytes(file(), 'image/png') }
    const run = connect(`${server.origin}/v1`).run(work({ prompt: 'a hat' }, editOf(Array<InputImage>(16).fill(large))), {
      ...attempt(),
      timeoutMs: 60_000
    })
    await readEvents(run)
    expect(received).toBeGreaterThan(16 * sizeBytes)
    expect(ahead).toBeLessThan(20_000_000)
  }, 60_000)
})

const unsent = { method: '', path: '', headers: {} as Record<string, string | undefined>, text: '', body: undefined, files: [] }

async function start(options: FakeOpenAIOptions = {}) {
  const fake = opened.use(await startFakeOpenAI(options))
  return { fake, provider: connect(fake.url) }
}

function connect(baseUrl: string) {
  const client = opened.use(createUpstreamClient({ provider: 'paint', baseUrl, maxConnections: 4 }))
  return createOpenAIProvider({ name: 'paint', baseUrl, headers: {} }, { client })
}

function work({ model = 'gpt-image-1.5', ...fields }: { model?: string; [field: string]: unknown }, inputs: EditInputs): Work {
  return { request: decodeMessage(GenerateImagesRequestSchema, fields as JsonObject).message, upstreamModel: model, n: 1, inputs }
}

function attempt() {
  return { credential: 'sk-test-credential', signal: new AbortController().signal, timeoutMs: 10_000, log: createLog({ level: 'silent' }) }
}

function anImage() {
  return { status: 200, headers: { 'content-type': 'application/json' }, body: Buffer.from('{"data":[{"b64_json":"AAAA"}]}') }
}

async function* halfOf(bytes: Buffer): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes.subarray(0, bytes.length / 2)
  throw new Error('the file is gone')
}
