import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { createScratchFiles } from '../../src/storage/scratch-files.ts'
import { createTemporaryDirectory } from '../support/temporary-directory.ts'

const temporary = await createTemporaryDirectory()
afterAll(() => temporary[Symbol.asyncDispose]())

test('keeps what was appended, at its path and in every piece, until it is disposed of', async () => {
  const directory = join(temporary.path, 'kept')
  const content = Buffer.from(Array.from({ length: 500_000 }, (_, at) => at % 251))
  {
    await using file = await createScratchFiles({ directory }).create()
    await file.append(pieces(content.subarray(0, 100_000)), 1e6)
    await file.append(pieces(content.subarray(100_000)), 1e6)
    expect((await readFile(file.path)).equals(content)).toBe(true)
    expect(Buffer.concat(await Array.fromAsync(file.chunks())).equals(content)).toBe(true)
    expect((await file.readAt(250, 4)).equals(content.subarray(250, 254))).toBe(true)
    expect((await file.readAt(499_999, 10)).equals(content.subarray(499_999))).toBe(true)
    expect((await file.readAt(600_000, 10)).length).toBe(0)
    expect((await stat(file.path)).mode & 0o777).toBe(0o600)
    expect((await stat(directory)).mode & 0o777).toBe(0o700)
  }
  expect(await readdir(directory)).toEqual([])
})

test('takes no more than the limit and releases the stream', async () => {
  await using file = await createScratchFiles({ directory: join(temporary.path, 'limited') }).create()
  let released = false
  async function* endless(): AsyncGenerator<Uint8Array> {
    try {
      for (;;) yield Buffer.alloc(1000)
    } finally {
      released = true
    }
  }
  await expect(file.append(endless(), 10_000)).rejects.toThrow(RangeError)
  expect(released).toBe(true)
})

test('reads what somebody else wrote over it', async () => {
  await using file = await createScratchFiles({ directory: join(temporary.path, 'overwritten') }).create()
  await writeFile(file.path, 'from outside')
  expect(Buffer.concat(await Array.fromAsync(file.chunks())).toString()).toBe('from outside')
})

test('removes what an earlier process left', async () => {
  const directory = join(temporary.path, 'left')
  await mkdir(directory)
  await writeFile(join(directory, 'stray'), 'x')
  createScratchFiles({ directory })
  expect(await readdir(directory)).toEqual([])
})

test('is disposed of in peace where its file is gone', async () => {
  const file = await createScratchFiles({ directory: join(temporary.path, 'gone') }).create()
  await rm(file.path)
  await file[Symbol.asyncDispose]()
})

test('fails with STORAGE_FAILED where the directory is gone', async () => {
  const directory = join(temporary.path, 'missing')
  const files = createScratchFiles({ directory })
  await rm(directory, { recursive: true })
  await expect(files.create()).rejects.toMatchObject({ reason: 'STORAGE_FAILED' })
})

async function* pieces(content: Buffer): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < content.length; at += 7001) yield content.subarray(at, at + 7001)
}
