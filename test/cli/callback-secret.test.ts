import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openDatabase } from '../../src/storage/database.ts'
import { runInProcess, runProgram } from '../support/run-atelier.ts'
import { createTemporaryDirectory } from '../support/temporary-directory.ts'

test('prints the secret, which it makes at the first need', async () => {
  await using directory = await createTemporaryDirectory()
  const first = await runProgram(['callback-secret'], { directory: directory.path })
  const second = await runProgram(['callback-secret', '--org', 'default'], { directory: directory.path })
  expect(first.stdout).toMatch(/^whsec_[A-Za-z0-9+/]{43}=\n$/)
  expect([first.code, first.stderr]).toEqual([0, 'This is what callbacks of the organization default are signed with.\n'])
  expect([second.code, second.stdout]).toEqual([0, first.stdout])
})

test('makes a new one when told to', async () => {
  await using directory = await createTemporaryDirectory()
  const first = await runInProcess(['callback-secret'], { directory: directory.path })
  const rotated = await runInProcess(['callback-secret', '--rotate'], { directory: directory.path })
  const last = await runInProcess(['callback-secret'], { directory: directory.path })
  expect(rotated.stdout).not.toBe(first.stdout)
  expect(rotated).toEqual({
    code: 0,
    stdout: last.stdout,
    stderr:
      'This is what callbacks of the organization default are signed with, from now on. The one before signs along for 24 hours: give this one to the receivers meanwhile.\n'
  })
})

test('has one for each organization', async () => {
  await using directory = await createTemporaryDirectory()
  const ofDefault = await runInProcess(['callback-secret'], { directory: directory.path })
  await addOrganization(join(directory.path, 'data'), 'acme')
  const ofAcme = await runInProcess(['callback-secret', '--org=acme'], { directory: directory.path })
  expect([ofAcme.code, ofAcme.stdout === ofDefault.stdout]).toEqual([0, false])
})

test.each([
  [['--org', 'nobody'], 1, 'atelier: there is no organization nobody\n'],
  [['--org'], 2, 'atelier: --org needs a value\n`atelier help callback-secret` tells more.\n'],
  [['--org='], 2, 'atelier: --org needs a value\n`atelier help callback-secret` tells more.\n'],
  [['--rotate=1'], 2, 'atelier: --rotate takes no value\n`atelier help callback-secret` tells more.\n'],
  [['--admin'], 2, 'atelier: callback-secret has no option --admin\n`atelier help callback-secret` tells more.\n']
])('refuses %j', async (options, code, stderr) => {
  await using directory = await createTemporaryDirectory()
  expect(await runInProcess(['callback-secret', ...options], { directory: directory.path })).toEqual({ code, stdout: '', stderr })
})

test('says that the master key is lost instead of making another one', async () => {
  await using directory = await createTemporaryDirectory()
  await runInProcess(['callback-secret'], { directory: directory.path })
  await rm(join(directory.path, 'data/master-key'))
  const { code, stdout, stderr } = await runInProcess(['callback-secret'], { directory: directory.path })
  expect([code, stdout]).toEqual([1, ''])
  expect(stderr).toContain('the signing secrets of its callbacks cannot be opened any more')
})

async function addOrganization(dataDir: string, id: string): Promise<void> {
  await using database = await openDatabase({ dataDir })
  await database.query.insertInto('organizations').values({ id, name: id, created_at_ms: 0 }).execute()
}
