import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { create } from '@bufbuild/protobuf'
import sharp from 'sharp'
import { afterAll, describe, expect, test } from 'vitest'
import { DimensionsSchema, ImageOutcome, OutputFormat, ResolvedParametersSchema, WarningKind } from '../../gen/atelier/v1/image_pb.ts'
import { createDelivery, type Delivery, type DeliveryWish } from '../../src/delivery/deliver.ts'
import { createTranscoder } from '../../src/delivery/transcode.ts'
import { GatewayError, gatewayError } from '../../src/errors.ts'
import { type ImageLink, isImageBody } from '../../src/events.ts'
import { type ImageBody, imageFromBase64, imageFromBytes, readWhole } from '../../src/images/image-body.ts'
import type { ProviderEvent } from '../../src/providers/provider.ts'
import { createDiskBlobStore } from '../../src/storage/blobs/disk-blob-store.ts'
import { openDatabase } from '../../src/storage/database.ts'
import { createLinks, type Links } from '../../src/storage/links.ts'
import { createScratchFiles } from '../../src/storage/scratch-files.ts'
import { createUntrustedUrlFetcher } from '../../src/upstream/untrusted-url.ts'
import { createCall } from '../support/call.ts'
import { createTemporaryDirectory } from '../support/temporary-directory.ts'
import { startUpstreamServer } from '../support/upstream-server.ts'

const noise = { width: 300, height: 300, channels: 3 as const, noise: { type: 'gaussian' as const, mean: 128, sigma: 40 } }
const png = await sharp({ create: { ...noise, background: 'black' } })
  .png()
  .toBuffer()
const jpeg = await sharp(png).jpeg().toBuffer()
const webp = await sharp(png).webp().toBuffer()
const svg = Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"/>')

const wishUrl: DeliveryWish = { form: 'url', keepProviderUrls: false, trustedOrigins: [], linkLifetimeSeconds: 600, provider: 'basement' }
const wishBytes: DeliveryWish = { ...wishUrl, form: 'bytes' }
const progress: ProviderEvent = { kind: 'progress', fraction: 0.5 }
const completed: ProviderEvent = { kind: 'completed' }

const house = await openHouse()
afterAll(() => house[Symbol.asyncDispose]())

test('passes every event but images on as it is, in its order', async () => {
  const events: ProviderEvent[] = [
    progress,
    { kind: 'image', index: 0, image: imageFromBytes(png, 'image/png') },
    { kind: 'image_details', index: 0, revisedPrompt: 'a cat' },
    { kind: 'no_image', index: 1, outcome: ImageOutcome.MODERATED, message: 'withheld' },
    completed
  ]
  const delivered = await collect(house.delivery.deliver(iterate(events), wishUrl, createCall()))
  expect(delivered.map((event) => events.indexOf(event))).toEqual([0, -1, 2, 3, 4])
})

