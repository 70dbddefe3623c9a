import { readdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createUploads, type UploadsOptions } from '../../src/storage/uploads.ts'
import { chunkSource, collect } from '../support/chunks.ts'
import { createTemporaryDirectory, type TemporaryDirectory } from '../support/temporary-directory.ts'

const png = Buffer.from('\x89PNG\r\n\x1a\n and the rest of it', 'latin1')
const mine = { param: 'image[1]', callerId: 'me' }

let directory: TemporaryDirectory
beforeEach(async () => {
  directory = await createTemporaryDirectory()
})
afterEach(() => directory[Symbol.asyncDispose]())

test('keeps a file that can be read any number of times, also at once, until it is disposed of', async () => {
  const upload = await uploads().take(chunkSource([png.subarray(0, 3), png.subarray(3)]), mine)
  expect([upload.mediaType, upload.sizeBytes]).toEqual(['image/png', png.length])
  const copies = [upload.open(), upload.open()].map((body) => collect(body.read('bytes')))
  expect(await Promise.all(copies)).toEqual([png, png])
  expect((await collect(upload.open().read('base64'))).toString()).toBe(png.toString('base64'))
  await upload[Symbol.asyncDispose]()
  await upload[Symbol.asyncDispose]()
  expect(await files()).toEqual([])
  await expect(collect(upload.open().read('bytes'))).rejects.toMatchObject({ reason: 'STORAGE_FAILED' })
})

test('closes its directory and files to others', async () => {
  await uploads().take(chunkSource([png]), mine)
  const paths = [join(directory.path, 'uploads'), join(directory.path, 'uploads', (await files())[0] ?? '')]
  expect(await Promise.all(paths.map(async (path) => (await stat(path)).mode & 0o777))).toEqual([0o700, 0o600])
})

test('says nothing of the type of what is no image', async () => {
  expect((await uploads().take(chunkSource(['%PDF-1.7']), mine)).mediaType).toBe('')
})

test('refuses a file above the limit while it arrives, and keeps nothing of it', async () => {
  const source = chunkSource(Array.from({ length: 100 }, () => Buffer.alloc(10)))
  await expect(uploads({ maxBytesPerFile: 25 }).take(source, mine)).rejects.toMatchObject({
    reason: 'INVALID_PARAMETER',
    param: 'image[1]',
    message: 'image[1]: must be no larger than 25 bytes'
  })
  expect([source.taken, source.released, await files()]).toEqual([3, true, []])
})

test('takes a lower limit for one file, and no higher one', async () => {
  const store = uploads({ maxBytesPerFile: 25 })
  await expect(store.take(chunkSource([png]), { ...mine, maxBytes: 20 })).rejects.toThrow('no larger than 20 bytes')
  await expect(store.take(chunkSource([png]), { ...mine, maxBytes: 30 })).rejects.toThrow('no larger than 25 bytes')
})

test('refuses an empty file', async () => {
  await expect(uploads().take(chunkSource([]), mine)).rejects.toMatchObject({ message: 'image[1]: is an empty file' })
  expect(await files()).toEqual([])
})

test('passes on what the source throws, and keeps nothing of the file', async () => {
  const broken = (async function* () {
    yield png
    throw new Error('the caller is gone')
  })()
  await expect(uploads().take(broken, mine)).rejects.toThrow('the caller is gone')
  expect(await files()).toEqual([])
})

test('limits what the files of one caller take up together, until they are gone', async () => {
  const store = uploads({ maxBytesPerCaller: 100 })
  const first = await store.take(chunkSource([Buffer.alloc(60)]), mine)
  const second = () => store.take(chunkSource([Buffer.alloc(30), Buffer.alloc(30)]), mine)
  await expect(second()).rejects.toMatchObject({ reason: 'TOO_MANY_UPLOADS', retryable: true, retryAfterMs: 5000 })
  await store.take(chunkSource([Buffer.alloc(60)]), { ...mine, callerId: 'somebody else' })
  await first[Symbol.asyncDispose]()
  await first[Symbol.asyncDispose]()
  await second()
  await expect(second()).rejects.toMatchObject({ reason: 'TOO_MANY_UPLOADS' })
})

test('a file is gone for everybody who has waited for that', async () => {
  const upload = await uploads().take(chunkSource([png]), mine)
  void upload[Symbol.asyncDispose]()
  await upload[Symbol.asyncDispose]()
  expect(await files()).toEqual([])
})

test('removes what an earlier process left behind', async () => {
  await uploads().take(chunkSource([png]), mine)
  await writeFile(join(directory.path, 'uploads', 'left'), 'behind')
  expect((await files()).length).toBe(2)
  uploads()
  expect(await files()).toEqual([])
})

test('reports a disk that fails', async () => {
  const store = uploads()
  await directory[Symbol.asyncDispose]()
  await expect(store.take(chunkSource([png]), mine)).rejects.toMatchObject({ reason: 'STORAGE_FAILED' })
})

function uploads(options: Partial<UploadsOptions> = {}) {
  return createUploads({ directory: join(directory.path, 'uploads'), ...options })
}

function files() {
  return readdir(join(directory.path, 'uploads'))
}
