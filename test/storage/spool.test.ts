import { readdir, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { GatewayError } from '../../src/errors.ts'
import { imageFromBase64, imageFromBytes, readWhole } from '../../src/images/image-body.ts'
import { createSpool } from '../../src/storage/spool.ts'
import { createPipe } from '../support/pipe.ts'
import { createTemporaryDirectory } from '../support/temporary-directory.ts'

let opened = new AsyncDisposableStack()
afterEach(async () => {
  await opened.disposeAsync()
  opened = new AsyncDisposableStack()
})

test('takes an image in without anybody reading it, and gives it back whole', async () => {
  const { spool, directory } = await start()
  const pipe = createPipe()
  const spooled = spool.take(imageFromBytes(pipe, 'image/png'))
  for (let index = 0; index < 10; index += 1) await pipe.write(filled(50_000, index))
  pipe.end()
  expect(await spooled.taken).toBeUndefined()
  expect(await readdir(directory)).toHaveLength(1)
  expect(spooled.body).toMatchObject({ mediaType: 'image/png', form: 'bytes' })
  const bytes = await readWhole(spooled.body, 'bytes', 1_000_000)
  expect(Buffer.compare(bytes, Buffer.concat(Array.from({ length: 10 }, (_, index) => filled(50_000, index))))).toBe(0)
  expect(await readdir(directory)).toEqual([])
})

test('keeps up to 64 KiB in memory, and no file', async () => {
  const { spool, directory } = await start()
  const pipe = createPipe()
  const spooled = spool.take(imageFromBytes(pipe, 'image/png'))
  await pipe.write(filled(30_000, 1))
  await pipe.write(filled(35_536, 2))
  pipe.end()
  await spooled.taken
  expect(await readdir(directory)).toEqual([])
  expect(await readWhole(spooled.body, 'bytes', 1_000_000)).toHaveLength(65_536)
})

test('lets a reader follow while the image grows', async () => {
  const { spool } = await start()
  const pipe = createPipe()
  const spooled = spool.take(imageFromBase64(pipe, 'image/png'))
  const reader = spooled.body.read('base64')[Symbol.asyncIterator]()
  const lengths: number[] = []
  for (const size of [10, 60_000, 6_000, 300_000]) {
    const next = reader.next()
    await pipe.write(filled(size, 65))
    let read = (await next).value?.length ?? 0
    while (read < size) read += (await reader.next()).value?.length ?? 0
    lengths.push(read)
  }
  const last = reader.next()
  pipe.end()
  expect([lengths, (await last).done]).toEqual([[10, 60_000, 6_000, 300_000], true])
})

test('gives what there is, and then the error of the source', async () => {
  const { spool, directory } = await start()
  const pipe = createPipe()
  const spooled = spool.take(imageFromBytes(pipe, 'image/png'))
  await pipe.write(filled(100_000, 1))
  const broken = new Error('broken off')
  pipe.fail(broken)
  expect([await spooled.taken, spooled.failure]).toEqual([broken, broken])
  let read = 0
  const reading = (async () => {
    for await (const chunk of spooled.body.read('bytes')) read += chunk.length
  })()
  await expect(reading).rejects.toBe(broken)
  expect([read, await readdir(directory)]).toEqual([100_000, []])
})

test('releases the source and removes the file when the reader leaves', async () => {
  const { spool, directory } = await start()
  const pipe = createPipe()
  const spooled = spool.take(imageFromBytes(pipe, 'image/png'))
  await pipe.write(filled(100_000, 1))
  for await (const _ of spooled.body.read('bytes')) break
  await pipe.left
  await spooled.taken
  await spooled[Symbol.asyncDispose]()
  expect(await readdir(directory)).toEqual([])
})

test('releases the source and removes the file of an image that nobody reads', async () => {
  const { spool, directory } = await start()
  const pipe = createPipe()
  const spooled = spool.take(imageFromBytes(pipe, 'image/png'))
  await pipe.write(filled(100_000, 1))
  await spooled[Symbol.asyncDispose]()
  await spooled[Symbol.asyncDispose]()
  await pipe.left
  expect(await readdir(directory)).toEqual([])
})

test('tells the reader when the disk fails, and leaves the source', async () => {
  const { spool, directory } = await start()
  await rm(directory, { recursive: true })
  const pipe = createPipe()
  const spooled = spool.take(imageFromBytes(pipe, 'image/png'))
  await pipe.write(filled(100_000, 1))
  await pipe.left
  const error = await readWhole(spooled.body, 'bytes', 1_000_000).catch((thrown: unknown) => thrown)
  expect(error).toBeInstanceOf(GatewayError)
  expect(error).toMatchObject({
    reason: 'STORAGE_FAILED',
    outcome: 'unknown',
    message: 'the image could not be stored: the file is not there any more'
  })
})

test('closes its directory to others, and removes what an earlier process left behind', async () => {
  const temporary = opened.use(await createTemporaryDirectory())
  const directory = join(temporary.path, 'spool')
  createSpool({ directory })
  await writeFile(join(directory, 'left'), 'behind')
  createSpool({ directory })
  expect([await readdir(directory), (await stat(directory)).mode & 0o777]).toEqual([[], 0o700])
})

async function start() {
  const temporary = opened.use(await createTemporaryDirectory())
  const directory = join(temporary.path, 'spool')
  return { spool: createSpool({ directory }), directory }
}

function filled(sizeBytes: number, value: number): Buffer {
  return Buffer.alloc(sizeBytes, value)
}