describe('for an image as bytes', () => {
  test('hands on the very body that the provider gave', async () => {
    const image = { kind: 'image', index: 0, image: imageFromBase64(iterate([Buffer.from('iVBO')]), '') } as const
    expect(await collect(house.delivery.deliver(iterate([image]), wishBytes, createCall()))).toEqual([image])
    expect((await first(house.delivery.deliver(iterate([image]), wishBytes, createCall()))).image).toBe(image.image)
  })

  test.each([
    ['image/png', png],
    ['image/jpeg', jpeg],
    ['image/webp', webp],
    ['image/svg+xml', svg]
  ])('fetches the URL that the provider gave and finds %s in its bytes', async (mediaType, bytes) => {
    await using server = await startUpstreamServer((_, response) => response.writeHead(200, { 'content-type': 'text/plain' }).end(bytes))
    const wish = { ...wishBytes, trustedOrigins: [server.origin] }
    const [image] = await readImages(house.delivery.deliver(given({ url: `${server.origin}/1`, mediaType: '' }), wish, createCall()))
    expect(image).toEqual({ mediaType, bytes })
  })

  test('recognises an image that comes byte by byte', async () => {
    await using server = await startUpstreamServer(async (_, response) => {
      for (const byte of png.subarray(0, 40)) await new Promise<void>((resolve) => response.write(Uint8Array.of(byte), () => resolve()))
      response.end(png.subarray(40))
    })
    const wish = { ...wishBytes, trustedOrigins: [server.origin] }
    const [image] = await readImages(house.delivery.deliver(given({ url: server.origin, mediaType: 'image/webp' }), wish, createCall()))
    expect(image).toEqual({ mediaType: 'image/png', bytes: png })
  })

  test('gives a fetched image as base64 too', async () => {
    await using server = await startUpstreamServer((_, response) => response.end(png))
    const wish = { ...wishBytes, trustedOrigins: [server.origin] }
    for await (const event of house.delivery.deliver(given({ url: server.origin, mediaType: '' }), wish, createCall())) {
      if (event.kind !== 'image' || !isImageBody(event.image)) throw new Error('not an image body')
      expect(Buffer.from(await readWhole(event.image, 'base64', 1e6)).toString()).toBe(png.toString('base64'))
    }
  })

  test.each([
    ['base64', `data:image/png;base64,${png.toString('base64')}`],
    ['base64 with a false type', `data:image/webp;base64,${png.toString('base64')}`],
    ['base64 without padding or type', `data:;base64,${png.toString('base64').replace(/=+$/, '')}`],
    ['base64 with parameters in any case', `DATA:image/png;name=a;BASE64,${png.toString('base64')}`],
    ['base64 with line breaks', `data:image/png;base64,${png.toString('base64').replace(/.{76}/g, '$&\r\n')}`],
    ['base64 with escapes', `data:image/png;base64,${encodeURIComponent(png.toString('base64'))}`],
    ['escaped bytes', `data:image/png,${png.toString('hex').replace(/../g, '%$&')}`]
  ])('decodes a data: URL in %s', async (_, url) => {
    const [image] = await readImages(house.delivery.deliver(given({ url, mediaType: '' }), wishBytes, createCall()))
    expect(image).toEqual({ mediaType: 'image/png', bytes: png })
  })

  test('decodes a data: URL in plain text', async () => {
    const url = `data:image/svg+xml;utf8,${svg}`
    expect(await readImages(house.delivery.deliver(given({ url, mediaType: '' }), wishBytes, createCall()))).toEqual([
      { mediaType: 'image/svg+xml', bytes: svg }
    ])
  })

  test.each([
    'data:',
    'data:image/png',
    'data:image/png;base64,%%%',
    'data:image/png;base64,iVBO*',
    'data:image/png;base64,iVBOR',
    'data:image/png;base64,iV=O',
    'data:image/png;base64,%G0',
    'data:image/png,%8'
  ])('refuses %s', async (url) => {
    await expect(readImages(house.delivery.deliver(given({ url, mediaType: '' }), wishBytes, createCall()))).rejects.toMatchObject({
      message: 'the provider basement failed: the data: url that it gave cannot be decoded',
      outcome: 'unknown'
    })
  })

  test('fetches every image only when it is asked for', async () => {
    await using server = await startUpstreamServer((_, response) => response.end(png))
    const links = [1, 2, 3].map((number) => ({ url: `${server.origin}/${number}`, mediaType: '' }))
    const iterator = house.delivery
      .deliver(given(...links), { ...wishBytes, trustedOrigins: [server.origin] }, createCall())
      [Symbol.asyncIterator]()
    expect(server.paths).toEqual([])
    await iterator.next()
    expect(server.paths).toEqual(['/1'])
    await iterator.next()
    expect(server.paths).toEqual(['/1', '/2'])
    await iterator.return?.()
    await server.closed()
    expect(server.paths).toEqual(['/1', '/2'])
  })

  test('closes the connection of an image that nobody reads', async () => {
    await using server = await startUpstreamServer((_, response) => {
      response.write(png)
    })
    const wish = { ...wishBytes, trustedOrigins: [server.origin] }
    await collect(house.delivery.deliver(given({ url: server.origin, mediaType: '' }), wish, createCall()))
    await server.closed()
    expect(server.connections).toEqual({ accepted: 1, open: 0 })
  })
})

