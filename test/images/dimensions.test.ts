import fc from 'fast-check'
import sharp from 'sharp'
import { expect, test } from 'vitest'
import { readDimensions } from '../../src/images/dimensions.ts'

const drawing = sharp({ create: { width: 1536, height: 1023, channels: 4, background: { r: 38, g: 70, b: 83, alpha: 0.5 } } })

test.each([
  ['PNG', drawing.clone().png()],
  ['GIF', drawing.clone().gif()],
  ['baseline JPEG', drawing.clone().jpeg()],
  ['progressive JPEG', drawing.clone().jpeg({ progressive: true })],
  [
    'JPEG with metadata',
    drawing
      .clone()
      .jpeg()
      .withExif({ IFD0: { Copyright: 'x'.repeat(20_000) } })
  ],
  ['lossy WebP', drawing.clone().flatten().webp()],
  ['lossless WebP', drawing.clone().webp({ lossless: true })],
  [
    'WebP with alpha and metadata',
    drawing
      .clone()
      .webp()
      .withExif({ IFD0: { Copyright: 'x' } })
  ]
])('reads width and height of a %s', async (_, image) => {
  const bytes = await image.toBuffer()
  expect(readDimensions(bytes.subarray(0, 65_536))).toEqual({ width: 1536, height: 1023 })
})

test('does not know the size of other formats and of beginnings that are too short', async () => {
  const png = await drawing.clone().png().toBuffer()
  expect(readDimensions(png.subarray(0, 23))).toBeUndefined()
  expect(readDimensions(Buffer.from('<svg width="8" height="8"/>'))).toBeUndefined()
  expect(readDimensions(new Uint8Array())).toBeUndefined()
})

test('reads any bytes behind a signature without throwing', () => {
  const signatures = ['\x89PNG\r\n\x1a\n', '\xff\xd8\xff', 'RIFF0000WEBPVP8 ', 'RIFF0000WEBPVP8L', 'RIFF0000WEBPVP8X', 'GIF89a']
  fc.assert(
    fc.property(fc.constantFrom(...signatures), fc.uint8Array({ maxLength: 40 }), (signature, rest) => {
      readDimensions(Buffer.concat([Buffer.from(signature, 'latin1'), rest]))
    }),
    { numRuns: 1000 }
  )
})
