import { mkdir, readdir, readFile, rename, rm, stat, truncate, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, test } from 'vitest'
import { imageFromBase64, imageFromBytes } from '../../src/images/image-body.ts'
import { createDiskBlobStore } from '../../src/storage/blobs/disk-blob-store.ts'
import { openDatabase } from '../../src/storage/database.ts'
import { blobStoreSuite } from '../suites/blob-store.ts'
import { incomingBlobSuite } from '../suites/incoming-blob.ts'
import { png as bytesOfPng, collect, inChunks } from '../support/blob-contents.ts'
import { runCommand } from '../support/run-command.ts'
import { createTemporaryDirectory } from '../support/temporary-directory.ts'

const meta = { organizationId: 'default', lifetimeSeconds: 60 }
const png = Buffer.from('89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de', 'hex')
const hourMs = 3_600_000
setFlagsFromString('--expose-gc')
const collectGarbage: () => void = runInNewContext('gc')

blobStoreSuite('disk', openStore)
incomingBlobSuite('disk', openStore)

test('keeps its directories and files closed to other users', async () => {
  await using under = await openStore()
  const { id } = await under.store.put(imageFromBytes(png, ''), meta)
  const paths = [under.directory, join(under.directory, 'unfinished'), join(under.directory, id.slice(8, 9)), pathOf(under.directory, id)]
  const modes = await Promise.all(paths.map(async (path) => (await stat(path)).mode & 0o777))
  expect(modes).toEqual([0o700, 0o700, 0o700, 0o600])
})

test('removes at the start what an earlier process left half written', async () => {
  await using under = await openStore()
  await writeFile(join(under.directory, 'unfinished', 'a'.repeat(22)), png)
  createDiskBlobStore({ directory: under.directory }, { database: under.database })
  expect(await readdir(join(under.directory, 'unfinished'))).toEqual([])
})

test('sweeps away files that a crash has left without a record, but none that may just be being stored', async () => {
  await using under = await openStore()
  const stored = await under.store.put(imageFromBytes(png, ''), { ...meta, lifetimeSeconds: 100_000 })
  const stray = join(under.directory, 'z', 'z'.repeat(22))
  await mkdir(join(under.directory, 'z'), { recursive: true })
  await writeFile(stray, png)
  await under.store.sweep(Date.now())
  expect(await under.inventory()).toEqual({ objects: 2, records: 1 })
  await under.store.sweep(Date.now() + 2 * hourMs + 1000)
  expect(await under.inventory()).toEqual({ objects: 1, records: 1 })
  expect((await under.store.open(stored.id))?.id).toBe(stored.id)
})

test('finds a blob whose id does not begin with its time, as they once were', async () => {
  await using under = await openStore()
  const { id } = await under.store.put(imageFromBytes(png, ''), meta)
  const earlier = id.slice(8)
  await rename(pathOf(under.directory, id), join(under.directory, earlier.slice(0, 1), earlier))
  await under.database.query.updateTable('blobs').set({ id: earlier }).where('id', '=', id).execute()
  expect((await under.store.open(earlier))?.id).toBe(earlier)
})

test.each(['at once', 'slowly', 'afterwards'])(
  'gives an image that the disk does not take to its reader, who reads it %s',
  async (pace) => {
    await using temporary = await createTemporaryDirectory()
    const script = join(import.meta.dirname, '../support/store-on-small-disk.ts')
    const paths = [join(temporary.path, 'images'), join(temporary.path, 'data')]
    // In steps of 1024 bytes: files may not grow beyond 2 MB.
    const shell = ['-c', 'ulimit -f 2000 && exec "$@"', 'bash', process.execPath, script, ...paths, '5000001', pace]
    const { stdout } = await runCommand('bash', shell)
    expect(JSON.parse(stdout.toString())).toEqual({
      storing: 'STORAGE_FAILED unknown: the image could not be stored: the file system takes no file this large',
      reading: 'whole',
      filesLeft: 0
    })
  }
)

test.each(['at once', 'afterwards'])('gives an image whose place is taken on the disk to its reader, who reads it %s', async (pace) => {
  await using under = await openStore()
  await rm(join(under.directory, 'unfinished'), { recursive: true })
  const text = Buffer.from(bytesOfPng(3_000_000).toString('base64'))
  const incoming = under.store.take(imageFromBase64(inChunks(text, 65_536), 'image/png'), meta)
  if (pace === 'afterwards') await incoming.stored.catch(() => wait(50))
  expect((await collect(incoming.body.read('base64'))).equals(text)).toBe(true)
  await expect(incoming.stored).rejects.toMatchObject({ reason: 'STORAGE_FAILED', outcome: 'unknown' })
})

test('holds little of a large image in memory that nobody reads', async () => {
  await using under = await openStore()
  let most = 0
  async function* source() {
    for (let index = 0; index < 640; index++) {
      yield bytesOfPng(65_536)
      await new Promise(setImmediate)
      if (index % 32 === 0) collectGarbage()
      if (index % 32 === 0) most = Math.max(most, process.memoryUsage().arrayBuffers)
    }
  }
  collectGarbage()
  const before = process.memoryUsage().arrayBuffers
  const incoming = under.store.take(imageFromBytes(source(), ''), meta)
  expect((await incoming.stored).blob.sizeBytes).toBe(41_943_040)
  expect(most - before).toBeLessThan(12_000_000)
})