describe('for an image as URL', () => {
  test.each([
    ['bytes', () => imageFromBytes(png, 'image/png'), 'png', 'image/png', png],
    ['base64', () => imageFromBase64(iterate([Buffer.from(png.toString('base64'))]), ''), 'png', 'image/png', png],
    ['bytes of another type than stated', () => imageFromBytes(jpeg, 'image/png'), 'jpg', 'image/jpeg', jpeg]
  ])('stores %s and gives a link to them', async (_, body, extension, mediaType, bytes) => {
    const { image } = await first(house.delivery.deliver(given(body()), wishUrl, createCall()))
    expect(image).toEqual({ url: expect.stringMatching(new RegExp(`^https://images\\.example/images/.+\\.${extension}$`)), mediaType })
    expect(await house.open(image as ImageLink)).toEqual({ mediaType, bytes })
  })

  test('stores it for the organization of the caller and the time of the wish', async () => {
    const call = createCall({ caller: { organizationId: 'default', apiKeyId: 'key-1', scopes: [] } })
    const { image } = await first(house.delivery.deliver(given(imageFromBytes(png, '')), { ...wishUrl, linkLifetimeSeconds: 120 }, call))
    const blob = await house.find(image as ImageLink)
    expect(blob?.organizationId).toBe('default')
    expect(Math.abs((blob?.expiresAt ?? 0) - Date.now() / 1000 - 120)).toBeLessThan(5)
  })

  test('hands on a URL of the provider that lasts long enough, without fetching it', async () => {
    await using server = await startUpstreamServer((_, response) => response.end(png))
    const event = { kind: 'image', index: 0, image: { url: `${server.origin}/1`, mediaType: 'image/png' } } as const
    const wish = { ...wishUrl, keepProviderUrls: true, trustedOrigins: [server.origin] }
    expect(await first(house.delivery.deliver(iterate([event]), wish, createCall()))).toBe(event)
    expect(server.connections.accepted).toBe(0)
  })

  test('stores what is behind a URL that does not last', async () => {
    await using server = await startUpstreamServer((_, response) => response.end(webp))
    const wish = { ...wishUrl, trustedOrigins: [server.origin] }
    const { image } = await first(house.delivery.deliver(given({ url: `${server.origin}/1`, mediaType: 'image/png' }), wish, createCall()))
    expect(await house.open(image as ImageLink)).toEqual({ mediaType: 'image/webp', bytes: webp })
  })

  test('stores a data: URL even where URLs of the provider are kept', async () => {
    const url = `data:image/png;base64,${png.toString('base64')}`
    const { image } = await first(
      house.delivery.deliver(given({ url, mediaType: '' }), { ...wishUrl, keepProviderUrls: true }, createCall())
    )
    expect(await house.open(image as ImageLink)).toEqual({ mediaType: 'image/png', bytes: png })
  })

  test('never hands on a URL that is no web address', async () => {
    const wish = { ...wishUrl, keepProviderUrls: true }
    await expect(
      collect(house.delivery.deliver(given({ url: 'javascript:alert(1)', mediaType: '' }), wish, createCall()))
    ).rejects.toMatchObject({
      reason: 'PROVIDER_FAILED'
    })
  })
})

