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
