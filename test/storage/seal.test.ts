import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { openMasterKey } from '../../src/storage/master-key.ts'
import { createSealer, keyIdOf, type SealContext, SealError } from '../../src/storage/seal.ts'

const masterKey = 'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8='
const newMasterKey = 'QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8='
const context: SealContext = { purpose: 'request', organizationId: 'default', id: 'task_1' }
const plain = new TextEncoder().encode('a cat in a red hat')

async function sealerOf(current: string, ...previousMasterKeys: string[]) {
  return createSealer({
    keys: (await openMasterKey({ masterKey: current, previousMasterKeys, dataDir: '/nowhere' })).deriveAll('requests')
  })
}

test.each([0, 1, 18, 100_000])('opens what it has sealed, %i bytes', async (sizeBytes) => {
  const sealer = await sealerOf(masterKey)
  const bytes = new Uint8Array(randomBytes(sizeBytes))
  const sealed = sealer.seal(bytes, context)
  expect([sealed.byteLength, Buffer.from(sealed).includes('cat')]).toEqual([sizeBytes + 33, false])
  expect(new Uint8Array(sealer.open(sealed, context))).toEqual(bytes)
})

test('opens a value that was sealed long ago', async () => {
  const sealed = Buffer.from(knownSealed, 'hex')
  expect(Buffer.from((await sealerOf(masterKey)).open(sealed, context)).toString()).toBe('a cat in a red hat')
})

const knownSealed = '015dd10d49f4030715964c886adf10c20c80b1ae7813c48c4aac94dc6519043ffe9667ccb7ad368d7edcbca9517b5dd41aa590'

test('seals the same value differently each time', async () => {
  const sealer = await sealerOf(masterKey)
  const sealed = Array.from({ length: 100 }, () => Buffer.from(sealer.seal(plain, context)).toString('hex'))
  expect(new Set(sealed).size).toBe(100)
})

test('refuses a value in which any single bit was flipped', async () => {
  const sealer = await sealerOf(masterKey, newMasterKey)
  const sealed = sealer.seal(plain, context)
  const flipped = Array.from({ length: sealed.byteLength * 8 }, (_, bit) =>
    sealed.map((byte, index) => (index === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte))
  )
  expect(flipped.map((value) => outcome(() => sealer.open(value, context)))).toEqual(flipped.map(() => 'SealError'))
})

test('refuses a value that was cut anywhere, at either end, and one with something added', async () => {
  const sealer = await sealerOf(masterKey)
  const sealed = sealer.seal(plain, context)
  const cut = Array.from(sealed, (_, length) => [sealed.subarray(0, length), sealed.subarray(length + 1)]).flat()
  const added = [Uint8Array.of(...sealed, 0), Uint8Array.of(0, ...sealed), Uint8Array.of(...sealed, ...sealed)]
  expect([...cut, ...added].map((value) => outcome(() => sealer.open(value, context)))).toEqual([...cut, ...added].map(() => 'SealError'))
})

test.each([
  ['row', { ...context, id: 'task_2' }],
  ['organization', { ...context, organizationId: 'other' }],
  ['purpose', { ...context, purpose: 'result' as const }],
  ['row whose texts are only divided elsewhere', { ...context, organizationId: 'defaul', id: 'ttask_1' }]
])('refuses a value that was moved to another %s', async (_, other) => {
  const sealer = await sealerOf(masterKey)
  const sealed = sealer.seal(plain, context)
  expect(() => sealer.open(sealed, other)).toThrow(new SealError('was altered, or belongs to another row'))
})

test('opens what an earlier master key has sealed, and seals with the current one', async () => {
  const before = await sealerOf(masterKey)
  const after = await sealerOf(newMasterKey, masterKey)
  const sealed = before.seal(plain, context)
  expect(Buffer.from(after.open(sealed, context))).toEqual(Buffer.from(plain))
  expect(keyIdOf(after.seal(plain, context))).not.toBe(keyIdOf(sealed))
})

test('follows keys that change: what was sealed before is opened, and the new key seals', async () => {
  const keysOf = async (current: string, ...previousMasterKeys: string[]) =>
    (await openMasterKey({ masterKey: current, previousMasterKeys, dataDir: '/nowhere' })).deriveAll('requests')
  let keys = await keysOf(masterKey)
  const sealer = createSealer({ keys: () => keys })
  const before = sealer.seal(plain, context)
  keys = await keysOf(newMasterKey, masterKey)
  const after = sealer.seal(plain, context)
  expect([keyIdOf(before), keyIdOf(after)]).toEqual(['5dd10d49', 'f1f219e9'])
  expect([before, after].map((sealed) => Buffer.from(sealer.open(sealed, context)))).toEqual([Buffer.from(plain), Buffer.from(plain)])
})

test('says which key is missing where a value was sealed with one that is not known', async () => {
  const sealed = (await sealerOf(masterKey)).seal(plain, context)
  const other = await sealerOf(newMasterKey)
  expect(() => other.open(sealed, context)).toThrow(
    new SealError(`needs the master key ${keyIdOf(sealed)}, which is not among those of this server (ATELIER_PREVIOUS_MASTER_KEYS)`)
  )
})

test('a value of another key that claims to be of a known one is refused', async () => {
  const ours = await sealerOf(masterKey)
  const theirs = (await sealerOf(newMasterKey)).seal(plain, context)
  theirs.set(ours.seal(plain, context).subarray(0, 5))
  expect(() => ours.open(theirs, context)).toThrow(SealError)
})

test.each([
  ['nothing', new Uint8Array(0)],
  ['zeros', new Uint8Array(100)],
  ['text', new TextEncoder().encode('{"prompt":"a cat in a red hat on a mat"}')]
])('refuses %s', async (_, value) => {
  const sealer = await sealerOf(masterKey)
  expect(() => sealer.open(value, context)).toThrow(SealError)
  expect(() => keyIdOf(value)).toThrow(SealError)
})

function outcome(run: () => unknown): string {
  try {
    run()
    return 'opened'
  } catch (error) {
    return error instanceof Error ? error.name : 'something else'
  }
}
