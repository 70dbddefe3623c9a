import { setTimeout as wait } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { type ImageBody, imageFromBase64, imageFromBytes } from '../../src/images/image-body.ts'
import { type BlobStore, NotAnImageError } from '../../src/storage/blob-store.ts'
import type { Database } from '../../src/storage/database.ts'
import { neverMs } from '../../src/storage/schema.ts'
import { collect, inChunks, png } from '../support/blob-contents.ts'

export interface BlobStoreUnderTest extends AsyncDisposable {
  store: BlobStore
  database: Database
  /** The same store, as another process has it. */
  openAnother(): BlobStore & Partial<AsyncDisposable>
  /** Everything that is stored at the moment, finished or not: the number of objects and of records. */
  inventory(): Promise<{ objects: number; records: number }>
}

const meta = { organizationId: 'default', lifetimeSeconds: 60 }

/** What every blob store promises. */
export function blobStoreSuite(name: string, open: () => Promise<BlobStoreUnderTest>): void {
  describe(name, () => {
    test('stores an image and gives it back, any number of times', async () => {
      await using under = await open()
      const content = png(1_000_000)
      const blob = await under.store.put(imageFromBytes(inChunks(content, 65_536), 'image/png'), meta)
      expect(blob).toEqual({
        id: expect.stringMatching(/^[0-9A-Za-z]{30}$/),
        mediaType: 'image/png',
        sizeBytes: 1_000_000,
        expiresAt: blob.expiresAt,
        isPublic: false
      })
      expect(Math.abs(blob.expiresAt - Date.now() / 1000 - 60)).toBeLessThan(5)
      const stored = await under.store.open(blob.id)
      expect(stored).toMatchObject({ ...blob, organizationId: 'default' })
      expect(await collect(stored?.read())).toEqual(content)
      expect(await collect(stored?.open().read('bytes'))).toEqual(content)
      expect(await collect(stored?.open().read('base64'))).toEqual(Buffer.from(content.toString('base64')))
    })

    test('stores an image that arrives as base64', async () => {
      await using under = await open()
      const content = png(100_000)
      const chars = inChunks(Buffer.from(content.toString('base64')), 1_000)
      const blob = await under.store.put(imageFromBase64(chars, 'image/png'), meta)
      expect(await collect((await under.store.open(blob.id))?.read())).toEqual(content)
    })

    test.each([
      [0, 0],
      [0, 9_999],
      [5_000, 9_999],
      [1, 8]
    ])('reads the bytes from %i up to and including %i', async (start, end) => {
      await using under = await open()
      const content = png(10_000)
      const { id } = await under.store.put(imageFromBytes(content, ''), meta)
      expect(await collect((await under.store.open(id))?.read({ start, end }))).toEqual(content.subarray(start, end + 1))
    })

    test.each([
      [-1, 5],
      [5, 4],
      [0, 10_000],
      [0.5, 2]
    ])('refuses the range from %d to %d, which is not within the image', async (start, end) => {
      await using under = await open()
      const { id } = await under.store.put(imageFromBytes(png(10_000), ''), meta)
      await expect(collect((await under.store.open(id))?.read({ start, end }))).rejects.toThrow(RangeError)
    })

    test('can be left in the middle of reading', async () => {
      await using under = await open()
      const { id } = await under.store.put(imageFromBytes(png(2_000_000), ''), meta)
      const stored = await under.store.open(id)
      for await (const _chunk of stored?.read() ?? []) break
      expect((await collect(stored?.read())).byteLength).toBe(2_000_000)
    })

    test.each([
      ['image/png', 'image/jpeg', Buffer.from('ffd8ffe000104a46494600010100000100010000', 'hex')],
      ['', 'image/gif', Buffer.from('GIF89a\x01\x00\x01\x00\x00\x00\x00', 'latin1')],
      ['text/html', 'image/png', png(64)],
      ['Image/HEIC; q=1', 'image/heic', Buffer.from('0000001c66747970686569630000000068656963', 'hex')]
    ])('takes what is stated to be %j for %s, by its content', async (stated, mediaType, content) => {
      await using under = await open()
      expect((await under.store.put(imageFromBytes(content, stated), meta)).mediaType).toBe(mediaType)
    })

    test.each([
      ['an error page', 'image/png', Buffer.from('<html><body>502 Bad Gateway</body></html>')],
      ['a long text', 'image/webp', Buffer.alloc(1_000_000, 'text ')],
      ['nothing', 'image/heic', Buffer.alloc(0)],
      ['bytes of no stated type', '', Buffer.from('0001020304050607', 'hex')],
      ['a file that is stated to be no image', 'application/pdf', Buffer.from('%PDF-1.7')]
    ])('refuses %s and keeps nothing of it', async (_, stated, content) => {
      await using under = await open()
      await expect(under.store.put(imageFromBytes(content, stated), meta)).rejects.toThrow(NotAnImageError)
      expect(await under.inventory()).toEqual({ objects: 0, records: 0 })
    })

    test('stops reading what turns out to be no image', async () => {
      await using under = await open()
      let chunks = 0
      async function* endless() {
        for (;;) {
          chunks += 1
          yield Buffer.alloc(1_000, 'text ')
        }
      }
      await expect(under.store.put(imageFromBytes(endless(), 'image/png'), meta)).rejects.toThrow(NotAnImageError)
      expect(chunks).toBeLessThan(20)
    })

    test('keeps nothing when the source fails midway, and passes its error on', async () => {
      await using under = await open()
      const failure = new Error('the provider hung up')
      async function* source() {
        yield png(500_000)
        throw failure
      }
      await expect(under.store.put(imageFromBytes(source(), 'image/png'), meta)).rejects.toBe(failure)
      expect(await under.inventory()).toEqual({ objects: 0, records: 0 })
    })

    test('keeps nothing when the record cannot be written', async () => {
      await using under = await open()
      const put = under.store.put(imageFromBytes(png(5_000), ''), { ...meta, organizationId: null as never })
      await expect(put).rejects.toMatchObject({ reason: 'STORAGE_FAILED', message: 'the image could not be stored: the database failed' })
      expect(await under.inventory()).toEqual({ objects: 0, records: 0 })
    })

    test('lets nobody read an image before it is whole', async () => {
      await using under = await open()
      const { promise: gate, resolve: finish } = Promise.withResolvers<void>()
      async function* source() {
        yield png(500_000)
        await gate
      }
      const putting = under.store.put(imageFromBytes(source(), 'image/png'), meta)
      await wait(50)
      const before = await under.inventory()
      finish()
      const { id } = await putting
      expect(before.records).toBe(0)
      expect(await collect((await under.store.open(id))?.read())).toEqual(png(500_000))
    })

    test('stores many images at the same time', async () => {
      await using under = await open()
      const blobs = await Promise.all(
        Array.from({ length: 100 }, (_, index) => under.store.put(imageFromBytes(png(1_000 + index), ''), meta))
      )
      expect(new Set(blobs.map((blob) => blob.id)).size).toBe(100)
      expect(blobs.map((blob) => blob.sizeBytes)).toEqual(blobs.map((_, index) => 1_000 + index))
      expect(await under.inventory()).toEqual({ objects: 100, records: 100 })
    })

    test('deletes an image', async () => {
      await using under = await open()
      const { id } = await under.store.put(imageFromBytes(png(1_000), ''), meta)
      expect(await under.store.delete(id, 'default')).toBe(true)
      expect(await under.store.delete(id, 'default')).toBe(false)
      expect(await under.store.open(id)).toBeUndefined()
      expect(await under.inventory()).toEqual({ objects: 0, records: 0 })
    })

    test('deletes no image of another organization', async () => {
      await using under = await open()
      const { id } = await under.store.put(imageFromBytes(png(1_000), ''), meta)
      expect(await under.store.delete(id, 'other')).toBe(false)
      expect((await under.store.open(id))?.id).toBe(id)
    })

    test('keeps an image without end until it is deleted, for everybody who knows its id', async () => {
      await using under = await open()
      const blob = await under.store.put(imageFromBytes(png(1_000), ''), {
        organizationId: 'default',
        lifetimeSeconds: Number.POSITIVE_INFINITY,
        isPublic: true
      })
      expect(blob).toMatchObject({ expiresAt: Number.POSITIVE_INFINITY, isPublic: true })
      expect(await under.database.query.selectFrom('blobs').select(['expires_at_ms', 'access']).execute()).toEqual([
        { expires_at_ms: neverMs, access: 'public' }
      ])
      expect(await under.store.sweep(Date.now() + 1e13)).toBe(0)
      expect(await under.store.open(blob.id)).toMatchObject(blob)
      expect(await under.store.delete(blob.id, 'default')).toBe(true)
      expect(await under.store.open(blob.id)).toBeUndefined()
    })

    test('sweeps together with another process', async () => {
      await using under = await open()
      const another = under.openAnother()
      await Promise.all(Array.from({ length: 60 }, () => under.store.put(smallImage(), { ...meta, lifetimeSeconds: 0 })))
      const kept = await another.put(smallImage(), meta)
      const swept = await Promise.all([under.store.sweep(Date.now()), another.sweep(Date.now())])
      expect((swept[0] ?? 0) + (swept[1] ?? 0)).toBe(60)
      expect((await under.store.open(kept.id))?.id).toBe(kept.id)
      expect(await under.inventory()).toEqual({ objects: 1, records: 1 })
      await another[Symbol.asyncDispose]?.()
    })

    test.each([
      '',
      'unknown',
      '../../../../etc/passwd',
      '..',
      'a/b',
      `${'a'.repeat(22)}\0`,
      'é'.repeat(22),
      'a'.repeat(23),
      `${'a'.repeat(21)}/`
    ])('knows no image %j', async (id) => {
      await using under = await open()
      expect(await under.store.open(id)).toBeUndefined()
      expect(await under.store.delete(id, 'default')).toBe(false)
    })

    test('opens no image that has expired, and sweeps it away', async () => {
      await using under = await open()
      const expired = await under.store.put(imageFromBytes(png(1_000), ''), { ...meta, lifetimeSeconds: 0 })
      const kept = await under.store.put(imageFromBytes(png(1_000), ''), meta)
      expect(await under.store.open(expired.id)).toBeUndefined()
      expect(await under.store.sweep(Date.now())).toBe(1)
      expect(await under.inventory()).toEqual({ objects: 1, records: 1 })
      expect(await under.store.sweep(Date.now() + 50_000)).toBe(0)
      expect((await under.store.open(kept.id))?.id).toBe(kept.id)
      expect(await under.store.sweep(Date.now() + 61_000)).toBe(1)
      expect(await under.inventory()).toEqual({ objects: 0, records: 0 })
    })

    test('sweeps away more images than it looks at in one go', { timeout: 60_000 }, async () => {
      await using under = await open()
      for (let round = 0; round < 12; round++) {
        await Promise.all(Array.from({ length: 100 }, () => under.store.put(smallImage(), { ...meta, lifetimeSeconds: 0 })))
      }
      expect(await under.store.sweep(Date.now())).toBe(1_200)
      expect(await under.inventory()).toEqual({ objects: 0, records: 0 })
    })
  })
}

function smallImage(): ImageBody {
  return imageFromBytes(png(64), '')
}
