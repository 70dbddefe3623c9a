import { createCipheriv, createDecipheriv, createHmac, createSecretKey, type KeyObject } from 'node:crypto'
import { type KeySource, prepareKeys } from './derived-keys.ts'
import { fewRandomBytes } from './random-bytes.ts'

/** What a sealed value is bound to: it opens only for the same purpose, organization and owner. */
export interface SealContext {
  purpose: 'request' | 'result' | 'job' | 'callback' | 'signing secret' | 'credential' | 'moderation key'
  organizationId: string
  /** Id of the row that holds it. */
  id: string
}

/** Encrypts what must not lie in the database in clear: AES-256-GCM, with the id of the key and the context authenticated. */
export interface Sealer {
  seal(plain: Uint8Array, context: SealContext): Uint8Array
  /** Throws SealError for what was altered, cut, moved to another row, or sealed with a key that is not known here. */
  open(sealed: Uint8Array, context: SealContext): Uint8Array
}

/** A sealed value cannot be opened. The message holds nothing of it. */
export class SealError extends Error {
  constructor(problem: string, options?: ErrorOptions) {
    super(`a sealed value ${problem}`, options)
    this.name = 'SealError'
  }
}

export interface SealerOptions {
  /** The first one seals; all of them open. */
  keys: KeySource
}

/** A sealed value is: version, 1 byte; id of the master key, 4; IV, 12; ciphertext; tag, 16. */
export function createSealer(options: SealerOptions): Sealer {
  const known = prepareKeys(options.keys, ([current, ...previous]) => ({
    prefix: sealedPrefix(current.keyId),
    currentKey: createSecretKey(current.key),
    all: new Map([current, ...previous].map(({ keyId, key }) => [keyId, createSecretKey(key)]))
  }))

  return {
    seal(plain, context) {
      const { prefix, currentKey } = known()
      const bound = associatedData(prefix, context)
      const iv = fewRandomBytes(ivBytes)
      const cipher = createCipheriv(algorithm, rowKey(currentKey, bound), iv, { authTagLength: tagBytes })
      cipher.setAAD(bound)
      // Not a Buffer, which may be a part of a larger one: what goes to the database's thread is copied with all that it is a part of.
      const sealed = new Uint8Array(overheadBytes + plain.byteLength)
      sealed.set(prefix)
      sealed.set(iv, prefixBytes)
      sealed.set(cipher.update(plain), prefixBytes + ivBytes)
      cipher.final()
      sealed.set(cipher.getAuthTag(), sealed.byteLength - tagBytes)
      return sealed
    },
    open(sealed, context) {
      const keyId = keyIdOf(sealed)
      const master = known().all.get(keyId)
      if (master === undefined) {
        throw new SealError(`needs the master key ${keyId}, which is not among those of this server (ATELIER_PREVIOUS_MASTER_KEYS)`)
      }
      const bound = associatedData(sealed.subarray(0, prefixBytes), context)
      const iv = sealed.subarray(prefixBytes, prefixBytes + ivBytes)
      const decipher = createDecipheriv(algorithm, rowKey(master, bound), iv, { authTagLength: tagBytes })
      decipher.setAAD(bound)
      decipher.setAuthTag(sealed.subarray(-tagBytes))
      const plain = decipher.update(sealed.subarray(prefixBytes + ivBytes, -tagBytes))
      try {
        decipher.final()
      } catch (cause) {
        throw new SealError('was altered, or belongs to another row', { cause })
      }
      return plain
    }
  }
}

/** Id of the master key that a value was sealed with. Throws SealError where it cannot be a sealed value. */
export function keyIdOf(sealed: Uint8Array): string {
  if (sealed.byteLength < overheadBytes) throw new SealError('was cut')
  if (sealed[0] !== version) throw new SealError(`is of the unknown version ${sealed[0]}`)
  return Buffer.from(sealed.subarray(1, prefixBytes)).toString('hex')
}

/** What every value begins with that this master key seals. */
export function sealedPrefix(keyId: string): Uint8Array {
  return Uint8Array.of(version, ...Buffer.from(keyId, 'hex'))
}

/** How many bytes of a sealed value say which master key it needs. */
export const prefixBytes = 5

const algorithm = 'aes-256-gcm'
const version = 1
const ivBytes = 12
const tagBytes = 16
const overheadBytes = prefixBytes + ivBytes + tagBytes

/** Texts with their lengths before them, so that no other context reads the same. */
function associatedData(prefix: Uint8Array, { purpose, organizationId, id }: SealContext): Buffer {
  // Its beginning is where the prefix goes.
  const bound = Buffer.from(
    `${' '.repeat(prefixBytes)}${purpose.length}:${purpose}${organizationId.length}:${organizationId}${id.length}:${id}`
  )
  bound.set(prefix)
  return bound
}

/** Random IVs are good for 2^32 values per key (SP 800-38D), which one key for everything would reach within weeks. */
function rowKey(master: KeyObject, bound: Uint8Array): Buffer {
  return createHmac('sha256', master).update(bound).digest()
}
