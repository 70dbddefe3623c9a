import { randomUUID } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { MessageInitShape } from '@bufbuild/protobuf'
import { Code, ConnectError, createClient } from '@connectrpc/connect'
import { createConnectTransport, createGrpcTransport } from '@connectrpc/connect-node'
import sharp from 'sharp'
import { afterAll, describe, expect, test } from 'vitest'
import { InputFidelity, ResponseFormat, WarningKind } from '../../gen/atelier/v1/image_pb.ts'
import {
  type EditImagesRequestSchema,
  type GenerateImagesRequestSchema,
  ImageService,
  type StreamEditImagesResponse
} from '../../gen/atelier/v1/image_service_pb.ts'
import { ErrorInfoSchema } from '../../gen/google/rpc/error_details_pb.ts'
import { startAtelier } from '../support/atelier.ts'
import { noise, pixelAt } from '../support/pictures.ts'

const pictures = createServer((request, response) => {
  const file = served.get(request.url ?? '')
  if (request.url === '/redirect-inside') response.writeHead(302, { location: 'http://169.254.169.254/latest/meta-data' }).end()
  else if (file) response.end(file)
  else response.writeHead(404).end()
})
const served = new Map<string, Buffer>()
await new Promise<void>((resolve) => pictures.listen(0, '127.0.0.1', resolve))
const pictureHost = `127.0.0.1:${(pictures.address() as AddressInfo).port}`

const atelier = await startAtelier({ settings: { egressAllow: [pictureHost] } })
afterAll(async () => {
  await atelier[Symbol.asyncDispose]()
  await new Promise((resolve) => pictures.close(resolve))
})

const headers = { authorization: `Bearer ${atelier.apiKey}` }
const grpc = createClient(ImageService, createGrpcTransport({ baseUrl: atelier.url }))
const connect = createClient(ImageService, createConnectTransport({ baseUrl: atelier.url, httpVersion: '1.1' }))
const protocols = [
  ['gRPC', grpc],
  ['Connect', connect]
] as const

type Parameters = MessageInitShape<typeof GenerateImagesRequestSchema>
type Edit = MessageInitShape<typeof EditImagesRequestSchema>

const sketch: Parameters = {
  prompt: 'a hat',
  modelSelector: { case: 'modelName', value: 'sketch' },
  responseFormat: ResponseFormat.B64_JSON
}
const redSquare = sharp({ create: { width: 128, height: 128, channels: 3, background: '#ff0000' } })
  .png()
  .toBuffer()
const halfMask = sharp({ create: { width: 128, height: 128, channels: 4, background: '#00000000' } })
  .composite([{ input: { create: { width: 64, height: 128, channels: 4, background: '#000000ff' } }, left: 64, top: 0 }])
  .png()
  .toBuffer()

describe.each(protocols)('over %s', (_, images) => {
  test('edits an image inside a mask', async () => {
    const request: Edit = {
      parameters: sketch,
      images: [{ source: { case: 'data', value: await redSquare } }],
      mask: { source: { case: 'data', value: await halfMask } }
    }
    const { result } = await images.editImages(request, { headers })
    expect(result).toMatchObject({ provider: 'sketch', model: 'sketch', warnings: [] })
    const edited = dataOf(result?.images[0]?.content)
    expect(await sharp(edited).metadata()).toMatchObject({ width: 128, height: 128 })
    expect(await pixelAt(edited, 120, 64)).toEqual([255, 0, 0])
    expect(await pixelAt(edited, 20, 64)).not.toEqual([255, 0, 0])
    await expect.poll(uploads).toEqual([])
  })

  test('streams an edit with its partial images', async () => {
    const request: Edit = { parameters: { ...sketch, partialImages: 2 }, images: [{ source: { case: 'data', value: await redSquare } }] }
    const events = await Array.fromAsync(images.streamEditImages({ request }, { headers }))
    expect(kindsOf(events)).toEqual(['accepted', 'preview 0', 'preview 1', 'chunk', 'image', 'completed'])
    await expect.poll(uploads).toEqual([])
  })

  test('takes an upload in parts and edits it by its id', async () => {
    const file = await noise(1000, 1000).png({ compressionLevel: 0 }).toBuffer()
    const uploaded = await images.uploadImage(inParts(file, 1_000_000), { headers })
    expect(uploaded).toMatchObject({ mediaType: 'image/png', sizeBytes: BigInt(file.length), dimensions: { width: 1000, height: 1000 } })
    expect(Number(uploaded.expiresAt) - Date.now() / 1000).toBeGreaterThan(3500)
    const source = { case: 'imageId', value: uploaded.imageId } as const
    const { result } = await images.editImages({ parameters: sketch, images: [{ source }] }, { headers })
    expect(await sharp(dataOf(result?.images[0]?.content)).metadata()).toMatchObject({ width: 1000, height: 1000 })
    await expect.poll(uploads).toEqual([])
  })
})

