import sharp from 'sharp'
import { describe, expect, test } from 'vitest'
import { imageFromBase64, imageFromBytes, readWhole } from '../../src/images/image-body.ts'
import { withSniffedMediaType } from '../../src/images/sniffed-image.ts'

const create = { width: 100, height: 100, channels: 3 as const, background: 'teal' }
const png = await sharp({ create }).png({ compressionLevel: 0 }).toBuffer()

describe.each(['bytes', 'base64'] as const)('an image in %s', (form) => {
  const whole = form === 'bytes' ? png : Buffer.from(png.toString('base64'))
  const from = (chunks: AsyncIterable<Uint8Array>, stated: string) => (form === 'bytes' ? imageFromBytes : imageFromBase64)(chunks, stated)

  test.each([1, 3, 4, 7, 1000, 5000, 1_000_000])('in chunks of %i is recognised and loses nothing', async (size) => {
    const image = await withSniffedMediaType(from(chunksOf(whole, size), 'image/webp'))
    expect([image.mediaType, image.form]).toEqual(['image/png', form])
    expect(Buffer.from(await readWhole(image, 'bytes', 1e6)).equals(png)).toBe(true)
  })

  test('keeps the type that is stated where nothing can recognise that type', async () => {
    const text = form === 'bytes' ? 'heic' : Buffer.from('heic').toString('base64')
    expect((await withSniffedMediaType(from(chunksOf(Buffer.from(text), 3), 'Image/HEIC; a=b'))).mediaType).toBe('image/heic')
  })

  test.each(['', 'text/html', 'image/png', 'image/jpg', 'image/', 'image/a b'])(
    'that is none has no type, whatever %j states',
    async (stated) => {
      const text = '<html>no image</html>'.repeat(1000)
      const content = Buffer.from(form === 'bytes' ? text : Buffer.from(text).toString('base64'))
      const image = await withSniffedMediaType(from(chunksOf(content, 1000), stated))
      expect(image.mediaType).toBe('')
      expect(Buffer.from(await readWhole(image, 'bytes', 1e6)).toString()).toBe(text)
    }
  )

  test('that is empty has no type', async () => {
    expect((await withSniffedMediaType(from(chunksOf(Buffer.alloc(0), 1), 'image/heic'))).mediaType).toBe('')
  })

  test('releases its source when it is left before it is read', async () => {
    const source = watched(chunksOf(whole, 1000))
    const image = await withSniffedMediaType(from(source.chunks, ''))
    await image.read(form)[Symbol.asyncIterator]().return?.()
    expect(source.state).toBe('left')
  })

  test('releases its source when it is left in the middle', async () => {
    const source = watched(chunksOf(whole, 1000))
    for await (const _ of (await withSniffedMediaType(from(source.chunks, ''))).read('bytes')) break
    expect(source.state).toBe('left')
  })

  test('passes on what its source throws', async () => {
    const error = new Error('broke off')
    async function* breaking() {
      yield whole.subarray(0, 10_000)
      throw error
    }
    await expect(readWhole(await withSniffedMediaType(from(breaking(), '')), form, 1e6)).rejects.toBe(error)
  })
})

async function* chunksOf(bytes: Uint8Array, size: number): AsyncIterable<Uint8Array> {
  for (let start = 0; start < bytes.length; start += size) yield bytes.subarray(start, start + size)
}

function watched(source: AsyncIterable<Uint8Array>) {
  const state = { state: 'open', chunks: read() }
  async function* read() {
    try {
      yield* source
      state.state = 'read'
    } finally {
      if (state.state === 'open') state.state = 'left'
    }
  }
  return state
}