describe('for an image in a wished format', () => {
  const asWebp = { output: { format: OutputFormat.WEBP } }

  test.each([
    ['bytes', () => imageFromBytes(png, '')],
    ['base64', () => imageFromBase64(iterate([Buffer.from(png.toString('base64'))]), 'image/png')]
  ])('stores what was converted from %s and says what it is', async (_, body) => {
    const [image, completion] = await collect(
      house.delivery.deliver(iterate([{ kind: 'image', index: 0, image: body() }, completed]), { ...wishUrl, ...asWebp }, createCall())
    )
    const link = imageOf(image) as ImageLink
    expect(link).toEqual({ url: expect.stringMatching(/\.webp$/), mediaType: 'image/webp' })
    const { bytes } = (await house.open(link)) ?? {}
    expect(await sharp(bytes).metadata()).toMatchObject({ format: 'webp', width: 300, height: 300 })
    const size = create(DimensionsSchema, { width: 300, height: 300 })
    expect(completion).toEqual({
      kind: 'completed',
      resolved: create(ResolvedParametersSchema, { outputFormat: OutputFormat.WEBP, size })
    })
  })

  test('converts what is behind a URL, as bytes and as URL', async () => {
    await using server = await startUpstreamServer((_, response) => response.end(png))
    const wish = { ...asWebp, trustedOrigins: [server.origin] }
    const link = { url: `${server.origin}/1`, mediaType: 'image/png' }
    const [image] = await readImages(house.delivery.deliver(given(link), { ...wishBytes, ...wish }, createCall()))
    expect([image?.mediaType, (await sharp(image?.bytes).metadata()).format]).toEqual(['image/webp', 'webp'])
    const lasting = { ...wishUrl, ...wish, keepProviderUrls: true }
    const hosted = (await first(house.delivery.deliver(given(link), lasting, createCall()))).image as ImageLink
    expect((await house.open(hosted))?.mediaType).toBe('image/webp')
  })

  test('hands on a URL of the provider that lasts long enough where the image behind it is as wished, after a look at its head', async () => {
    await using server = await startUpstreamServer((_, response) => {
      response.write(webp)
    })
    const link = { url: `${server.origin}/1`, mediaType: '' }
    const wish = { ...wishUrl, ...asWebp, keepProviderUrls: true, trustedOrigins: [server.origin] }
    expect((await first(house.delivery.deliver(given(link), wish, createCall()))).image).toBe(link)
    await server.closed()
  })

  test('hands on a URL that cannot be followed, and says that nothing was converted', async () => {
    await using server = await startUpstreamServer((_, response) => response.writeHead(403).end())
    const link = { url: `${server.origin}/1`, mediaType: '' }
    const events = iterate([{ kind: 'image', index: 0, image: link } as const, completed])
    const wish = { ...wishUrl, ...asWebp, trustedOrigins: [server.origin] }
    const [image, completion] = await collect(house.delivery.deliver(events, wish, createCall()))
    expect(imageOf(image)).toBe(link)
    expect(completion?.kind === 'completed' && completion.warnings?.map(({ param, message }) => [param, message])).toEqual([
      ['output_format', 'the image stays as basement made it: it could not be stored here'],
      ['response_format', 'the image could not be stored here, so its link is the one that basement gave and may expire soon']
    ])
  })

  test('closes the source of an image that nobody reads', async () => {
    await using server = await startUpstreamServer((_, response) => {
      response.write(png)
    })
    const wish = { ...wishBytes, ...asWebp, trustedOrigins: [server.origin] }
    await collect(house.delivery.deliver(given({ url: server.origin, mediaType: '' }), wish, createCall()))
    await server.closed()
    expect(server.connections).toEqual({ accepted: 1, open: 0 })
  })

  test('fails with the error of an image that breaks off', async () => {
    await using server = await startBreakingServer()
    const wish = { ...wishBytes, ...asWebp, trustedOrigins: [server.origin] }
    await expect(
      readImages(house.delivery.deliver(given({ url: server.origin, mediaType: '' }), wish, createCall()))
    ).rejects.toMatchObject({ message: expect.stringContaining('broke off its answer') })
  })
})

