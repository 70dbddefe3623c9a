import fc from 'fast-check'
import sharp from 'sharp'
import { expect, test } from 'vitest'
import { fileExtension, sniffMediaType } from '../../src/images/media-type.ts'

test.each([
  ['png', 'image/png'],
  ['jpeg', 'image/jpeg'],
  ['webp', 'image/webp'],
  ['gif', 'image/gif'],
  ['avif', 'image/avif']
] as const)('recognises %s', async (format, mediaType) => {
  const image = await sharp({ create: { width: 8, height: 8, channels: 3, background: '#264653' } })
    .toFormat(format)
    .toBuffer()
  expect(sniffMediaType(image)).toBe(mediaType)
})

test.each([
  '<svg xmlns="http://www.w3.org/2000/svg"/>',
  '\ufeff<?xml version="1.0"?>\n<!-- drawn by hand -->\n<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "x.dtd">\n<svg>',
  '  <!-- <html> --> <svg\n width="1">'
])('recognises the SVG image %j', (text) => {
  expect(sniffMediaType(Buffer.from(text))).toBe('image/svg+xml')
})

test.each(['', '<html><svg/></html>', '<!-- <svg>', '<svgs>', '{"error":{}}', 'RIFF0000WAVE', 'GIF88a', '\x89PNG'])(
  'takes %j for no image',
  (text) => {
    expect(sniffMediaType(Buffer.from(text, 'latin1'))).toBeUndefined()
  }
)

test('says something about any bytes', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      sniffMediaType(bytes)
    })
  )
})

test.each([
  ['image/png', 'png'],
  ['image/jpeg', 'jpg'],
  ['image/webp', 'webp'],
  ['image/gif', 'gif'],
  ['image/svg+xml; charset=utf-8', 'svg'],
  ['IMAGE/AVIF', 'avif'],
  ['text/html', 'bin'],
  ['', 'bin']
])('names files of %j .%s', (mediaType, extension) => {
  expect(fileExtension(mediaType)).toBe(extension)
})
