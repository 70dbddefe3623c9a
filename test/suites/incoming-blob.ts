import { describe, expect, test } from 'vitest'
import { type ImageBody, imageFromBase64, imageFromBytes } from '../../src/images/image-body.ts'
import { NotAnImageError } from '../../src/storage/blob-store.ts'
import { collect, inChunks, png } from '../support/blob-contents.ts'
import type { BlobStoreUnderTest } from './blob-store.ts'

const meta = { organizationId: 'default', lifetimeSeconds: 60 }

/** What every blob store promises of images that are read while they are stored. */
export function incomingBlobSuite(name: string, open: () => Promise<BlobStoreUnderTest>): void {
  describe(`${name}, of images that pass through,`, () => {
    test('hands the chunks on as they come, and stores the image', async () => {
      await using under = await open()
      const content = png(2_200_000)
      const chunks = await Array.fromAsync(inChunks(textOf(content), 65_537))
      const incoming = under.store.take(imageFromBase64(eachOf(chunks), 'image/png'), meta)
      const read = await Array.fromAsync(incoming.body.read('base64'))
      expect(read).toHaveLength(chunks.length)
      expect(read.every((chunk, index) => chunk === chunks[index])).toBe(true)
      expect(await storedContent(under, await incoming.stored)).toEqual(content)
    })

    test('lets its reader follow before the image is whole', async () => {
      await using under = await open()
      const { promise: gate, resolve: finish } = Promise.withResolvers<void>()
      async function* source() {
        yield png(1_000_000)
        await gate
        yield Buffer.from('the end')
      }
      const incoming = under.store.take(imageFromBytes(source(), ''), meta)
      const reader = incoming.body.read('bytes')[Symbol.asyncIterator]()
      expect((await reader.next()).value).toEqual(png(1_000_000))
      finish()
      expect(await collect(rest(reader))).toEqual(Buffer.from('the end'))
      expect((await incoming.stored).blob.sizeBytes).toBe(1_000_007)
    })

    test.each([
      ['base64', 'base64', 1],
      ['base64', 'bytes', 1],
      ['bytes', 'bytes', 1],
      ['bytes', 'base64', 1],
      ['base64', 'base64', 0],
      ['base64', 'bytes', 0],
      ['bytes', 'bytes', 0],
      ['bytes', 'base64', 0]
    ] as const)('gives %s as %s to a reader that took %i chunk before all was stored', async (form, as, count) => {
      await using under = await open()
      const content = png(3_000_001)
      const incoming = under.store.take(bodyOf(content, form, 65_537), meta)
      const reader = incoming.body.read(as)[Symbol.asyncIterator]()
      const first = count === 1 ? (await reader.next()).value : Buffer.alloc(0)
      await incoming.stored
      const all = Buffer.concat([first, await collect(rest(reader))])
      expect(all.equals(as === 'bytes' ? content : textOf(content))).toBe(true)
    })

    test.each([1, 2, 3, 4, 5])('gives a slow reader everything, in chunks of all sizes, seed %i', async (seed) => {
      await using under = await open()
      const content = png(2_500_000 + seed)
      const text = textOf(content)
      const random = randomFrom(seed)
      async function* source() {
        for (let at = 0; at < text.length; ) {
          const length = 1 + (random() % (random() % 2 === 0 ? 1_000 : 200_000))
          yield text.subarray(at, at + length)
          at += length
          if (random() % 4 === 0) await new Promise(setImmediate)
        }
      }
      const incoming = under.store.take(imageFromBase64(source(), 'image/png'), meta)
      const chunks: Uint8Array[] = []
      for await (const chunk of incoming.body.read('base64')) {
        chunks.push(chunk)
        for (let turns = random() % 12; turns > 0; turns--) await new Promise(setImmediate)
      }
      expect(Buffer.concat(chunks).equals(text)).toBe(true)
      expect((await storedContent(under, await incoming.stored)).equals(content)).toBe(true)
    })

    test('never waits for its reader', async () => {
      await using under = await open()
      const incoming = under.store.take(bodyOf(png(5_000_000), 'base64', 65_536), meta)
      const reader = incoming.body.read('base64')[Symbol.asyncIterator]()
      await reader.next()
      expect((await incoming.stored).blob.sizeBytes).toBe(5_000_000)
      await reader.return?.()
    })

    test('goes on when its reader leaves', async () => {
      await using under = await open()
      const incoming = under.store.take(bodyOf(png(3_000_000), 'base64', 65_536), meta)
      for await (const _chunk of incoming.body.read('base64')) break
      expect((await storedContent(under, await incoming.stored)).equals(png(3_000_000))).toBe(true)
    })

    test('can be read only once', async () => {
      await using under = await open()
      const incoming = under.store.take(bodyOf(png(1_000), 'bytes', 100), meta)
      incoming.body.read('bytes')
      expect(() => incoming.body.read('bytes')).toThrow('an image body can be read only once')
      await incoming.stored
    })

    test('opens an image only when its record is committed', async () => {
      await using under = await open()
      const incoming = under.store.take(bodyOf(png(1_000), 'bytes', 100), { ...meta, taskId: 'task-1' })
      const { blob, row } = await incoming.stored
      expect(await under.store.open(blob.id)).toBeUndefined()
      expect(await under.inventory()).toEqual({ objects: 1, records: 0 })
      await under.database.commit([row])
      expect(await under.store.open(blob.id)).toMatchObject(blob)
      const rows = await under.database.query.selectFrom('blobs').select(['task_id', 'access']).execute()
      expect(rows).toEqual([{ task_id: 'task-1', access: 'signed' }])
    })

    test.each([
      ['before anything else', 0, undefined],
      ['in the middle', 1_500_000, undefined],
      ['in the middle, while somebody reads', 1_500_000, 'bytes' as const]
    ])('keeps nothing of an image that breaks off %s, and passes the error on', async (_, sizeBytes, as) => {
      await using under = await open()
      const failure = new Error('the provider hung up')
      async function* source() {
        if (sizeBytes > 0) yield* inChunks(png(sizeBytes), 50_000)
        throw failure
      }
      const incoming = under.store.take(imageFromBytes(source(), ''), meta)
      if (as) await expect(collect(incoming.body.read(as))).rejects.toBe(failure)
      await expect(incoming.stored).rejects.toBe(failure)
      if (!as) await expect(collect(incoming.body.read('bytes'))).rejects.toBe(failure)
      expect(await under.inventory()).toEqual({ objects: 0, records: 0 })
    })

    test.each([
      ['inside a group of characters', textOf(png(700_000)).subarray(0, -3)],
      [
        'in the middle',
        Buffer.from(
          textOf(png(700_000))
            .toString()
            .replace(/(.{500000})./s, '$1!')
        )
      ],
      ['behind the padding', Buffer.concat([textOf(png(100_000)), textOf(png(100_000))])]
    ])('stores no text that is no base64 %s, but gives it to who wants text', async (_, text) => {
      await using under = await open()
      const incoming = under.store.take(imageFromBase64(inChunks(text, 65_537), 'image/png'), meta)
      await expect(incoming.stored).rejects.toThrow(SyntaxError)
      expect((await collect(incoming.body.read('base64'))).equals(text)).toBe(true)
      expect(await under.inventory()).toEqual({ objects: 0, records: 0 })
      const other = under.store.take(imageFromBase64(inChunks(text, 65_537), 'image/png'), meta)
      await expect(collect(other.body.read('bytes'))).rejects.toThrow(SyntaxError)
    })

    test('stores nothing that is no image, but gives it to its reader', async () => {
      await using under = await open()
      const content = Buffer.alloc(1_000_000, 'text ')
      const incoming = under.store.take(bodyOf(content, 'bytes', 50_000), meta)
      await expect(incoming.stored).rejects.toThrow(NotAnImageError)
      expect((await collect(incoming.body.read('bytes'))).equals(content)).toBe(true)
      expect(await under.inventory()).toEqual({ objects: 0, records: 0 })
    })

    test('takes no more than fits into memory of what it cannot store', async () => {
      await using under = await open()
      let isReleased = false
      async function* endless() {
        try {
          for (;;) yield Buffer.alloc(1_000_000, 'text ')
        } finally {
          isReleased = true
        }
      }
      const incoming = under.store.take(imageFromBytes(endless(), 'image/png'), meta)
      await expect(incoming.stored).rejects.toThrow(NotAnImageError)
      await expect.poll(() => isReleased).toBe(true)
      await expect(collect(incoming.body.read('bytes'))).rejects.toMatchObject({
        reason: 'STORAGE_FAILED',
        outcome: 'unknown',
        message: 'the image could not be stored: it is too large to be passed on without being stored'
      })
    })

    test('removes what is discarded after it was stored', async () => {
      await using under = await open()
      const incoming = under.store.take(bodyOf(png(1_000_000), 'base64', 65_536), meta)
      await incoming.stored
      await incoming.discard()
      await incoming.discard()
      expect(await under.inventory()).toEqual({ objects: 0, records: 0 })
    })

    test('stops storing what is discarded, and releases a source that nobody reads', async () => {
      await using under = await open()
      let isReleased = false
      async function* endless() {
        try {
          for (;;) {
            yield png(10_000)
            await new Promise(setImmediate)
          }
        } finally {
          isReleased = true
        }
      }
      const incoming = under.store.take(imageFromBytes(endless(), ''), meta)
      await incoming.discard()
      await expect(incoming.stored).rejects.toThrow('the image was discarded')
      await expect.poll(() => isReleased).toBe(true)
      expect(await under.inventory()).toEqual({ objects: 0, records: 0 })
    })

    test('lets a reading end of what is discarded meanwhile', async () => {
      await using under = await open()
      const text = textOf(png(2_000_000))
      const incoming = under.store.take(imageFromBase64(inChunks(text, 65_536), 'image/png'), meta)
      const reader = incoming.body.read('base64')[Symbol.asyncIterator]()
      const first = (await reader.next()).value
      await incoming.discard()
      expect(Buffer.concat([first, await collect(rest(reader))]).equals(text)).toBe(true)
      expect(await under.inventory()).toEqual({ objects: 0, records: 0 })
    })

    test('lets a reading end of what is discarded after it was stored', async () => {
      await using under = await open()
      const text = textOf(png(500_000))
      const incoming = under.store.take(imageFromBase64(inChunks(text, 65_536), 'image/png'), meta)
      const reader = incoming.body.read('base64')[Symbol.asyncIterator]()
      const first = (await reader.next()).value
      await incoming.stored
      await incoming.discard()
      expect(Buffer.concat([first, await collect(rest(reader))]).equals(text)).toBe(true)
      expect(await under.inventory()).toEqual({ objects: 0, records: 0 })
    })

    test('takes many images at a time', async () => {
      await using under = await open()
      const contents = Array.from({ length: 40 }, (_, index) => png(600_000 + index * 10_007).fill(index, 100))
      const read = await Promise.all(
        contents.map(async (content) => {
          const incoming = under.store.take(bodyOf(content, 'base64', 65_536), meta)
          const text = await collect(incoming.body.read('base64'))
          return text.equals(textOf(content)) && (await storedContent(under, await incoming.stored)).equals(content)
        })
      )
      expect(new Set(read)).toEqual(new Set([true]))
    })
  })
}

async function storedContent(
  under: BlobStoreUnderTest,
  { blob, row }: Awaited<ReturnType<typeof under.store.take>['stored']>
): Promise<Buffer> {
  await under.database.commit([row])
  return collect((await under.store.open(blob.id))?.read())
}

function bodyOf(content: Buffer, form: 'bytes' | 'base64', chunkBytes: number): ImageBody {
  if (form === 'bytes') return imageFromBytes(inChunks(content, chunkBytes), 'image/png')
  return imageFromBase64(inChunks(textOf(content), chunkBytes), 'image/png')
}

function textOf(content: Buffer): Buffer {
  return Buffer.from(content.toString('base64'))
}

async function* eachOf(chunks: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks
}

/** Numbers that look random, the same for the same seed. */
function randomFrom(seed: number): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff
    return state >> 8
  }
}

function rest(iterator: AsyncIterator<Uint8Array>): AsyncIterable<Uint8Array> {
  return { [Symbol.asyncIterator]: () => iterator }
}