describe('fails, in words that hold no query and no address, and with the outcome unknown,', () => {
  test.each([wishBytes, wishUrl])('on a URL that may not be reached, as $form', async (wish) => {
    const url = 'http://127.0.0.1/latest/meta-data/?signature=secret'
    await expect(collect(house.delivery.deliver(given({ url, mediaType: '' }), wish, createCall()))).rejects.toMatchObject({
      reason: 'PROVIDER_FAILED',
      outcome: 'unknown',
      message: 'the provider basement failed: its image could not be fetched: 127.0.0.1 is not a public host'
    })
  })

  test.each([
    ['text/html', '<!doctype html><title>expired</title>', 'what its url leads to is no image but text/html'],
    ['image/png', '<!doctype html><title>expired</title>', 'what its url leads to is no image but image/png'],
    ['', 'not found', 'what its url leads to is no image'],
    ['see https://evil.example', 'not found', 'what its url leads to is no image'],
    ['image/png', '', 'what its url leads to is no image but image/png']
  ])('on content of the type %j that is no image', async (contentType, content, problem) => {
    await using server = await startUpstreamServer((_, response) => {
      if (contentType !== '') response.setHeader('content-type', contentType)
      response.end(content)
    })
    for (const wish of [wishBytes, wishUrl]) {
      const delivered = house.delivery.deliver(
        given({ url: server.origin, mediaType: '' }),
        { ...wish, trustedOrigins: [server.origin] },
        createCall()
      )
      await expect(collect(delivered)).rejects.toMatchObject({ message: `the provider basement failed: ${problem}`, outcome: 'unknown' })
    }
    await server.closed()
  })

  test('on content that is no image before it ends, and closes the connection', async () => {
    await using server = await startUpstreamServer((_, response) => {
      response.write('<!doctype html>'.repeat(1000))
    })
    const wish = { ...wishBytes, trustedOrigins: [server.origin] }
    await expect(collect(house.delivery.deliver(given({ url: server.origin, mediaType: '' }), wish, createCall()))).rejects.toMatchObject({
      message: 'the provider basement failed: what its url leads to is no image'
    })
    await server.closed()
  })

  test('on a body that is no image', async () => {
    const delivered = house.delivery.deliver(given(imageFromBytes(Buffer.from('<html>'), 'image/png')), wishUrl, createCall())
    await expect(collect(delivered)).rejects.toMatchObject({ reason: 'PROVIDER_FAILED', outcome: 'unknown' })
  })

  test('on a body that is no base64', async () => {
    const broken = imageFromBase64(iterate([Buffer.from('iVBORw0KGgo****')]), 'image/png')
    await expect(collect(house.delivery.deliver(given(broken), wishUrl, createCall()))).rejects.toMatchObject({
      message: 'the provider basement failed: its image is not valid base64',
      outcome: 'unknown'
    })
  })

  test('when the image breaks off while it is read', async () => {
    await using server = await startBreakingServer()
    const wish = { ...wishBytes, trustedOrigins: [server.origin] }
    await expect(
      readImages(house.delivery.deliver(given({ url: server.origin, mediaType: '' }), wish, createCall()))
    ).rejects.toMatchObject({
      reason: 'PROVIDER_FAILED',
      outcome: 'unknown',
      message: expect.stringContaining('broke off its answer')
    })
  })

  test('when the image is too large', async () => {
    await using server = await startUpstreamServer((_, response) => response.end(png))
    await using house = await openHouse({ maxBytes: 10_000 })
    const wish = { ...wishBytes, trustedOrigins: [server.origin] }
    await expect(
      readImages(house.delivery.deliver(given({ url: server.origin, mediaType: '' }), wish, createCall()))
    ).rejects.toMatchObject({
      reason: 'PROVIDER_FAILED',
      message: expect.stringContaining('more than the 10000 bytes that are read')
    })
    expect(server.paths).toHaveLength(1)
  })

  test('when the image cannot be stored', async () => {
    await using house = await openHouse()
    await rm(house.blobDirectory, { recursive: true })
    await writeFile(house.blobDirectory, '')
    await expect(collect(house.delivery.deliver(given(imageFromBytes(png, '')), wishUrl, createCall()))).rejects.toMatchObject({
      reason: 'STORAGE_FAILED',
      outcome: 'unknown',
      retryable: false
    })
  })
})

