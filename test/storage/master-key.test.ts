import { chmod, mkdir, readdir, readFile, rename, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { openMasterKey } from '../../src/storage/master-key.ts'
import { createTemporaryDirectory } from '../support/temporary-directory.ts'

const masterKey = 'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8='
const newMasterKey = 'QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8='

test('derives the keys of RFC 5869 from the master key, another one for each purpose', async () => {
  const key = await openMasterKey({ masterKey, dataDir: '/nowhere' })
  const labels = ['links', 'credentials', 'requests', 'fingerprints'] as const
  const derived = labels.map((label) => Buffer.from(key.derive(label)).toString('hex'))
  expect(derived[0]).toBe('2cd294ee8b155a06fab9902e847b1a5d1bfad387dde1dd817cc0c136c2a66913')
  expect(new Set(derived).size).toBe(4)
  expect(derived.map((hex) => hex.length)).toEqual([64, 64, 64, 64])
})

test('creates a key file that only its owner can read, and reads it again', async () => {
  await using directory = await createTemporaryDirectory()
  const dataDir = join(directory.path, 'data')
  const first = await openMasterKey({ dataDir })
  const second = await openMasterKey({ dataDir })
  expect(second.derive('links')).toEqual(first.derive('links'))
  expect(await readdir(dataDir)).toEqual(['master-key'])
  expect((await stat(join(dataDir, 'master-key'))).mode & 0o777).toBe(0o600)
})

test('takes the content of the key file as the option, so that it can be moved to another machine', async () => {
  await using directory = await createTemporaryDirectory()
  const fromFile = await openMasterKey({ dataDir: directory.path })
  const text = (await readFile(join(directory.path, 'master-key'), 'utf8')).trim()
  const fromOption = await openMasterKey({ masterKey: text, dataDir: '/nowhere' })
  expect(fromOption.derive('links')).toEqual(fromFile.derive('links'))
})

test('gives all processes that start at the same time the same key', async () => {
  await using directory = await createTemporaryDirectory()
  for (let round = 0; round < 30; round++) {
    const dataDir = join(directory.path, String(round))
    const keys = await Promise.all(Array.from({ length: 5 }, (_, index) => wait(index).then(() => openMasterKey({ dataDir }))))
    expect(new Set(keys.map((key) => Buffer.from(key.derive('links')).toString('hex'))).size).toBe(1)
    expect(await readdir(dataDir)).toEqual(['master-key'])
  }
})

test.each([
  ['', 'the master key (ATELIER_MASTER_KEY) must be 32 bytes in base64: 44 characters, the last of them "="'],
  ['too short', 'the master key (ATELIER_MASTER_KEY) must be 32 bytes in base64: 44 characters, the last of them "="'],
  ['AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gIQ==', 'the master key (ATELIER_MASTER_KEY) must be 32 bytes in base64'],
  [
    'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=',
    'the master key (ATELIER_MASTER_KEY) is not random: make one with `openssl rand -base64 32`'
  ]
])('refuses the option %j', async (option, message) => {
  await expect(openMasterKey({ masterKey: option, dataDir: '/nowhere' })).rejects.toThrow(message)
})

test('derives the keys of every master key, the current one first, and names each the same wherever it stands', async () => {
  const before = await openMasterKey({ masterKey, dataDir: '/nowhere' })
  const after = await openMasterKey({
    masterKey: newMasterKey,
    previousMasterKeys: [masterKey, newMasterKey, masterKey],
    dataDir: '/nowhere'
  })
  const [current, previous, ...others] = after.deriveAll('requests')
  expect([current?.key, previous, others]).toEqual([after.derive('requests'), before.deriveAll('requests')[0], []])
  expect([current?.keyId, previous?.keyId, after.deriveAll('links')[1]?.keyId]).toEqual(['f1f219e9', '5dd10d49', '5dd10d49'])
})

test('a key file has previous keys too', async () => {
  await using directory = await createTemporaryDirectory()
  const key = await openMasterKey({ previousMasterKeys: [masterKey], dataDir: directory.path })
  expect(key.deriveAll('links').map(({ keyId }) => keyId)).toEqual([expect.stringMatching(/^[0-9a-f]{8}$/), '5dd10d49'])
})

test('refuses a previous key that is none', async () => {
  await expect(openMasterKey({ masterKey, previousMasterKeys: [newMasterKey, 'short'], dataDir: '/nowhere' })).rejects.toThrow(
    'the previous master key 2 (ATELIER_PREVIOUS_MASTER_KEYS) must be 32 bytes in base64'
  )
})

test('makes no new key in place of a lost one that is still needed', async () => {
  await using directory = await createTemporaryDirectory()
  const path = join(directory.path, 'master-key')
  const findSealed = async () => 'what is kept of the requests'
  await expect(openMasterKey({ dataDir: directory.path }, { findSealed })).rejects.toThrow(
    `the master key file ${path} is missing, and without its key what is kept of the requests cannot be opened any more. Put the file back, or set ATELIER_MASTER_KEY to what it held.`
  )
  expect(await readdir(directory.path)).toEqual([])
})

test('makes a key where nothing needs another one, and asks only then', async () => {
  await using directory = await createTemporaryDirectory()
  const asked: string[] = []
  const findSealed = async () => {
    asked.push('asked')
    return undefined
  }
  await openMasterKey({ dataDir: directory.path }, { findSealed })
  await openMasterKey({ dataDir: directory.path }, { findSealed })
  await openMasterKey({ masterKey, dataDir: '/nowhere' }, { findSealed })
  expect(asked).toEqual(['asked'])
})

test('refuses a key file of the wrong length and leaves it as it is', async () => {
  await using directory = await createTemporaryDirectory()
  const path = join(directory.path, 'master-key')
  await writeFile(path, 'AAEC', { mode: 0o600 })
  await expect(openMasterKey({ dataDir: directory.path })).rejects.toThrow(`the master key file ${path} must be 32 bytes in base64`)
  expect(await readFile(path, 'utf8')).toBe('AAEC')
})

test.each(['640', '604', '660'])('refuses a key file of mode %s, which other users can read or write', async (mode) => {
  await using directory = await createTemporaryDirectory()
  const path = join(directory.path, 'master-key')
  await openMasterKey({ dataDir: directory.path })
  await chmod(path, Number.parseInt(mode, 8))
  await expect(openMasterKey({ dataDir: directory.path })).rejects.toThrow(
    `the master key file ${path} is open to other users: run \`chmod 600 ${path}\``
  )
})

test('refuses a key file that is a directory', async () => {
  await using directory = await createTemporaryDirectory()
  await mkdir(join(directory.path, 'master-key'), { mode: 0o700 })
  await expect(openMasterKey({ dataDir: directory.path })).rejects.toThrow('is no file')
})

test('makes a new key, which stands in the file before the others, and is current at once', async () => {
  await using directory = await createTemporaryDirectory()
  const key = await openMasterKey({ previousMasterKeys: [masterKey], dataDir: directory.path })
  const [first] = key.ids()
  const before = key.deriveAll('links')
  await Promise.all([key.rotate(), key.rotate()])
  expect(key.ids()).toEqual([expect.stringMatching(/^[0-9a-f]{8}$/), expect.stringMatching(/^[0-9a-f]{8}$/), first, '5dd10d49'])
  expect([new Set(key.ids()).size, key.source, key.deriveAll('links').slice(2)]).toEqual([4, 'file', [...before]])
  const again = await openMasterKey({ previousMasterKeys: [masterKey], dataDir: directory.path })
  expect(again.deriveAll('links')).toEqual(key.deriveAll('links'))
  expect([await readdir(directory.path), (await stat(join(directory.path, 'master-key'))).mode & 0o777]).toEqual([['master-key'], 0o600])
})

test('hands out the same array until the keys change', async () => {
  await using directory = await createTemporaryDirectory()
  const key = await openMasterKey({ dataDir: directory.path })
  const before = key.deriveAll('links')
  expect(key.deriveAll('links')).toBe(before)
  await key.rotate()
  expect(key.deriveAll('links')).not.toBe(before)
})

test('keeps the key that it has where the file cannot be replaced', async () => {
  await using directory = await createTemporaryDirectory()
  const dataDir = join(directory.path, 'data')
  const key = await openMasterKey({ dataDir })
  const before = key.ids()
  await rename(dataDir, join(directory.path, 'gone'))
  await expect(key.rotate()).rejects.toThrow('ENOENT')
  expect(key.ids()).toEqual(before)
  await rename(join(directory.path, 'gone'), dataDir)
  await key.rotate()
  expect((await openMasterKey({ dataDir })).ids()).toEqual(key.ids())
})

test('makes no new key where the configuration has it', async () => {
  const key = await openMasterKey({ masterKey, dataDir: '/nowhere' })
  expect(key.source).toBe('configuration')
  await expect(key.rotate()).rejects.toThrow('the master key comes from the configuration, and is changed there')
})

test('holds 32 keys in the file and no more', async () => {
  await using directory = await createTemporaryDirectory()
  const key = await openMasterKey({ dataDir: directory.path })
  for (let keys = 1; keys < 32; keys++) await key.rotate()
  expect([key.hasRoom(), new Set(key.ids()).size]).toEqual([false, 32])
  await expect(key.rotate()).rejects.toThrow('holds 32 keys, which is the most')
  expect((await openMasterKey({ dataDir: directory.path })).ids()).toEqual(key.ids())
})

test('names the line of the key file that holds no key', async () => {
  await using directory = await createTemporaryDirectory()
  const path = join(directory.path, 'master-key')
  await writeFile(path, `${masterKey}\r\n${newMasterKey}\r\n`, { mode: 0o600 })
  expect((await openMasterKey({ dataDir: directory.path })).ids()).toEqual(['5dd10d49', 'f1f219e9'])
  await writeFile(path, `${masterKey}\n\n${newMasterKey}\n`, { mode: 0o600 })
  await expect(openMasterKey({ dataDir: directory.path })).rejects.toThrow(
    `line 2 of the master key file ${path} must be 32 bytes in base64`
  )
})