test.each([
  ['frees the chunks that a slow reader is spared, where they are given away', true],
  ['leaves the chunks that a slow reader is spared to whoever holds them', false]
])('%s', async (_, givesChunksAway) => {
  await using under = await openStore()
  const bytes = bytesOfPng(6_000_000)
  const text = Buffer.from(bytes.toString('base64'))
  const chunks = Array.from({ length: Math.ceil(text.length / 65_536) }, (_, index) =>
    Uint8Array.from(text.subarray(index * 65_536, (index + 1) * 65_536))
  )
  async function* source() {
    for (const chunk of chunks) {
      yield chunk
      await wait(1)
    }
  }
  const incoming = under.store.take(imageFromBase64(source(), 'image/png', { givesChunksAway }), meta)
  const reader = incoming.body.read('base64')[Symbol.asyncIterator]()
  const first = await reader.next()
  const received = [Buffer.from(first.value ?? [])]
  await incoming.stored
  const freed = chunks.filter(({ length }) => length === 0).length
  for (let next = await reader.next(); !next.done; next = await reader.next()) received.push(Buffer.from(next.value))
  expect(Buffer.concat(received).equals(text)).toBe(true)
  if (givesChunksAway) expect(freed).toBeGreaterThan(100)
  else expect(Buffer.concat(chunks).equals(text)).toBe(true)
})

test('finds nothing where the file of a record is gone, and sweeps the record away when it expires', async () => {
  await using under = await openStore()
  const { id } = await under.store.put(imageFromBytes(png, ''), meta)
  await unlink(pathOf(under.directory, id))
  expect(await under.store.open(id)).toBeUndefined()
  expect(await under.store.sweep(Date.now() + 61_000)).toBe(1)
  expect(await under.inventory()).toEqual({ objects: 0, records: 0 })
})

test('serves no file that was cut off', async () => {
  await using under = await openStore()
  const { id } = await under.store.put(imageFromBytes(png, ''), meta)
  await truncate(pathOf(under.directory, id), 20)
  await expect(under.store.open(id)).rejects.toMatchObject({
    reason: 'STORAGE_FAILED',
    message: 'the image could not be stored: the stored file does not have the size that was recorded'
  })
})

test('reports a failing disk without naming a path', async () => {
  await using under = await openStore()
  await rm(join(under.directory, 'unfinished'), { recursive: true })
  await writeFile(join(under.directory, 'unfinished'), '')
  await expect(under.store.put(imageFromBytes(png, ''), meta)).rejects.toMatchObject({
    reason: 'STORAGE_FAILED',
    message: 'the image could not be stored: the file system answered ENOTDIR'
  })
})

test('reports a file that goes away while it is about to be read', async () => {
  await using under = await openStore()
  const { id } = await under.store.put(imageFromBytes(png, ''), meta)
  const stored = await under.store.open(id)
  await under.store.delete(id, 'default')
  await expect(Array.fromAsync(stored?.read() ?? [])).rejects.toMatchObject({
    message: 'the image could not be stored: the file is not there any more'
  })
})

test('touches no file outside its directory, whatever it is asked to delete', async () => {
  await using under = await openStore()
  const outside = join(under.directory, '../outside')
  await writeFile(outside, 'precious')
  expect(await under.store.delete('ab/../../../outside', 'default')).toBe(false)
  expect(await under.store.open('ab/../../../outside')).toBeUndefined()
  expect(await readFile(outside, 'utf8')).toBe('precious')
})

test('stores again once the disk works again', async () => {
  await using under = await openStore()
  const digits = [...'0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz']
  const inTheWay = digits.map((digit) => join(under.directory, digit))
  await Promise.all(inTheWay.map((path) => writeFile(path, '')))
  const put200 = () => Promise.allSettled(Array.from({ length: 200 }, () => under.store.put(imageFromBytes(png, ''), meta)))
  expect(new Set((await put200()).map((result) => result.status))).toEqual(new Set(['rejected']))
  await Promise.all(inTheWay.map((path) => unlink(path)))
  expect(new Set((await put200()).map((result) => result.status))).toEqual(new Set(['fulfilled']))
  expect(await under.inventory()).toEqual({ objects: 200, records: 200 })
})

test('sweeps on when one file cannot be removed, and reports it', async () => {
  await using under = await openStore()
  const blobs = await Promise.all(
    Array.from({ length: 5 }, () => under.store.put(imageFromBytes(png, ''), { ...meta, lifetimeSeconds: 0 }))
  )
  const stuck = pathOf(under.directory, blobs[0]?.id ?? '')
  await unlink(stuck)
  await mkdir(stuck)
  await expect(under.store.sweep(Date.now())).rejects.toMatchObject({ reason: 'STORAGE_FAILED' })
  expect(await under.inventory()).toMatchObject({ records: 1 })
})

async function openStore() {
  const temporary = await createTemporaryDirectory()
  const directory = join(temporary.path, 'images')
  const database = await openDatabase({ dataDir: join(temporary.path, 'data') })
  return {
    directory,
    database,
    store: createDiskBlobStore({ directory }, { database }),
    openAnother: () => createDiskBlobStore({ directory }, { database }),
    async inventory() {
      const entries = await readdir(directory, { recursive: true, withFileTypes: true })
      const records = await database.query.selectFrom('blobs').selectAll().execute()
      return { objects: entries.filter((entry) => entry.isFile()).length, records: records.length }
    },
    async [Symbol.asyncDispose]() {
      await database[Symbol.asyncDispose]()
      await temporary[Symbol.asyncDispose]()
    }
  }
}

function pathOf(directory: string, id: string): string {
  return join(directory, id.slice(8, 9), id)
}