describe('asks again for an image that is not there yet', () => {
  test('and delivers it when it comes', async () => {
    await using server = await startUpstreamServer((_, response) => {
      if (server.paths.length < 3) response.writeHead(404).end()
      else response.end(png)
    })
    const wish = { ...wishBytes, trustedOrigins: [server.origin] }
    const [image] = await readImages(house.delivery.deliver(given({ url: server.origin, mediaType: '' }), wish, createCall()))
    expect(image).toEqual({ mediaType: 'image/png', bytes: png })
  })

  test('three times in all', async () => {
    await using server = await startUpstreamServer((_, response) => response.writeHead(503).end())
    const wish = { ...wishBytes, trustedOrigins: [server.origin] }
    await expect(
      readImages(house.delivery.deliver(given({ url: server.origin, mediaType: '' }), wish, createCall()))
    ).rejects.toMatchObject({
      message: `the provider basement failed: its image could not be fetched: 127.0.0.1:${server.port} answered with status 503`
    })
    expect(server.paths).toEqual(['/', '/', '/'])
  })
})

describe('stops', () => {
  test.each([
    ['the reason of the signal where that is for callers', gatewayError('DEADLINE_EXCEEDED', { limitSeconds: 1 }), 'DEADLINE_EXCEEDED'],
    ['CANCELLED for any other reason', new Error('socket closed'), 'CANCELLED']
  ])('a fetch when the call is aborted, with %s', async (_, cause, reason) => {
    const stop = new AbortController()
    await using server = await startUpstreamServer(() => stop.abort(cause))
    const wish = { ...wishBytes, trustedOrigins: [server.origin] }
    const delivered = house.delivery.deliver(given({ url: server.origin, mediaType: '' }), wish, createCall({ signal: stop.signal }))
    const error = await collect(delivered).catch((thrown) => thrown)
    expect(error).toBeInstanceOf(GatewayError)
    expect(error.reason).toBe(reason)
    await server.closed()
  })

  test('waiting between two tries when the call is aborted', async () => {
    const stop = new AbortController()
    await using server = await startUpstreamServer((_, response) => {
      response.writeHead(404).end()
      setTimeout(() => stop.abort(), 50)
    })
    const wish = { ...wishBytes, trustedOrigins: [server.origin] }
    const delivered = house.delivery.deliver(given({ url: server.origin, mediaType: '' }), wish, createCall({ signal: stop.signal }))
    await expect(collect(delivered)).rejects.toMatchObject({ reason: 'CANCELLED', outcome: 'unknown' })
    expect(server.paths).toEqual(['/'])
  })

  test.each([wishBytes, wishUrl])('the provider when the reader leaves, as $form', async (wish) => {
    let left = false
    async function* events(): AsyncIterable<ProviderEvent> {
      try {
        yield { kind: 'image', index: 0, image: imageFromBytes(png, '') }
        yield completed
      } finally {
        left = true
      }
    }
    await first(house.delivery.deliver(events(), wish, createCall()))
    expect(left).toBe(true)
  })

  test('the provider when an image cannot be delivered', async () => {
    let left = false
    async function* events(): AsyncIterable<ProviderEvent> {
      try {
        yield { kind: 'image', index: 0, image: { url: 'http://10.0.0.1/', mediaType: '' } }
      } finally {
        left = true
      }
    }
    await expect(collect(house.delivery.deliver(events(), wishBytes, createCall()))).rejects.toMatchObject({ reason: 'PROVIDER_FAILED' })
    expect(left).toBe(true)
  })
})

test('passes on what the provider throws', async () => {
  const error = gatewayError('PROVIDER_OVERLOADED', { provider: 'basement', problem: 'busy' }, { outcome: 'rejected' })
  async function* events(): AsyncIterable<ProviderEvent> {
    yield progress
    throw error
  }
  await expect(collect(house.delivery.deliver(events(), wishUrl, createCall()))).rejects.toBe(error)
})

interface House extends AsyncDisposable {
  delivery: Delivery
  blobDirectory: string
  find(link: ImageLink): ReturnType<ReturnType<typeof createDiskBlobStore>['open']>
  open(link: ImageLink): Promise<{ mediaType: string; bytes: Buffer } | undefined>
}

