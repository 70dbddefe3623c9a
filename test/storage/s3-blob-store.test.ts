import { readdir } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, test } from 'vitest'
import { imageFromBase64, imageFromBytes } from '../../src/images/image-body.ts'
import { createS3BlobStore } from '../../src/storage/blobs/s3-blob-store.ts'
import { openDatabase } from '../../src/storage/database.ts'
import { blobStoreSuite } from '../suites/blob-store.ts'
import { incomingBlobSuite } from '../suites/incoming-blob.ts'
import { collect, inChunks, png } from '../support/blob-contents.ts'
import { startS3 } from '../support/s3.ts'
import { createTemporaryDirectory } from '../support/temporary-directory.ts'

const meta = { organizationId: 'default', lifetimeSeconds: 60 }
const hourMs = 3_600_000
setFlagsFromString('--expose-gc')
const collectGarbage: () => void = runInNewContext('gc')

blobStoreSuite('S3', openStore)
incomingBlobSuite('S3', openStore)

test('names objects by the prefix and their id', async () => {
  await using under = await openStore()
  const { id } = await under.store.put(imageFromBytes(png(1_000), ''), meta)
  expect(await under.s3.keys()).toEqual([`atelier/images/${id.slice(0, 2)}/${id}`])
})

test('asks only for the bytes of a range', async () => {
  await using under = await openStore()
  const content = png(3_000_000)
  const { id } = await under.store.put(imageFromBytes(content, ''), meta)
  const stored = await under.store.open(id)
  expect(await collect(stored?.read({ start: 1_000_001, end: 2_000_000 }))).toEqual(content.subarray(1_000_001, 2_000_001))
})

test.each([{ status: 503, code: 'SlowDown' } as const, { status: 500, code: 'InternalError' } as const, 'reset' as const])(
  'stores an image although two tries fail with %j',
  async (fault) => {
    await using under = await openStore()
    under.s3.fail(fault, { count: 2 })
    const { id } = await under.store.put(imageFromBytes(png(700_000), ''), meta)
    expect(await collect((await under.store.open(id))?.read())).toEqual(png(700_000))
  }
)

test.each([
  [{ status: 403, code: 'AccessDenied' } as const, 1, 'the object store answered 403 (AccessDenied)'],
  [{ status: 404, code: 'NoSuchBucket' } as const, 1, 'the object store answered 404 (NoSuchBucket)'],
  [{ status: 503, code: 'SlowDown' } as const, 3, 'the object store answered 503 (SlowDown)'],
  ['reset' as const, 3, 'the object store cannot be reached']
])('gives up an upload that meets %j after %i tries', async (fault, tries, problem) => {
  await using under = await openStore()
  under.s3.fail(fault, { method: 'PUT' })
  await expect(under.store.put(imageFromBytes(png(700_000), ''), meta)).rejects.toMatchObject({
    reason: 'STORAGE_FAILED',
    message: `the image could not be stored: ${problem}`
  })
  expect(under.s3.requests.filter((request) => request.startsWith('PUT'))).toHaveLength(tries)
  expect(await under.inventory()).toEqual({ objects: 0, records: 0 })
})

test('keeps nothing of an upload of which only the answer is lost', async () => {
  await using under = await openStore()
  under.s3.fail('lost', { method: 'PUT' })
  await expect(under.store.put(imageFromBytes(png(1_000), ''), meta)).rejects.toMatchObject({ reason: 'STORAGE_FAILED' })
  expect(await under.inventory()).toEqual({ objects: 0, records: 0 })
})

test('removes again what was being uploaded when it was discarded', async () => {
  await using under = await openStore()
  const incoming = under.store.take(imageFromBytes(png(1_000_000), ''), meta)
  await expect.poll(() => under.s3.requests.some((request) => request.startsWith('PUT')), { interval: 1 }).toBe(true)
  await incoming.discard()
  await expect(incoming.stored).rejects.toThrow('the image was discarded')
  expect(await under.inventory()).toEqual({ objects: 0, records: 0 })
})

