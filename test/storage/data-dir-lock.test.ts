import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { expect, test } from 'vitest'
import { lockDataDir } from '../../src/storage/data-dir-lock.ts'
import { openDatabase } from '../../src/storage/database.ts'
import { createTemporaryDirectory } from '../support/temporary-directory.ts'

test('refuses a second process on the same data directory, and names the first', async () => {
  await using directory = await createTemporaryDirectory()
  await using _lock = await lockDataDir(directory.path)
  await using second = await startHolder(directory.path)
  expect(second.answer).toBe(`another server (pid ${process.pid}) works on the data directory ${directory.path}`)
})

test('refuses a second lock in the same process', async () => {
  await using directory = await createTemporaryDirectory()
  await using _lock = await lockDataDir(directory.path)
  await expect(lockDataDir(directory.path)).rejects.toThrow(`another server (pid ${process.pid}) works on the data directory`)
  await using second = await startHolder(directory.path)
  expect(second.answer).toContain('another server')
})

test('ends with the process that held it, also when that is killed', async () => {
  await using directory = await createTemporaryDirectory()
  await using first = await startHolder(directory.path)
  expect(first.answer).toBe('locked')
  await expect(lockDataDir(directory.path)).rejects.toThrow(`another server (pid ${first.pid}) works on the data directory`)
  await first.kill()
  await using _lock = await lockDataDir(directory.path)
})

test('can be taken again after it was given back', async () => {
  await using directory = await createTemporaryDirectory()
  {
    await using _lock = await lockDataDir(directory.path)
  }
  await using next = await startHolder(directory.path)
  expect(next.answer).toBe('locked')
})

test('creates the directory, closed to other users, and leaves the database open to other programs', async () => {
  await using directory = await createTemporaryDirectory()
  const dataDir = join(directory.path, 'not/yet/there')
  await using _lock = await lockDataDir(dataDir)
  const modes = await Promise.all(['.', 'server.lock', 'server.pid'].map(async (name) => (await stat(join(dataDir, name))).mode & 0o777))
  expect(modes).toEqual([0o700, 0o600, 0o600])
  await using database = await openDatabase({ dataDir })
  expect(await database.query.selectFrom('organizations').select('id').execute()).toEqual([{ id: 'default' }])
})

async function startHolder(dataDir: string) {
  const child: ChildProcess = spawn(process.execPath, [join(import.meta.dirname, '../support/lock-holder.ts'), dataDir], {
    stdio: ['ignore', 'pipe', 'inherit']
  })
  const exited = once(child, 'exit')
  const kill = async () => {
    child.kill('SIGKILL')
    await exited
  }
  const answer = child.stdout === null ? '' : (await createInterface(child.stdout)[Symbol.asyncIterator]().next()).value
  return { answer, pid: child.pid, kill, [Symbol.asyncDispose]: kill }
}