test('edits an earlier result by the id in its link', async () => {
  const made = await grpc.generateImages({ ...sketch, responseFormat: ResponseFormat.URL, sizeSelector: sized(200, 100) }, { headers })
  const link = made.images[0]?.content
  const imageId = /\/images\/([0-9A-Za-z]+)\//.exec(link?.case === 'url' ? link.value : '')?.[1] ?? ''
  const { result } = await grpc.editImages({ parameters: sketch, images: [{ source: { case: 'imageId', value: imageId } }] }, { headers })
  expect(await sharp(dataOf(result?.images[0]?.content)).metadata()).toMatchObject({ width: 200, height: 100 })
})

test('fetches images behind URLs, and takes data URLs', async () => {
  served.set('/red.png', await redSquare)
  const dataUrl = `data:image/png;base64,${(await halfMask).toString('base64')}`
  const request: Edit = {
    parameters: sketch,
    images: [{ source: { case: 'url', value: `http://${pictureHost}/red.png` } }],
    mask: { source: { case: 'url', value: dataUrl } }
  }
  const { result } = await connect.editImages(request, { headers })
  expect(await pixelAt(dataOf(result?.images[0]?.content), 120, 64)).toEqual([255, 0, 0])
  await expect.poll(uploads).toEqual([])
})

test('makes several images of one edit, each different', async () => {
  const request: Edit = { parameters: { ...sketch, n: 3 }, images: [{ source: { case: 'data', value: await redSquare } }] }
  const { result } = await grpc.editImages(request, { headers })
  const files = (result?.images ?? []).map(({ content }) => dataOf(content).toString('base64'))
  expect([files.length, new Set(files).size]).toEqual([3, 3])
})

test('makes variations by an edit, and says so', async () => {
  const image = { source: { case: 'data', value: await redSquare } } as const
  const { result } = await connect.createVariations({ image, parameters: { ...sketch, prompt: '', n: 2 } }, { headers })
  expect(result?.images.map(({ content }) => content.case)).toEqual(['data', 'data'])
  expect(result?.warnings).toMatchObject([{ kind: WarningKind.EMULATED, param: 'image' }])
  const unnamed = await connect.createVariations({ image }, { headers })
  expect(unnamed.result?.warnings.map(({ kind }) => kind)).toEqual([WarningKind.SUBSTITUTED, WarningKind.EMULATED])
  await expect.poll(uploads).toEqual([])
})

test('warns of an input_fidelity that the model does not know', async () => {
  const images: Edit['images'] = [{ source: { case: 'data', value: await redSquare } }]
  const { result } = await grpc.editImages({ parameters: sketch, images, inputFidelity: InputFidelity.HIGH }, { headers })
  expect(result?.warnings).toMatchObject([{ kind: WarningKind.IGNORED, param: 'input_fidelity' }])
})

describe('an image of another organization', () => {
  test('is not there, in the same words as one that never was', async () => {
    const { imageId } = await grpc.uploadImage(inParts(await redSquare, 1000), { headers })
    const edit = (value: string) => grpc.editImages({ parameters: sketch, images: [{ source: { case: 'imageId', value } }] }, { headers })
    await expect(edit(imageId)).resolves.toMatchObject({ result: { provider: 'sketch' } })
    using database = new DatabaseSync(join(atelier.dataDir, 'atelier.db'))
    database.exec("insert into organizations (id, name, created_at_ms) values ('another', 'another', 0)")
    database.prepare('update blobs set organization_id = ? where id = ?').run('another', imageId)
    const refusals = await Promise.all([imageId, 'A'.repeat(22), '../../etc/passwd'].map((id) => refusalOf(edit(id))))
    const notThere = { code: Code.NotFound, reason: 'IMAGE_NOT_FOUND', message: 'there is no such image, or its link has expired' }
    expect(refusals).toEqual([notThere, notThere, notThere])
  })
})

