import { readdir, rm } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { deflateSync } from 'node:zlib'
import { create } from '@bufbuild/protobuf'
import sharp from 'sharp'
import { afterAll, describe, expect, test } from 'vitest'
import {
  DimensionsSchema,
  OutputFormat,
  Quality,
  ResolvedParametersSchema,
  type Warning,
  WarningKind
} from '../../gen/atelier/v1/image_pb.ts'
import type { Call } from '../../src/call.ts'
import { createTranscoder } from '../../src/delivery/transcode.ts'
import { gatewayError } from '../../src/errors.ts'
import { readDimensions } from '../../src/images/dimensions.ts'
import { imageFromBase64, imageFromBytes, readWhole } from '../../src/images/image-body.ts'
import { sniffMediaType } from '../../src/images/media-type.ts'
import type { WishedOutput } from '../../src/routing/plan.ts'
import { createScratchFiles } from '../../src/storage/scratch-files.ts'
import { createCall } from '../support/call.ts'
import {
  halves,
  insertPngChunk,
  noise,
  type PictureFormat,
  pixelAt,
  pngChunk,
  withContentCredentials,
  withSegments
} from '../support/pictures.ts'
import { createTemporaryDirectory } from '../support/temporary-directory.ts'

const outputFormats = { png: OutputFormat.PNG, jpeg: OutputFormat.JPEG, webp: OutputFormat.WEBP } as const
const formats = ['png', 'jpeg', 'webp'] as const
const directory = await createTemporaryDirectory()
const transcoder = createTranscoder({ maxConcurrent: 2 }, { scratch: createScratchFiles({ directory: directory.path }) })
const still = await halves(20, 10, 'png')
const undecoded: [string, Buffer][] = [
  ['an SVG', Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"/>')],
  ['an animated GIF', await animated('gif')],
  ['an animated WebP', await animated('webp')],
  ['an animated PNG', insertPngChunk(still, 'acTL', Buffer.alloc(8))],
  ['an AVIF', await sharp(still).avif({ effort: 0 }).toBuffer()],
  ['a TIFF', await sharp(still).tiff().toBuffer()],
  ['a PDF', Buffer.from('%PDF-1.7 …')]
]
afterAll(() => directory[Symbol.asyncDispose]())
afterAll(() => transcoder[Symbol.asyncDispose]())

describe('does nothing at all', () => {
  test.each<[string, WishedOutput | undefined]>([
    ['without a wish', undefined],
    ['where the wish is empty', {}],
    ['for a format into which nothing is converted', { format: OutputFormat.GIF }]
  ])('%s', (_, wish) => {
    expect(transcoder.begin(wish, 'basement', createCall())).toBeUndefined()
  })
})

describe('passes on the very same bytes', () => {
  test.each(formats)('of a %s that has the format and the size already', async (format) => {
    const file = withContentCredentials(await noise(300, 200).toFormat(format).toBuffer(), format, 150_000)
    for (const wish of [
      { format: outputFormats[format] },
      { size: size(300, 200) },
      { format: outputFormats[format], size: size(300, 200) }
    ]) {
      const { bytes, isUntouched, warnings } = await bring(file, wish)
      expect(bytes.equals(file)).toBe(true)
      expect({ isUntouched, warnings }).toEqual({ isUntouched: true, warnings: [] })
    }
  })

  test('where the best compression is asked of it', async () => {
    const file = await halves(20, 10, 'jpeg')
    expect((await bring(file, { format: OutputFormat.JPEG, compression: 100 })).bytes.equals(file)).toBe(true)
  })

  test('of a PNG, whose compression loses nothing', async () => {
    const file = withContentCredentials(await halves(20, 10, 'png'), 'png')
    expect((await bring(file, { compression: 30 })).bytes.equals(file)).toBe(true)
  })

  test('as base64, without decoding it', async () => {
    const chars = Buffer.from((await halves(20, 10, 'png')).toString('base64'))
    const transcoding = transcoder.begin({ format: OutputFormat.PNG }, 'basement', createCall())
    await using image = await orFail(transcoding).bring(imageFromBase64(chunksOf(chars, 7), ''))
    expect([image.form, image.mediaType]).toEqual(['base64', 'image/png'])
    expect(Buffer.from(await readWhole(image, 'base64', 1e6)).equals(chars)).toBe(true)
  })

  test.each([1, 100, 65_536])('in chunks of %i bytes', async (chunkBytes) => {
    const file = await halves(600, 400, 'png')
    expect((await bring(file, { format: OutputFormat.PNG }, { chunkBytes })).bytes.equals(file)).toBe(true)
  })

  test('of a JPEG whose size stands behind more metadata than is looked through', async () => {
    const file = withContentCredentials(await halves(512, 512, 'jpeg'), 'jpeg', 1_500_000)
    const { bytes, warnings } = await bring(file, { size: size(512, 512) })
    expect(bytes.equals(file)).toBe(true)
    expect(warnings).toEqual([])
  })

  test('and keeps what the provider said about them', async () => {
    const transcoding = orFail(transcoder.begin({ format: OutputFormat.PNG }, 'basement', createCall()))
    await using image = await transcoding.bring(imageFromBytes(await halves(20, 10, 'png'), ''))
    await readWhole(image, 'bytes', 1e6)
    const event = { kind: 'completed' } as const
    expect(transcoding.complete(event)).toBe(event)
  })

  test.each(undecoded)('of %s, which is never decoded, with a warning', async (_, file) => {
    const { bytes, isUntouched, warnings } = await bring(file, { format: OutputFormat.JPEG, size: size(5, 5) })
    expect(bytes.equals(file)).toBe(true)
    expect(isUntouched).toBe(true)
    expect(warnings).toEqual([
      ['ignored', 'output_format', 'the image stays as basement made it: only still png, jpeg and webp images are converted'],
      ['ignored', 'size', 'the image stays as basement made it: only still png, jpeg and webp images are converted']
    ])
  })

  test.each<[string, WishedOutput, string]>([
    [
      'would be wider than WebP can be',
      { format: OutputFormat.WEBP, size: size(16_384, 100) },
      'webp images have sides of at most 16383 pixels'
    ],
    ['would have too many pixels', { size: size(10_000, 10_000) }, 'images of at most 20000000 pixels are made']
  ])('where the result %s, with a warning', async (_, wish, reason) => {
    const file = await halves(20, 10, 'png')
    const { bytes, warnings } = await bring(file, wish)
    expect(bytes.equals(file)).toBe(true)
    expect(warnings.at(-1)).toEqual(['ignored', 'size', `the image stays as basement made it: ${reason}`])
  })
})

describe('converts', () => {
  const pairs = formats.flatMap((from) => formats.filter((to) => to !== from).map((to) => [from, to] as const))

  test.each(pairs)('%s to %s', async (from, to) => {
    const { bytes, mediaType, warnings, isUntouched } = await bring(await halves(200, 100, from), { format: outputFormats[to] })
    expect({ mediaType, sniffed: sniffMediaType(bytes), isUntouched, warnings }).toEqual({
      mediaType: `image/${to}`,
      sniffed: `image/${to}`,
      isUntouched: false,
      warnings: []
    })
    expect(readDimensions(bytes)).toEqual({ width: 200, height: 100 })
    expect(await pixelAt(bytes, 20, 50)).toSatisfy(isNear([255, 0, 0]))
    expect(await pixelAt(bytes, 180, 50)).toSatisfy(isNear([0, 0, 255]))
  })

  test('an image that comes as base64', async () => {
    const { bytes } = await bring(await halves(200, 100, 'png'), { format: OutputFormat.WEBP }, { form: 'base64', chunkBytes: 1001 })
    expect([sniffMediaType(bytes), readDimensions(bytes)]).toEqual(['image/webp', { width: 200, height: 100 }])
  })

  test('into base64 too', async () => {
    const transcoding = orFail(transcoder.begin({ format: OutputFormat.PNG }, 'basement', createCall()))
    await using image = await transcoding.bring(imageFromBytes(await noise(600, 600).webp().toBuffer(), ''))
    const bytes = Buffer.from(Buffer.from(await readWhole(image, 'base64', 1e7)).toString(), 'base64')
    expect(await sharp(bytes).metadata()).toMatchObject({ format: 'png', width: 600 })
    expect(bytes.length).toBeGreaterThan(200_000)
  })

  test.each(['jpeg', 'webp'] as const)('to smaller %s files for less compression quality', async (format) => {
    const file = await noise(300, 300).png().toBuffer()
    const sizes: number[] = []
    for (const compression of [0, 25, 50, 75, 90, 100]) {
      sizes.push((await bring(file, { format: outputFormats[format], compression })).bytes.length)
    }
    expect(sizes).toEqual([...new Set(sizes)].sort((one, other) => one - other))
  })

  test.each(['jpeg', 'webp'] as const)('a %s whose compression is asked for, keeping its format', async (format) => {
    const file = await noise(300, 300).toFormat(format).toBuffer()
    const { bytes, mediaType } = await bring(file, { compression: 10 })
    expect(mediaType).toBe(`image/${format}`)
    expect(bytes.length).toBeLessThan(file.length / 2)
  })

  test.each<[WishedOutput['size'], PictureFormat]>([
    [size(512, 512), 'png'],
    [size(256, 256), 'webp'],
    [size(2048, 2048), 'jpeg'],
    [size(1, 1), 'png']
  ])('to the exact size %o of the same ratio', async (wished, format) => {
    const { bytes, mediaType, warnings } = await bring(await halves(1024, 1024, format), { size: orFail(wished) })
    expect([mediaType, readDimensions(bytes), warnings]).toEqual([`image/${format}`, { width: wished?.width, height: wished?.height }, []])
  })

  test('to a ratio that no grid of pixels can come closer to, without cutting anything', async () => {
    const { bytes, warnings } = await bring(await halves(1448, 1086, 'png'), { size: size(341, 256) })
    expect([readDimensions(bytes), warnings]).toEqual([{ width: 341, height: 256 }, []])
  })

  test('to another ratio by cutting at the centre, with a warning', async () => {
    const middle = sharp({ create: { width: 100, height: 100, channels: 3, background: '#00ff00' } })
    const file = await middle.extend({ left: 100, right: 100, background: '#ff0000' }).png().toBuffer()
    const { bytes, warnings } = await bring(file, { size: size(100, 100) })
    expect(readDimensions(bytes)).toEqual({ width: 100, height: 100 })
    for (const x of [1, 50, 98]) expect(await pixelAt(bytes, x, 50)).toSatisfy(isNear([0, 255, 0]))
    expect(warnings).toEqual([['converted', 'size', '300x100 has another ratio than 100x100, so the image was cut to it at its centre']])
  })

  test('format, compression and size in one go', async () => {
    const { bytes, mediaType } = await bring(await noise(600, 600).png().toBuffer(), {
      format: OutputFormat.JPEG,
      compression: 50,
      size: size(256, 256)
    })
    expect([mediaType, readDimensions(bytes)]).toEqual(['image/jpeg', { width: 256, height: 256 }])
    expect(await sharp(bytes).metadata()).toMatchObject({ chromaSubsampling: '4:2:0' })
  })

  test('what the EXIF data turns into what is seen', async () => {
    const turned = await sharp(await halves(200, 100, 'jpeg'))
      .withMetadata({ orientation: 6 })
      .toBuffer()
    const { bytes } = await bring(turned, { format: OutputFormat.PNG })
    expect(await sharp(bytes).metadata()).not.toHaveProperty('orientation')
    expect(readDimensions(bytes)).toEqual({ width: 100, height: 200 })
    expect(await pixelAt(bytes, 50, 20)).toSatisfy(isNear([255, 0, 0]))
  })

  test('colours of another profile into sRGB', async () => {
    const wide = await sharp(await halves(200, 100, 'png'))
      .withIccProfile('p3')
      .png()
      .toBuffer()
    const { bytes } = await bring(wide, { format: OutputFormat.WEBP })
    expect((await sharp(bytes).metadata()).icc).toBeUndefined()
    expect(await pixelAt(bytes, 20, 50)).toSatisfy(isNear([255, 0, 0]))
  })

  test('transparency to white where the format has none, with a warning', async () => {
    const clear = await sharp({ create: { width: 20, height: 10, channels: 4, background: { r: 0, g: 0, b: 0, alpha: 0 } } })
      .png()
      .toBuffer()
    const { bytes, warnings } = await bring(clear, { format: OutputFormat.JPEG })
    expect(await pixelAt(bytes, 5, 5)).toSatisfy(isNear([255, 255, 255]))
    expect(warnings).toEqual([['converted', 'output_format', 'transparent areas became white: jpeg files have none']])
  })

  test('an image with an opacity channel that hides nothing, without a warning', async () => {
    const file = await sharp(await halves(20, 10, 'png'))
      .ensureAlpha(1)
      .png()
      .toBuffer()
    expect((await bring(file, { format: OutputFormat.JPEG })).warnings).toEqual([])
  })

  test('transparency into formats that have it', async () => {
    const file = await sharp(await halves(20, 10, 'png'))
      .ensureAlpha(0.5)
      .png()
      .toBuffer()
    const { bytes, warnings } = await bring(file, { format: OutputFormat.WEBP })
    expect(await pixelAt(bytes, 2, 5)).toSatisfy(isNear([255, 0, 0, 128]))
    expect(warnings).toEqual([])
  })

  test.each(formats)('a %s with a C2PA manifest, and says that it is lost', async (format) => {
    const to = format === 'webp' ? 'png' : 'webp'
    const file = withContentCredentials(await halves(200, 100, format), format)
    const { bytes, warnings } = await bring(file, { format: outputFormats[to] })
    expect(bytes.includes('c2pa')).toBe(false)
    const dropped = 'the image had to be written anew, so the provenance metadata (C2PA) that basement put into it was dropped'
    expect(warnings).toEqual([['converted', 'output_format', dropped]])
    expect((await bring(file, { size: size(100, 50) })).warnings).toEqual([['converted', 'size', dropped]])
  })
})

describe('says what was delivered', () => {
  const claimed = { size: create(DimensionsSchema, { width: 1024, height: 1024 }), outputFormat: OutputFormat.PNG, quality: Quality.HIGH }

  test('in place of what the provider claims', async () => {
    const completed = await completedAfter({ format: OutputFormat.WEBP, size: size(256, 256) }, [await halves(1024, 1024, 'png')])
    expect(completed.resolved).toEqual(
      create(ResolvedParametersSchema, { size: size(256, 256), outputFormat: OutputFormat.WEBP, quality: Quality.HIGH })
    )
  })

  test('of several images only what they have in common', async () => {
    const svg = Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"/>')
    const completed = await completedAfter({ format: OutputFormat.WEBP }, [
      await halves(200, 100, 'png'),
      await halves(300, 100, 'webp'),
      svg
    ])
    expect(completed.resolved).toEqual(create(ResolvedParametersSchema, { quality: Quality.HIGH }))
  })

  test('once for images with the same fate, after the warnings of the provider', async () => {
    const file = withContentCredentials(await halves(200, 100, 'png'), 'png')
    const completed = await completedAfter({ format: OutputFormat.WEBP }, [file, file, file])
    expect(completed.warnings?.map(({ param }) => param)).toEqual(['n', 'output_format'])
  })

  async function completedAfter(wish: WishedOutput, files: readonly Buffer[]) {
    const transcoding = orFail(transcoder.begin(wish, 'basement', createCall()))
    for (const file of files) {
      await using image = await transcoding.bring(imageFromBytes(file, ''))
      await readWhole(image, 'bytes', 1e7)
    }
    return transcoding.complete({
      kind: 'completed',
      resolved: create(ResolvedParametersSchema, claimed),
      warnings: [{ kind: WarningKind.IGNORED, param: 'n', message: 'one too many' } as Warning]
    })
  }
})

describe('fails, with the outcome unknown,', () => {
  test('on an image of more pixels than are decoded, before it takes it in', async () => {
    const bomb = bombPng(16_000)
    expect(bomb.length).toBeLessThan(1_000_000)
    const before = process.resourceUsage().maxRSS
    await expect(bring(bomb, { format: OutputFormat.WEBP })).rejects.toMatchObject({
      reason: 'PROVIDER_FAILED',
      outcome: 'unknown',
      message: 'the provider basement failed: its image of 16000x16000 has more than the 20000000 pixels that are converted'
    })
    expect(process.resourceUsage().maxRSS - before).toBeLessThan(50_000)
  })

  test('on such an image that hides its size', async () => {
    const large = await sharp({ create: { width: 8000, height: 6500, channels: 3, background: 'black' } })
      .jpeg()
      .toBuffer()
    const before = process.resourceUsage().maxRSS
    await expect(bring(withSegments(large, 0xe5, Buffer.alloc(1_200_000)), { format: OutputFormat.WEBP })).rejects.toMatchObject({
      reason: 'PROVIDER_FAILED',
      outcome: 'unknown',
      message: 'the provider basement failed: its image is broken and cannot be converted to webp'
    })
    expect(process.resourceUsage().maxRSS - before).toBeLessThan(50_000)
  })

  test.each(formats)('on a %s that breaks off', async (format) => {
    const file = await noise(300, 300).toFormat(format).toBuffer()
    const to = format === 'png' ? 'jpeg' : 'png'
    for (const length of [40, 500, file.length >> 1]) {
      await expect(bring(file.subarray(0, length), { format: outputFormats[to] })).rejects.toMatchObject({
        reason: 'PROVIDER_FAILED',
        outcome: 'unknown',
        message: `the provider basement failed: its image is broken and cannot be converted to ${to}`
      })
    }
  })

  test('on one that only begins like a PNG', async () => {
    const disguised = Buffer.concat([
      Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'),
      Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    ])
    await expect(bring(disguised, { format: OutputFormat.WEBP })).rejects.toMatchObject({ reason: 'PROVIDER_FAILED' })
  })

  test('on text that is no base64', async () => {
    const text = `${(await halves(20, 10, 'png')).toString('base64').slice(0, -8)}****`
    const transcoding = orFail(transcoder.begin({ format: OutputFormat.WEBP }, 'basement', createCall()))
    await using image = await transcoding.bring(imageFromBase64(chunksOf(Buffer.from(text), 1000), ''))
    await expect(readWhole(image, 'bytes', 1e6)).rejects.toMatchObject({
      message: 'the provider basement failed: its image is not valid base64',
      outcome: 'unknown'
    })
  })

  test('on a file that never ends, and releases it', async () => {
    const png = await halves(20, 10, 'png')
    let released = false
    async function* endless(): AsyncGenerator<Uint8Array> {
      try {
        yield png
        for (;;) yield Buffer.alloc(4_000_000)
      } finally {
        released = true
      }
    }
    const transcoding = orFail(transcoder.begin({ format: OutputFormat.WEBP }, 'basement', createCall()))
    await using image = await transcoding.bring(imageFromBytes(endless(), ''))
    await expect(readWhole(image, 'bytes', 1e6)).rejects.toMatchObject({
      message: 'the provider basement failed: its image is larger than the 67108864 bytes that are converted',
      outcome: 'unknown'
    })
    expect(released).toBe(true)
  })

  test('with what the source throws while it is taken in', async () => {
    const error = gatewayError('OUTCOME_UNKNOWN', { provider: 'basement', problem: 'it broke off' }, { outcome: 'unknown' })
    const png = await halves(20, 10, 'png')
    async function* breaking(): AsyncGenerator<Uint8Array> {
      yield png.subarray(0, 100)
      throw error
    }
    const transcoding = orFail(transcoder.begin({ format: OutputFormat.WEBP }, 'basement', createCall()))
    const reading = async () => {
      await using image = await transcoding.bring(imageFromBytes(breaking(), ''))
      return await readWhole(image, 'bytes', 1e6)
    }
    await expect(reading()).rejects.toBe(error)
  })

  test('where the disk cannot be used', async () => {
    const gone = await createTemporaryDirectory()
    await using broken = createTranscoder({ maxConcurrent: 1 }, { scratch: createScratchFiles({ directory: gone.path }) })
    await rm(gone.path, { recursive: true })
    const transcoding = orFail(broken.begin({ format: OutputFormat.WEBP }, 'basement', createCall()))
    await using image = await transcoding.bring(imageFromBytes(await halves(20, 10, 'png'), ''))
    await expect(readWhole(image, 'bytes', 1e6)).rejects.toMatchObject({ reason: 'STORAGE_FAILED', outcome: 'unknown' })
  })

  test('and leaves no file behind', async () => {
    expect(await readdir(directory.path)).toEqual([])
  })
})

describe('stops', () => {
  test('taking an image in when the call is aborted, with the reason of the signal where that is for callers', async () => {
    const stop = new AbortController()
    const deadline = gatewayError('DEADLINE_EXCEEDED', { limitSeconds: 1 })
    const png = await noise(300, 300).png().toBuffer()
    let released = false
    let chunks = 0
    async function* slow(): AsyncGenerator<Uint8Array> {
      try {
        yield png.subarray(0, 1000)
        stop.abort(deadline)
        for (; ; chunks++) yield png
      } finally {
        released = true
      }
    }
    const transcoding = orFail(transcoder.begin({ format: OutputFormat.WEBP }, 'basement', createCall({ signal: stop.signal })))
    await using image = await transcoding.bring(imageFromBytes(slow(), ''))
    await expect(readWhole(image, 'bytes', 1e7)).rejects.toBe(deadline)
    expect({ released, chunks }).toEqual({ released: true, chunks: 0 })
  })

  test('waiting for a conversion when the call is aborted, at once, and cleans up behind it', async () => {
    const scratch = await createTemporaryDirectory()
    const large = await noise(1600, 1600).png({ compressionLevel: 0 }).toBuffer()
    const stop = new AbortController()
    {
      await using own = createTranscoder({ maxConcurrent: 1 }, { scratch: createScratchFiles({ directory: scratch.path }) })
      const started = Promise.all(
        ['converting', 'queueing'].map((_) =>
          bring(large, { format: OutputFormat.WEBP }, { call: createCall({ signal: stop.signal }), own })
        )
      )
      while (sharp.counters().process === 0) await sleep(1)
      stop.abort()
      await expect(started).rejects.toMatchObject({ reason: 'CANCELLED', outcome: 'unknown' })
      expect(sharp.counters().process).toBe(1)
    }
    expect(sharp.counters().process).toBe(0)
    expect(await readdir(scratch.path)).toEqual([])
    await scratch[Symbol.asyncDispose]()
  })

  test.each([
    ['that is converted', 'before it is read', size(499, 499)],
    ['that is converted', 'in the middle', size(499, 499)],
    ['that stays as it is', 'before it is read', size(500, 500)],
    ['that stays as it is', 'in the middle', size(500, 500)]
  ])('at once where an image %s is left %s', async (_, moment, wished) => {
    let released = false
    const png = await noise(500, 500).png().toBuffer()
    async function* source(): AsyncGenerator<Uint8Array> {
      try {
        yield* chunksOf(png, 10_000)
      } finally {
        released = true
      }
    }
    const transcoding = orFail(transcoder.begin({ size: wished }, 'basement', createCall()))
    {
      await using image = await transcoding.bring(imageFromBytes(source(), ''))
      if (moment === 'in the middle') for await (const _ of image.read('base64')) break
    }
    expect(released).toBe(true)
    expect(await readdir(directory.path)).toEqual([])
  })
})

test('converts many images at once, two at a time, each into its own', async () => {
  const files = await Promise.all(
    Array.from({ length: 20 }, (_, index) =>
      noise(400 + index, 300)
        .png()
        .toBuffer()
    )
  )
  let busiest = 0
  const watch = setInterval(() => {
    busiest = Math.max(busiest, sharp.counters().process + sharp.counters().queue)
  }, 1)
  const brought = await Promise.all(files.map((file) => bring(file, { format: OutputFormat.WEBP })))
  clearInterval(watch)
  expect(brought.map(({ bytes }) => readDimensions(bytes)?.width)).toEqual(files.map((_, index) => 400 + index))
  expect(busiest).toBe(2)
  expect(await readdir(directory.path)).toEqual([])
})

interface BringOptions {
  form?: 'bytes' | 'base64'
  chunkBytes?: number
  call?: Call
  own?: typeof transcoder
}

async function bring(file: Buffer, wish: WishedOutput, options: BringOptions = {}) {
  const { form = 'bytes', chunkBytes = 65_536, call = createCall(), own = transcoder } = options
  const transcoding = orFail(own.begin(wish, 'basement', call))
  const content = form === 'bytes' ? file : Buffer.from(file.toString('base64'))
  const body = (form === 'bytes' ? imageFromBytes : imageFromBase64)(chunksOf(content, chunkBytes), '')
  await using image = await transcoding.bring(body)
  const bytes = Buffer.from(await readWhole(image, 'bytes', 1e8))
  const { warnings = [] } = transcoding.complete({ kind: 'completed' })
  const kinds = { [WarningKind.IGNORED]: 'ignored', [WarningKind.CONVERTED]: 'converted' } as Record<number, string>
  return {
    bytes,
    mediaType: image.mediaType,
    isUntouched: image.isUntouched,
    warnings: warnings.map(({ kind, param, message }) => [kinds[kind], param, message])
  }
}

async function* chunksOf(content: Uint8Array, chunkBytes: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < content.length; at += chunkBytes) yield content.subarray(at, at + chunkBytes)
}

function size(width: number, height: number) {
  return create(DimensionsSchema, { width, height })
}

/** Whether a colour is as near to another as lossy files come. */
function isNear(expected: readonly number[]) {
  return (colour: readonly number[]) =>
    colour.length === expected.length && colour.every((value, at) => Math.abs(value - (expected[at] ?? 0)) < 8)
}

async function animated(format: 'gif' | 'webp'): Promise<Buffer> {
  const frame = await halves(20, 10, 'png')
  const frames = [frame, await sharp(frame).flop().png().toBuffer()]
  return sharp(frames, { join: { animated: true } })
    .toFormat(format)
    .toBuffer()
}

/** A valid square PNG of one colour that is small as a file and huge as an image. */
function bombPng(side: number): Buffer {
  const header = Buffer.from([0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0])
  header.writeUInt32BE(side, 0)
  header.writeUInt32BE(side, 4)
  const pixels = deflateSync(Buffer.alloc((side / 8 + 1) * side))
  return Buffer.concat([
    Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'),
    pngChunk('IHDR', header),
    pngChunk('IDAT', pixels),
    pngChunk('IEND', Buffer.alloc(0))
  ])
}

function orFail<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('there is none')
  return value
}
