import sharp, { type Sharp } from 'sharp'
import { describe, expect, test } from 'vitest'
import { checkInput, checkMask } from '../../src/admission/check-input.ts'
import { imageFromBytes, type StoredImage } from '../../src/images/image-body.ts'
import { sniffMediaType } from '../../src/images/media-type.ts'
import { noise, pngChunk } from '../support/pictures.ts'

test.each([
  ['png', 'image/png'],
  ['jpeg', 'image/jpeg'],
  ['webp', 'image/webp']
] as const)('takes a %s and tells its size', async (format, mediaType) => {
  const checked = await checkInput(stored(await noise(40, 30).toFormat(format).toBuffer()), 'image')
  expect(checked).toMatchObject({ mediaType, width: 40, height: 30, hasAlpha: false })
})

test('takes the largest images that are converted', async () => {
  const file = await sharp({ create: { width: 10_000, height: 5_000, channels: 3, background: 'red' } })
    .png()
    .toBuffer()
  await expect(checkInput(stored(file), 'image')).resolves.toMatchObject({ width: 10_000, height: 5_000 })
})

test('opens a checked image as often as one likes', async () => {
  const file = await noise(8, 8).png().toBuffer()
  const checked = await checkInput(stored(file), 'image')
  for (let time = 0; time < 3; time++) expect(Buffer.concat(await Array.fromAsync(checked.open().read('bytes')))).toEqual(file)
})

describe('refuses', () => {
  const png = noise(8, 8).png().toBuffer()
  const jpeg = noise(8, 8).jpeg().toBuffer()
  const hostile: [string, () => Buffer | Promise<Buffer>, string][] = [
    ['an empty file', () => Buffer.alloc(0), 'is no image that is known here: must be a png, jpeg or webp file'],
    ['text', () => Buffer.from('hello'), 'is no image that is known here: must be a png, jpeg or webp file'],
    ['a page', () => Buffer.from('<!doctype html><html></html>'), 'is no image that is known here: must be a png, jpeg or webp file'],
    [
      'an SVG',
      () => Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"/>'),
      'is of the type image/svg+xml: must be a png, jpeg or webp file'
    ],
    [
      'an SVG behind a document type',
      () => Buffer.from('<?xml version="1.0"?><!DOCTYPE svg SYSTEM "file:///etc/passwd"><svg/>'),
      'is of the type image/svg+xml: must be a png, jpeg or webp file'
    ],
    ['a GIF', () => noise(8, 8).gif().toBuffer(), 'is of the type image/gif: must be a png, jpeg or webp file'],
    ['an AVIF', () => noise(16, 16).avif().toBuffer(), 'is of the type image/avif: must be a png, jpeg or webp file'],
    ['a bare PNG signature', async () => (await png).subarray(0, 8), broken('png')],
    ['a PNG without an end', async () => (await png).subarray(0, -12), broken('png')],
    ['a PNG that breaks off', async () => (await png).subarray(0, 60), broken('png')],
    ['a PNG without pixels', () => pngOf(8, 8, Buffer.alloc(0)), broken('png')],
    ['a PNG of no width', () => pngOf(0, 8), broken('png')],
    ['a JPEG that breaks off', async () => (await jpeg).subarray(0, -20), broken('jpeg')],
    ['a JPEG without a frame', () => Buffer.from('ffd8ffd9', 'hex'), broken('jpeg')],
    ['a WebP that breaks off', async () => (await noise(8, 8).webp().toBuffer()).subarray(0, 40), broken('webp')],
    ['a bomb of 65535x65535 pixels', () => pngOf(65_535, 65_535), 'has 65535x65535 pixels: must have at most 50000000 in all'],
    ['a bomb beyond 32 bits', () => pngOf(0x7fffffff, 0x7fffffff), 'has 2147483647x2147483647 pixels: must have at most 50000000 in all'],
    ['one row too many', () => pngOf(10_000, 5_001), 'has 10000x5001 pixels: must have at most 50000000 in all'],
    ['a PNG and a zip archive', async () => Buffer.concat([await png, zip]), 'is a png file that also holds a zip archive'],
    ['a JPEG and a zip archive', async () => Buffer.concat([await jpeg, zip]), 'is a jpeg file that also holds a zip archive'],
    [
      'a JPEG and a rar archive',
      async () => Buffer.concat([await jpeg, Buffer.from('Rar!\x1a\x07\x01\x00', 'latin1')]),
      'is a jpeg file that also holds a rar archive'
    ],
    ['a JPEG that is a script', () => commented('<?php system($_GET[0]); ?>'), 'is a jpeg file that also holds a script'],
    ['a JPEG that is a page', () => commented('--><script src=x></script>'), 'is a jpeg file that also holds a script'],
    ['a JPEG that is a PDF', () => commented('%PDF-1.7'), 'is a jpeg file that also holds a pdf document'],
    ['a PNG and a JPEG', async () => Buffer.concat([await png, await jpeg]), 'is a png file that also holds a second image'],
    [
      'a PNG with more behind it',
      async () => Buffer.concat([await png, Buffer.from('secret')]),
      'is a png file that also holds data behind its end'
    ]
  ]

  test.each(hostile)('%s', async (_, file, problem) => {
    await expect(checkInput(stored(await file()), 'image[3]')).rejects.toMatchObject({
      reason: 'INVALID_PARAMETER',
      param: 'image[3]',
      message: `image[3]: ${problem}`,
      outcome: 'not_sent'
    })
  })

  test('an animation', async () => {
    const frames = await Promise.all([noise(8, 8), noise(8, 8)].map((frame) => frame.png().toBuffer()))
    const file = await sharp(frames, { join: { animated: true } })
      .webp()
      .toBuffer()
    await expect(checkInput(stored(file), 'image')).rejects.toMatchObject({ message: 'image: is animated: must be a still image' })
  })

  test.each<[string, () => Promise<Buffer>, string]>([
    ['a mask that is a WebP', () => clear(8, 8).webp().toBuffer(), 'mask: is of the type image/webp: must be a png file'],
    [
      'a mask without transparency',
      () => noise(8, 8).png().toBuffer(),
      'mask: has no alpha channel: its transparent places are those to be painted over'
    ],
    [
      'a mask of another size',
      () => clear(9, 8).png().toBuffer(),
      'mask: has 9x8 pixels: must have the size of the first image, which is 8x8'
    ]
  ])('%s', async (_, file, message) => {
    const [mask, first] = await Promise.all([checkInput(stored(await file()), 'mask'), checkInput(stored(await jpeg), 'image')])
    expect(() => checkMask(mask, first, 'mask')).toThrow(expect.objectContaining({ reason: 'INVALID_PARAMETER', param: 'mask', message }))
  })
})