test.each([
  ['while it is read slowly', 'slowly'],
  ['when it is read at once', 'at once'],
  ['when it is read afterwards', 'afterwards']
])('gives the whole image to its reader although the service is down, %s', async (_, pace) => {
  await using under = await openStore()
  await under.s3.stop()
  const text = Buffer.from(png(3_000_001).toString('base64'))
  const incoming = under.store.take(imageFromBase64(inChunks(text, 65_537), 'image/png'), { ...meta, taskId: 'task' })
  const reader = incoming.body.read('base64')[Symbol.asyncIterator]()
  const chunks: Uint8Array[] = []
  if (pace === 'slowly') chunks.push((await reader.next()).value)
  if (pace === 'at once') chunks.push(await collect(rest(reader)))
  await expect(incoming.stored).rejects.toMatchObject({
    reason: 'STORAGE_FAILED',
    outcome: 'unknown',
    message: 'the image could not be stored: the object store cannot be reached'
  })
  if (pace === 'afterwards') await wait(50)
  chunks.push(await collect(rest(reader)))
  expect(Buffer.concat(chunks).equals(text)).toBe(true)
  await under.s3.start()
  expect(await under.inventory()).toEqual({ objects: 0, records: 0 })
})

test('says so when the service is down that should open an image', async () => {
  await using under = await openStore()
  const { id } = await under.store.put(imageFromBytes(png(1_000), ''), meta)
  await under.s3.stop()
  await expect(under.store.open(id)).rejects.toMatchObject({
    reason: 'STORAGE_FAILED',
    message: 'the image could not be stored: the object store cannot be reached'
  })
  await under.s3.start()
  expect((await under.store.open(id))?.id).toBe(id)
})

test('breaks off a reading that the service breaks off', async () => {
  await using under = await openStore()
  const { id } = await under.store.put(imageFromBytes(png(1_000_000), ''), meta)
  const stored = await under.store.open(id)
  under.s3.fail('cut', { method: 'GET' })
  await expect(collect(stored?.read())).rejects.toMatchObject({
    reason: 'STORAGE_FAILED',
    message: 'the image could not be stored: the connection to the object store broke'
  })
})

test('serves no object of another size than was recorded', async () => {
  await using under = await openStore()
  const { id } = await under.store.put(imageFromBytes(png(1_000), ''), meta)
  await under.database.query.updateTable('blobs').set({ size_bytes: 1_001 }).execute()
  await expect(under.store.open(id)).rejects.toMatchObject({
    message: 'the image could not be stored: the stored file does not have the size that was recorded'
  })
})

test('is refused with keys that are not right', async () => {
  await using under = await openStore()
  await using other = createS3BlobStore({ ...under.options, secretAccessKey: 'wrong' }, { database: under.database })
  await expect(other.put(imageFromBytes(png(1_000), ''), meta)).rejects.toMatchObject({
    message: 'the image could not be stored: the object store answered 403 (SignatureDoesNotMatch)'
  })
})

test.each(['/', 'images', '../', 'a//', 'a b/', './'])('refuses the prefix %j', async (prefix) => {
  await using under = await openStore()
  expect(() => createS3BlobStore({ ...under.options, prefix }, { database: under.database })).toThrow(
    `the prefix "${prefix}" must consist of names that each end in a slash`
  )
})

test('deletes an image later where the service is down', async () => {
  await using under = await openStore()
  const { id } = await under.store.put(imageFromBytes(png(1_000), ''), meta)
  await under.s3.stop()
  expect(await under.store.delete(id, 'default')).toBe(true)
  await under.s3.start()
  expect(await under.store.open(id)).toBeUndefined()
  expect(await under.inventory()).toEqual({ objects: 1, records: 1 })
  await under.store.sweep(Date.now())
  expect(await under.inventory()).toEqual({ objects: 0, records: 0 })
})

