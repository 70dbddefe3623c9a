import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { imageFromBase64, imageFromBytes, readWhole } from '../../src/images/image-body.ts'
import { chunkSource, collect } from '../support/chunks.ts'

test('passes its source through unchanged in the form that it has', () => {
  const source = chunkSource(['AAAA'])
  expect(imageFromBase64(source, 'image/png').read('base64')).toBe(source)
  expect(imageFromBytes(source, 'image/png').read('bytes')).toBe(source)
})

test('converts into the other form', async () => {
  expect((await collect(imageFromBase64(chunkSource(['aGVsb', 'G8=']), '').read('bytes'))).toString()).toBe('hello')
  expect((await collect(imageFromBytes(chunkSource(['he', 'llo']), '').read('base64'))).toString()).toBe('aGVsbG8=')
})

test('takes bytes that are already here', async () => {
  const bytes = randomBytes(500_000)
  expect(await collect(imageFromBytes(bytes, 'image/png').read('bytes'))).toEqual(bytes)
  expect((await collect(imageFromBytes(bytes, 'image/png').read('base64'))).toString()).toBe(bytes.toString('base64'))
})

test('states its media type and form', () => {
  expect(imageFromBase64(chunkSource([]), 'image/webp')).toMatchObject({ mediaType: 'image/webp', form: 'base64' })
  expect(imageFromBytes(chunkSource([]), '')).toMatchObject({ mediaType: '', form: 'bytes' })
})

test('can be read only once, in whatever form', () => {
  const body = imageFromBase64(chunkSource(['AAAA']), 'image/png')
  body.read('base64')
  expect(() => body.read('base64')).toThrow('an image body can be read only once')
  expect(() => body.read('bytes')).toThrow('an image body can be read only once')
})

test.each(['bytes', 'base64'] as const)('releases its source when reading %s is left early', async (form) => {
  const source = chunkSource(['AAAA', 'AAAA'])
  for await (const _ of imageFromBase64(source, 'image/png').read(form)) break
  expect(source).toMatchObject({ released: true, taken: 1 })
})

test('is read whole up to the limit, which counts in the form asked for', async () => {
  const text = 'aGVsbG8='
  expect(Buffer.from(await readWhole(imageFromBase64(chunkSource([text]), ''), 'bytes', 5)).toString()).toBe('hello')
  await expect(readWhole(imageFromBase64(chunkSource([text]), ''), 'bytes', 4)).rejects.toThrow(
    new RangeError('the image is larger than 4 bytes')
  )
  expect(Buffer.from(await readWhole(imageFromBase64(chunkSource([text]), ''), 'base64', 8)).toString()).toBe(text)
  await expect(readWhole(imageFromBase64(chunkSource([text]), ''), 'base64', 7)).rejects.toThrow(RangeError)
})

test('releases an image that is too large', async () => {
  const source = chunkSource(['AAAA', 'AAAA', 'AAAA'])
  await expect(readWhole(imageFromBytes(source, ''), 'bytes', 5)).rejects.toThrow(RangeError)
  expect(source).toMatchObject({ released: true, taken: 2 })
})

test.each([
  ['frees the chunks that a source gives away as soon as they are converted', true, [0, 0, 1024]],
  ['leaves the chunks of any other source as they are when they are converted', false, [65_537, 65_535, 1024]]
])('%s', async (_, givesChunksAway, lengths) => {
  const text = Buffer.from(Buffer.alloc(98_304, 'a cat').toString('base64'), 'latin1')
  const whole = [text.subarray(0, 65_537), text.subarray(65_537)].map((part) => Uint8Array.from(part))
  const part = new Uint8Array(2048).fill(0x41).subarray(1024)
  const chunks = [...whole, part]
  const image = imageFromBase64(chunkSource(chunks), 'image/png', { givesChunksAway })
  expect((await collect(image.read('bytes'))).equals(Buffer.concat([Buffer.alloc(98_304, 'a cat'), Buffer.alloc(768)]))).toBe(true)
  expect(chunks.map(({ length }) => length)).toEqual(lengths)
})