test('takes a mask with an alpha channel or a transparent palette', async () => {
  const first = await checkInput(stored(await noise(8, 8).jpeg().toBuffer()), 'image')
  for (const file of [clear(8, 8).png(), clear(8, 8).png({ palette: true })]) {
    checkMask(await checkInput(stored(await file.toBuffer()), 'mask'), first, 'mask')
  }
})

const zip = Buffer.concat([Buffer.from('PK\x03\x04', 'latin1'), Buffer.alloc(26), Buffer.from('PK\x05\x06', 'latin1'), Buffer.alloc(18)])

function broken(format: string): string {
  return `is a broken ${format} file: it breaks off or is not built as its format asks`
}

function clear(width: number, height: number): Sharp {
  return sharp({ create: { width, height, channels: 4, background: '#00000000' } })
}

/** A PNG that states a size, whatever its data is. */
function pngOf(width: number, height: number, data?: Buffer): Buffer {
  const header = Buffer.alloc(13)
  header.writeUInt32BE(width, 0)
  header.writeUInt32BE(height, 4)
  header.set([8, 2, 0, 0, 0], 8)
  const pixels = data?.length === 0 ? [] : [pngChunk('IDAT', data ?? Buffer.alloc(10))]
  return Buffer.concat([Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'), pngChunk('IHDR', header), ...pixels, pngChunk('IEND', Buffer.alloc(0))])
}

/** A whole JPEG with a comment. */
async function commented(text: string): Promise<Buffer> {
  const jpeg = await noise(8, 8).jpeg().toBuffer()
  const comment = Buffer.concat([Buffer.from([0xff, 0xfe, 0, text.length + 2]), Buffer.from(text)])
  return Buffer.concat([jpeg.subarray(0, 2), comment, jpeg.subarray(2)])
}

function stored(file: Buffer): StoredImage {
  const mediaType = sniffMediaType(file) ?? ''
  return { mediaType, sizeBytes: file.length, open: () => imageFromBytes(file, mediaType) }
}
