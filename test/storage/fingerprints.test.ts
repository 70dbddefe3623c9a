import { expect, test } from 'vitest'
import type { DerivedKeys } from '../../src/storage/derived-keys.ts'
import { createFingerprints } from '../../src/storage/fingerprints.ts'
import { openMasterKey } from '../../src/storage/master-key.ts'
import { testKey } from '../support/task-stores.ts'

const masterKey = 'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8='
const newMasterKey = 'QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8='

async function fingerprintsOf(current: string, ...previousMasterKeys: string[]) {
  const key = await openMasterKey({ masterKey: current, previousMasterKeys, dataDir: '/nowhere' })
  return createFingerprints({ keys: key.deriveAll('fingerprints') })
}

test('gives a value the same fingerprint every time, with the id of the key in front', async () => {
  const fingerprint = (await fingerprintsOf(masterKey)).of('request id', 'abc')
  expect(fingerprint).toBe('5dd10d49:iRRA7KER9Aat-WOn-mmpmMPQ2HHz73FNszQ1K_zPC6w')
  expect((await fingerprintsOf(masterKey)).of('request id', new TextEncoder().encode('abc'))).toBe(fingerprint)
})

test('gives other values, other kinds, and the same value under another key, other fingerprints', async () => {
  const ours = await fingerprintsOf(masterKey)
  const theirs = await fingerprintsOf(newMasterKey)
  const all = [ours.of('a', 'b'), ours.of('a', 'c'), ours.of('a', ''), ours.of('ab', ''), ours.of('', 'ab'), ours.of('1:a', 'b')]
  expect(new Set([...all, theirs.of('a', 'b')].map((text) => text.slice(9))).size).toBe(7)
})

test('finds what was stored under an earlier key', async () => {
  const before = await fingerprintsOf(masterKey)
  const after = await fingerprintsOf(newMasterKey, masterKey)
  expect(after.all('request id', 'abc')).toEqual([after.of('request id', 'abc'), before.of('request id', 'abc')])
})

test('follows keys that change', async () => {
  let keys: DerivedKeys = [testKey(1)]
  const fingerprints = createFingerprints({ keys: () => keys })
  const before = fingerprints.of('request', 'a cat')
  keys = [testKey(2), testKey(1)]
  expect(fingerprints.all('request', 'a cat')).toEqual([fingerprints.of('request', 'a cat'), before])
  expect(fingerprints.of('request', 'a cat')).not.toBe(before)
})
