import sharp, { type Sharp } from 'sharp'
import { describe, expect, test } from 'vitest'
import { type ImageStructure, readStructure } from '../../src/images/image-structure.ts'
import { insertPngChunk, noise, pngChunk, withContentCredentials } from '../support/pictures.ts'

const sound = { isWhole: true, isAnimated: false, hasAlpha: false, foreign: undefined }

describe.each([1, 7, 65_536])('in chunks of %i bytes', (chunkBytes) => {
  const structureOf = (file: Buffer) => readStructure(inChunks(file, chunkBytes), file.length)

  test.each<[string, () => Sharp]>([
    ['png', () => noise(37, 21).png()],
    ['interlaced png', () => noise(37, 21).png({ progressive: true })],
    ['jpeg', () => noise(37, 21).jpeg()],
    ['progressive jpeg', () => noise(37, 21).jpeg({ progressive: true })],
    [
      'jpeg with metadata',
      () =>
        noise(37, 21)
          .jpeg()
          .withExif({ IFD0: { Copyright: 'nobody' } })
          .withIccProfile('srgb')
    ],
    ['webp', () => noise(37, 21).webp()],
    ['lossless webp', () => noise(37, 21).webp({ lossless: true })]
  ])('reads the size of a whole %s', async (_, picture) => {
    expect(await structureOf(await picture().toBuffer())).toEqual({ ...sound, size: { width: 37, height: 21 } })
  })

  test.each<[string, (picture: Sharp) => Sharp]>([
    ['png', (picture) => picture.png()],
    ['png with a palette', (picture) => picture.png({ palette: true })],
    ['webp', (picture) => picture.webp()],
    ['lossless webp', (picture) => picture.webp({ lossless: true })]
  ])('sees the transparency of a %s', async (_, format) => {
    const picture = sharp({ create: { width: 16, height: 16, channels: 4, background: '#ff000080' } })
    expect(await structureOf(await format(picture).toBuffer())).toMatchObject({ isWhole: true, hasAlpha: true })
  })

  test.each(['png', 'jpeg', 'webp'] as const)('sees that a %s breaks off, wherever it does', async (format) => {
    const file = await noise(24, 24).toFormat(format).toBuffer()
    const lengths = Array.from({ length: Math.ceil(file.length / 37) }, (_, index) => index * 37)
    const whole = await Promise.all(lengths.map(async (length) => (await structureOf(file.subarray(0, length))).isWhole))
    expect(whole.filter(Boolean)).toEqual([])
  })

  test('finds an archive at the end and inside', async () => {
    const png = await noise(8, 8).png().toBuffer()
    expect(await structureOf(Buffer.concat([png, emptyZip]))).toMatchObject({ foreign: 'a zip archive' })
    expect(await structureOf(insertPngChunk(png, 'zipF', emptyZip))).toMatchObject({ foreign: 'a zip archive' })
  })
})

const structureOf = (file: Buffer) => readStructure(inChunks(file, 65_536), file.length)

test.each(['png', 'jpeg', 'webp'] as const)('takes content credentials in a %s for a part of it', async (format) => {
  const file = withContentCredentials(await noise(32, 32).toFormat(format).toBuffer(), format, 200_000)
  expect(await structureOf(file)).toMatchObject({ isWhole: true, foreign: undefined })
})

test('allows further pictures behind a JPEG, as cameras put them there, but no other kind of file', async () => {
  const [jpeg, png] = await Promise.all([noise(16, 16).jpeg().toBuffer(), noise(16, 16).png().toBuffer()])
  expect(await structureOf(Buffer.concat([jpeg, jpeg]))).toEqual({ ...sound, size: { width: 16, height: 16 } })
  expect(await structureOf(Buffer.concat([jpeg, png]))).toMatchObject({ foreign: 'a second image' })
  expect(await structureOf(Buffer.concat([png, jpeg]))).toMatchObject({ foreign: 'a second image' })
  expect(await structureOf(Buffer.concat([png, Buffer.from('x')]))).toMatchObject({ foreign: 'data behind its end' })
})

test('sees what moves', async () => {
  const frames = [noise(16, 16), noise(16, 16)].map((frame) => frame.png().toBuffer())
  const webp = await sharp(await Promise.all(frames), { join: { animated: true } })
    .webp()
    .toBuffer()
  expect(await structureOf(webp)).toMatchObject({ isWhole: true, isAnimated: true })
  const png = insertPngChunk(await noise(16, 16).png().toBuffer(), 'acTL', Buffer.alloc(8, 1))
  expect(await structureOf(png)).toMatchObject({ isWhole: true, isAnimated: true })
})

test('never throws, whatever the bytes are', async () => {
  const files = await Promise.all((['png', 'jpeg', 'webp'] as const).map((format) => noise(40, 40).toFormat(format).toBuffer()))
  let state = 1
  const next = (below: number) => {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31
    return state % below
  }
  for (let round = 0; round < 600; round++) {
    const file = Buffer.from(files[round % 3] ?? Buffer.alloc(0))
    for (let change = 0; change < 4; change++) file[12 + next(file.length - 12)] = next(256)
    expect(await structureOf(file)).toEqual(expect.objectContaining<Partial<ImageStructure>>({ isWhole: expect.any(Boolean) }))
  }
})

test('gives up on a PNG of a million pieces', async () => {
  const png = await noise(8, 8).png().toBuffer()
  const piece = pngChunk('teXt', Buffer.alloc(0))
  const file = Buffer.concat([png.subarray(0, 33), ...Array.from({ length: 1_000_000 }, () => piece), png.subarray(33)])
  expect(await structureOf(file)).toMatchObject({ isWhole: false })
})

test('gets through a JPEG that is all markers', async () => {
  const jpeg = await noise(8, 8).jpeg().toBuffer()
  const file = Buffer.concat([jpeg.subarray(0, -2), Buffer.alloc(20_000_000, 0xff)])
  expect(await structureOf(file)).toMatchObject({ isWhole: false })
})

const emptyZip = Buffer.concat([Buffer.from('PK\x05\x06', 'latin1'), Buffer.alloc(18)])

async function* inChunks(file: Buffer, chunkBytes: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < file.length; at += chunkBytes) yield file.subarray(at, at + chunkBytes)
}