describe('refuses', () => {
  const edit = (request: Edit) => grpc.editImages({ parameters: sketch, ...request } as Edit, { headers })
  const fromUrl = (value: string) => edit({ images: [{ source: { case: 'url', value } }] })

  test.each([
    ['loopback', 'http://127.0.0.1/a.png', 'images[0].url: 127.0.0.1 is not a public host'],
    ['another port of an allowed host', 'http://127.0.0.1:1/a.png', 'images[0].url: the port of 127.0.0.1:1 is not allowed'],
    ['IPv6 loopback', 'http://[::1]/a.png', 'images[0].url: [::1] is not a public host'],
    ['loopback as a number', 'http://2130706433/a.png', 'images[0].url: 127.0.0.1 is not a public host'],
    ['IPv4 in IPv6', 'http://[::ffff:127.0.0.1]/a.png', 'images[0].url: [::ffff:7f00:1] is not a public host'],
    ['NAT64', 'http://[64:ff9b::7f00:1]/a.png', 'images[0].url: [64:ff9b::7f00:1] is not a public host'],
    ['the metadata service', 'http://169.254.169.254/latest/meta-data', 'images[0].url: 169.254.169.254 is not a public host'],
    ['Azure’s inside', 'http://168.63.129.16/', 'images[0].url: 168.63.129.16 is not a public host'],
    ['shared address space', 'http://100.64.0.1/', 'images[0].url: 100.64.0.1 is not a public host'],
    ['a private network', 'https://10.0.0.1/', 'images[0].url: 10.0.0.1 is not a public host'],
    ['a file', 'file:///etc/passwd', 'images[0].url: the url is not http or https but file:'],
    ['gopher', 'gopher://127.0.0.1:70/', 'images[0].url: the url is not http or https but gopher:'],
    ['credentials', 'https://user:secret@example.com/', 'images[0].url: the url to example.com holds credentials'],
    ['no URL at all', 'cat.png', 'images[0].url: the url is not valid'],
    ['a data URL in plain text', 'data:image/svg+xml,<svg/>', 'images[0].url: the data URL is not in base64'],
    ['a data URL that is not base64', 'data:image/png;base64,!!!!', 'images[0].url: the data URL is not valid base64'],
    ['an empty data URL', 'data:image/png;base64,', 'images[0].url: is an empty file']
  ])('a URL to %s', async (_, url, message) => {
    expect(await refusalOf(fromUrl(url))).toEqual({ code: Code.InvalidArgument, reason: 'INVALID_PARAMETER', message })
    await expect.poll(uploads).toEqual([])
  })

  test('a redirect to the inside, a missing file, and a page', async () => {
    served.set('/page', Buffer.from('<!doctype html><title>404</title>'))
    const urls = ['/redirect-inside', '/missing', '/page'].map((path) => fromUrl(`http://${pictureHost}${path}`))
    expect((await Promise.all(urls.map(refusalOf))).map(({ message }) => message)).toEqual([
      'images[0].url: 169.254.169.254 is not a public host',
      `images[0].url: ${pictureHost} answered with status 404`,
      'images[0].url: is no image that is known here: must be a png, jpeg or webp file'
    ])
    await expect.poll(uploads).toEqual([])
  })

  test.each<[string, () => Promise<Edit>, string]>([
    ['no images', async () => ({ images: [] }), "missing required parameter: 'images'"],
    ['an image that is nowhere', async () => ({ images: [{}] }), "missing required parameter: 'images[0]'"],
    [
      'seventeen images',
      async () => ({ images: Array.from({ length: 17 }, () => ({ source: { case: 'imageId', value: 'A'.repeat(22) } as const })) }),
      'images: must be at most 16, not 17'
    ],
    [
      'a prompt that is missing',
      async () => ({ parameters: { ...sketch, prompt: '' }, images: [{ source: { case: 'data', value: await redSquare } }] }),
      "missing required parameter: 'prompt'"
    ],
    [
      'a mask of another size',
      async () => ({
        images: [{ source: { case: 'data', value: await noise(64, 64).png().toBuffer() } }],
        mask: { source: { case: 'data', value: await halfMask } }
      }),
      'mask.data: has 128x128 pixels: must have the size of the first image, which is 64x64'
    ],
    [
      'a second image that is none',
      async () => ({
        images: [{ source: { case: 'data', value: await redSquare } }, { source: { case: 'data', value: Buffer.from('text') } }]
      }),
      'images[1].data: is no image that is known here: must be a png, jpeg or webp file'
    ],
    [
      'partial images without a stream',
      async () => ({ parameters: { ...sketch, partialImages: 1 }, images: [{ source: { case: 'data', value: await redSquare } }] }),
      'partial_images: must be 0 unless the answer is streamed'
    ]
  ])('%s', async (_, request, message) => {
    expect((await refusalOf(edit(await request()))).message).toBe(message)
    await expect.poll(uploads).toEqual([])
  })

  test('a prompt for variations', async () => {
    const image = { source: { case: 'data', value: await redSquare } } as const
    expect(await refusalOf(grpc.createVariations({ image, parameters: sketch }, { headers }))).toMatchObject({
      message: 'prompt: must be empty for variations; an edit takes a prompt'
    })
    await expect.poll(uploads).toEqual([])
  })

  test('an upload in too large parts, of no image, of nothing, and without a key', async () => {
    const upload = (parts: AsyncIterable<{ data: Uint8Array }>, key = headers) => refusalOf(grpc.uploadImage(parts, { headers: key }))
    expect(await upload(inParts(Buffer.alloc(1_048_577), 2_000_000))).toMatchObject({
      message: 'data: is 1048577 bytes: must be at most 1048576 in one message'
    })
    expect(await upload(inParts(Buffer.alloc(5_000_000), 5_000_000))).toMatchObject({ reason: 'BODY_TOO_LARGE' })
    expect(await upload(inParts(Buffer.from('hello'), 2))).toMatchObject({
      message: 'data: is no image that is known here: must be a png, jpeg or webp file'
    })
    expect(await upload(inParts(Buffer.alloc(0), 1))).toMatchObject({ message: 'data: is an empty file' })
    expect(await upload(inParts(await redSquare, 100), { authorization: `Bearer ${randomUUID()}` })).toMatchObject({
      code: Code.Unauthenticated
    })
    await expect.poll(uploads).toEqual([])
  })

  test('an upload above 50 MB as soon as it is', async () => {
    let sentBytes = 0
    async function* endless() {
      const data = Buffer.concat([await redSquare, Buffer.alloc(1_000_000)])
      for (; sentBytes < 200_000_000; sentBytes += data.length) yield { data }
    }
    expect(await refusalOf(grpc.uploadImage(endless(), { headers }))).toMatchObject({
      message: 'data: must be no larger than 52428800 bytes'
    })
    expect(sentBytes).toBeLessThan(150_000_000)
    await expect.poll(uploads).toEqual([])
  })
})