test('sweeps away old objects without a record, beyond what one listing holds, and nobody else’s', { timeout: 60_000 }, async () => {
  await using under = await openStore()
  await using others = createS3BlobStore({ ...under.options, prefix: 'others/' }, { database: under.database })
  const incoming = Array.from({ length: 1_100 }, () => under.store.take(imageFromBytes(png(64), ''), meta))
  await Promise.all(incoming.map(({ stored }) => stored))
  const kept = await under.store.put(imageFromBytes(png(64), ''), { ...meta, lifetimeSeconds: 100_000 })
  await others.take(imageFromBytes(png(64), ''), meta).stored
  await under.store.sweep(Date.now())
  expect(await under.inventory()).toEqual({ objects: 1_102, records: 1 })
  await under.store.sweep(Date.now() + 2 * hourMs + 1_000)
  expect(await under.inventory()).toEqual({ objects: 2, records: 1 })
  expect((await under.store.open(kept.id))?.id).toBe(kept.id)
})

test('leaves nothing in its directory, not even while it uploads', async () => {
  await using under = await openStore()
  const { promise: gate, resolve: finish } = Promise.withResolvers<void>()
  async function* source() {
    yield png(2_000_000)
    await gate
  }
  const incoming = under.store.take(imageFromBytes(source(), ''), meta)
  await collect(take(incoming.body.read('bytes'), 1))
  await expect.poll(() => readdir(under.options.directory)).toEqual([])
  finish()
  expect((await incoming.stored).blob.sizeBytes).toBe(2_000_000)
})

test('holds little of a large image in memory', { timeout: 60_000 }, async () => {
  await using under = await openStore()
  let received = 0
  let most = 0
  const measure = () => {
    collectGarbage()
    most = Math.max(most, process.memoryUsage().arrayBuffers)
  }
  const server = createServer(async (request, response) => {
    for await (const chunk of request) {
      if (Math.floor((received + chunk.length) / 1_000_000) > Math.floor(received / 1_000_000)) measure()
      received += chunk.length
    }
    response.end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  await using store = createS3BlobStore({ ...under.options, endpoint }, { database: under.database })
  async function* source() {
    for (let index = 0; index < 320; index++) {
      if (index % 16 === 0) measure()
      yield png(65_536)
    }
  }
  collectGarbage()
  const before = process.memoryUsage().arrayBuffers
  await store.take(imageFromBytes(source(), 'image/png'), meta).stored
  server.close()
  server.closeAllConnections()
  expect(received).toBe(20_971_520)
  expect(most - before).toBeLessThan(8_000_000)
})

async function openStore() {
  const temporary = await createTemporaryDirectory()
  const database = await openDatabase({ dataDir: join(temporary.path, 'data') })
  const s3 = await startS3()
  const { endpoint, bucket, region, accessKeyId, secretAccessKey } = s3
  const directory = join(temporary.path, 'on-the-way')
  const options = { endpoint, bucket, region, accessKeyId, secretAccessKey, prefix: 'atelier/', directory }
  const store = createS3BlobStore(options, { database })
  return {
    s3,
    database,
    options,
    store,
    openAnother: () => createS3BlobStore(options, { database }),
    async inventory() {
      const records = await database.query.selectFrom('blobs').selectAll().execute()
      return { objects: (await s3.keys()).length + (await readdir(directory)).length, records: records.length }
    },
    async [Symbol.asyncDispose]() {
      await store[Symbol.asyncDispose]()
      await s3[Symbol.asyncDispose]()
      await database[Symbol.asyncDispose]()
      await temporary[Symbol.asyncDispose]()
    }
  }
}

async function* take(source: AsyncIterable<Uint8Array>, count: number): AsyncIterable<Uint8Array> {
  let taken = 0
  for await (const chunk of source) {
    yield chunk
    taken += 1
    if (taken === count) return
  }
}

function rest(iterator: AsyncIterator<Uint8Array>): AsyncIterable<Uint8Array> {
  return { [Symbol.asyncIterator]: () => iterator }
}
