import { stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { hashApiKey, looksLikeApiKey } from '../../src/admission/api-key.ts'
import { createApiKeyStore } from '../../src/admission/api-key-store.ts'
import { openDatabase } from '../../src/storage/database.ts'
import { createLiveCopies } from '../../src/storage/live-copies.ts'
import { runProgram } from '../support/run-atelier.ts'
import { createTemporaryDirectory } from '../support/temporary-directory.ts'

test('a second new key replaces the first one', async () => {
  await using directory = await createTemporaryDirectory()
  const first = await runProgram(['new-key'], { directory: directory.path })
  const second = await runProgram(['new-key'], { directory: directory.path })
  const dataDir = join(directory.path, 'data')
  expect([first.code, second.code, first.stderr]).toEqual([
    0,
    0,
    `This is the new API key of ${dataDir}; it is not shown again. One that was made before no longer works.\n`
  ])
  expect([looksLikeApiKey(first.stdout.trim()), looksLikeApiKey(second.stdout.trim())]).toEqual([true, true])
  expect(await scopesOf(dataDir, [first.stdout, second.stdout])).toEqual([undefined, callerScopes])
  expect((await stat(dataDir)).mode & 0o777).toBe(0o700)
})

test('a new admin key leaves the API key alone', async () => {
  await using directory = await createTemporaryDirectory()
  const caller = await runProgram(['new-key'], { directory: directory.path })
  const admin = await runProgram(['new-key', '--admin'], { directory: directory.path })
  expect(await scopesOf(join(directory.path, 'data'), [caller.stdout, admin.stdout])).toEqual([callerScopes, ['admin']])
})

test('says that a configured key goes on working', async () => {
  await using directory = await createTemporaryDirectory()
  const environment = { ATELIER_API_KEY: 'key-of-all-the-callers' }
  const { code, stderr } = await runProgram(['new-key'], { directory: directory.path, environment })
  expect(code).toBe(0)
  expect(stderr).toContain('The configuration sets ATELIER_API_KEY (`api_key`), and that key goes on working too.\n')
})

test('removes the file in which the first start left the lost key', async () => {
  await using directory = await createTemporaryDirectory()
  await runProgram(['new-key'], { directory: directory.path })
  const file = join(directory.path, 'data/first-key')
  await writeFile(file, 'sk-atelier-lost\n')
  await runProgram(['new-key', '--admin'], { directory: directory.path })
  expect((await stat(file)).isFile()).toBe(true)
  await runProgram(['new-key'], { directory: directory.path })
  await expect(stat(file)).rejects.toThrow('ENOENT')
})

test('says in one line when the data directory cannot be used', async () => {
  await using directory = await createTemporaryDirectory()
  await writeFile(join(directory.path, 'data'), 'a file')
  const { code, stdout, stderr } = await runProgram(['new-key'], { directory: directory.path })
  expect([code, stdout]).toEqual([1, ''])
  expect(stderr).toMatch(/^atelier: [^\n]+\n$/)
})

const callerScopes = ['generate', 'edit', 'read_tasks']

async function scopesOf(dataDir: string, keys: readonly string[]) {
  await using database = await openDatabase({ dataDir })
  await using copies = await createLiveCopies({ database })
  await using store = await createApiKeyStore({ database, copies })
  return keys.map((key) => store.find(hashApiKey(key.trim()))?.caller.scopes)
}