test('keeps nothing of an upload, or of an edit, whose caller goes away', async () => {
  const leaving = new AbortController()
  async function* parts() {
    yield { data: await redSquare }
    await expect.poll(uploads).toHaveLength(1)
    leaving.abort()
    await new Promise(() => undefined)
  }
  await expect(grpc.uploadImage(parts(), { headers, signal: leaving.signal })).rejects.toThrow()
  await expect.poll(uploads).toEqual([])

  const request: Edit = {
    parameters: { ...sketch, providerOptions: { delay_ms: 60_000 } },
    images: [{ source: { case: 'data', value: await redSquare } }]
  }
  const leavingEdit = new AbortController()
  const edit = grpc.editImages(request, { headers, signal: leavingEdit.signal })
  await expect.poll(uploads).toHaveLength(1)
  leavingEdit.abort()
  await expect(edit).rejects.toThrow()
  await expect.poll(uploads).toEqual([])
})

function uploads(): string[] {
  return readdirSync(join(atelier.dataDir, 'uploads'))
}

async function* inParts(file: Buffer, partBytes: number): AsyncGenerator<{ data: Uint8Array }> {
  for (let at = 0; at < file.length; at += partBytes) yield { data: file.subarray(at, at + partBytes) }
}

function sized(width: number, height: number) {
  return { case: 'dimensions', value: { width, height } } as const
}

function dataOf(content: { case: string | undefined; value?: unknown } | undefined): Buffer {
  if (content?.case !== 'data' || !(content.value instanceof Uint8Array)) throw new Error(`the image is ${content?.case}`)
  return Buffer.from(content.value)
}

function kindsOf(events: readonly StreamEditImagesResponse[]): string[] {
  return events.flatMap(({ result }) => {
    const event = result?.event
    if (event?.case !== 'chunk') return event?.case ?? []
    if (!event.value.last) return []
    return event.value.previewIndex === undefined ? 'chunk' : `preview ${event.value.previewIndex}`
  })
}

async function refusalOf(call: Promise<unknown>): Promise<{ code: Code; reason: string | undefined; message: string }> {
  const error = await call.then(
    () => undefined,
    (thrown: unknown) => thrown
  )
  if (!(error instanceof ConnectError)) throw new Error('nothing was refused')
  const reason = error.findDetails(ErrorInfoSchema)[0]?.reason
  return { code: error.code, reason: reason?.replace('ERROR_REASON_', ''), message: error.rawMessage }
}