/** Delivery over a real disk, database and network, and a way to follow the links that it gives. */
async function openHouse({ maxBytes = 10_000_000 } = {}): Promise<House> {
  const directory = await createTemporaryDirectory()
  const database = await openDatabase({ dataDir: directory.path })
  const blobDirectory = join(directory.path, 'blobs')
  const blobs = createDiskBlobStore({ directory: blobDirectory }, { database })
  const links: Links = createLinks({
    publicUrl: 'https://images.example',
    keys: [{ keyId: '00000007', key: new Uint8Array(32).fill(7) }],
    lifetimeSeconds: 600
  })
  const fetcher = createUntrustedUrlFetcher({ allow: [], maxBytes })
  const scratch = createScratchFiles({ directory: join(directory.path, 'scratch') })
  const transcoder = createTranscoder({ maxConcurrent: 2 }, { scratch })
  const find = async (link: ImageLink) => blobs.open(links.verify(new URL(link.url).pathname)?.blobId ?? '')
  return {
    delivery: createDelivery({ fetcher, blobs, links, transcoder }),
    blobDirectory,
    find,
    async open(link) {
      const blob = await find(link)
      return blob && { mediaType: blob.mediaType, bytes: Buffer.from(await readWhole(blob.open(), 'bytes', maxBytes)) }
    },
    async [Symbol.asyncDispose]() {
      await transcoder[Symbol.asyncDispose]()
      await fetcher[Symbol.asyncDispose]()
      await database[Symbol.asyncDispose]()
      await directory[Symbol.asyncDispose]()
    }
  }
}

async function* iterate<T>(items: readonly T[]): AsyncIterable<T> {
  yield* items
}

function imageOf(event: ProviderEvent | undefined): ImageBody | ImageLink | undefined {
  return event?.kind === 'image' ? event.image : undefined
}

function given(...images: (ImageBody | ImageLink)[]): AsyncIterable<ProviderEvent> {
  return iterate(images.map((image, index) => ({ kind: 'image', index, image }) as const))
}

async function collect(events: AsyncIterable<ProviderEvent>): Promise<ProviderEvent[]> {
  const collected: ProviderEvent[] = []
  for await (const event of events) collected.push(event)
  return collected
}

async function first(events: AsyncIterable<ProviderEvent>): Promise<Extract<ProviderEvent, { kind: 'image' }>> {
  for await (const event of events) if (event.kind === 'image') return event
  throw new Error('no image came')
}

/** Reads each image when it comes, as a caller does. */
async function readImages(events: AsyncIterable<ProviderEvent>): Promise<{ mediaType: string; bytes: Buffer }[]> {
  const images: { mediaType: string; bytes: Buffer }[] = []
  for await (const event of events) {
    if (event.kind !== 'image' || !isImageBody(event.image)) continue
    images.push({ mediaType: event.image.mediaType, bytes: Buffer.from(await readWhole(event.image, 'bytes', 10_000_000)) })
  }
  return images
}

test("hands on the provider's own link, with a warning, when the image behind it cannot be fetched", async () => {
  await using server = await startBreakingServer()
  const wish = { ...wishUrl, trustedOrigins: [server.origin] }
  const given: ProviderEvent[] = [{ kind: 'image', index: 0, image: { url: server.origin, mediaType: '' } }, completed]
  const events = await collect(house.delivery.deliver(iterate(given), wish, createCall()))
  expect(events.filter(({ kind }) => kind === 'image')).toEqual([{ kind: 'image', index: 0, image: { url: server.origin, mediaType: '' } }])
  expect(events.at(-1)).toMatchObject({ kind: 'completed', warnings: [{ kind: WarningKind.CONVERTED, param: 'response_format' }] })
})

test('never hands on a link that the rules for foreign URLs refuse', async () => {
  const url = 'http://169.254.169.254/latest/meta-data'
  await expect(collect(house.delivery.deliver(given({ url, mediaType: '' }), wishUrl, createCall()))).rejects.toMatchObject({
    reason: 'PROVIDER_FAILED'
  })
})

function startBreakingServer() {
  return startUpstreamServer((_, response) => {
    response.writeHead(200, { 'content-length': png.length }).write(png.subarray(0, 10_000))
    setTimeout(() => response.socket?.destroy(), 30)
  })
}
