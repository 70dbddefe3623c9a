import { hkdfSync, randomBytes } from 'node:crypto'
import type { DerivedKey, DerivedKeys } from './derived-keys.ts'
import { openKeyFile, replaceKeyFile } from './master-key-file.ts'

/** The keys that all other keys of this server are derived from. They cannot be read out. */
export interface MasterKey {
  /** Where the current one comes from. */
  readonly source: 'configuration' | 'file'
  /** 32 bytes of the current master key that belong to this purpose alone; the same ones every time. */
  derive(label: MasterKeyLabel): Uint8Array
  /** The same of every master key, the current one first, then the previous ones in their order; the same array until they change. */
  deriveAll(label: MasterKeyLabel): DerivedKeys
  /** Ids of every master key, in the same order. */
  ids(): readonly [string, ...string[]]
  /** Whether the file may hold one more key. */
  hasRoom(): boolean
  /**
   * Makes a new current key, which stands in the file, before the others, when the promise resolves, and is used for everything from then
   * on. Throws an Error where the key comes from the configuration, where the file cannot be written, and where it holds too many keys.
   */
  rotate(): Promise<void>
}

export type MasterKeyLabel = 'links' | 'credentials' | 'requests' | 'fingerprints'

export interface MasterKeyOptions {
  /** 32 bytes in base64. Unset: the file `master-key` in the data directory. */
  masterKey?: string
  /** Further keys in the same form, newest first. */
  previousMasterKeys?: readonly string[]
  dataDir: string
}

export interface MasterKeyDeps {
  /** Asked where the file is missing: what a new key could not open, such as "the stored requests"; undefined where there is nothing. */
  findSealed?(): Promise<string | undefined>
}

/**
 * Reads the master keys, or creates one where the data directory has none. Throws a clear Error where one is no key, where others can read
 * the file, and where the file is missing and a new key could not open what is stored.
 */
export async function openMasterKey(options: MasterKeyOptions, deps: MasterKeyDeps = {}): Promise<MasterKey> {
  const { masterKey, dataDir } = options
  const isConfigured = masterKey !== undefined
  let ownKeys = isConfigured ? ([decodeKey(masterKey, 'the master key (ATELIER_MASTER_KEY)')] as const) : await readFileKeys(dataDir, deps)
  const previous = (options.previousMasterKeys ?? []).map((text, index) =>
    decodeKey(text, `the previous master key ${index + 1} (ATELIER_PREVIOUS_MASTER_KEYS)`)
  )
  let ring = createRing([...ownKeys, ...previous])
  let rotating: Promise<void> = Promise.resolve()

  return {
    source: isConfigured ? 'configuration' : 'file',
    derive: (label) => ring.deriveAll(label)[0].key,
    deriveAll: (label) => ring.deriveAll(label),
    ids: () => ring.ids,
    hasRoom: () => ownKeys.length < maxFileKeys,
    rotate() {
      const turn = rotating.then(rotate)
      rotating = turn.catch(() => undefined)
      return turn
    }
  }

  async function rotate(): Promise<void> {
    if (isConfigured) throw new Error('the master key comes from the configuration, and is changed there')
    if (ownKeys.length >= maxFileKeys) throw new Error(`the master key file of ${dataDir} holds ${maxFileKeys} keys, which is the most`)
    const created = randomBytes(keyBytes)
    const before = ring
    // Known before it is current, so that what is being looked up at this moment is looked up under both.
    ring = createRing([ownKeys[0], created, ...ownKeys.slice(1), ...previous])
    try {
      await replaceKeyFile(dataDir, [created, ...ownKeys].map(encodeKey))
    } catch (error) {
      ring = before
      throw error
    }
    ownKeys = [created, ...ownKeys]
    ring = createRing([...ownKeys, ...previous])
  }
}

/** What is wrong with a master key, as the end of a sentence that begins with its name; undefined where nothing is. */
export function masterKeyProblem(text: string): string | undefined {
  if (!/^[A-Za-z0-9+/]{43}=$/.test(text)) return `must be ${keyBytes} bytes in base64: 44 characters, the last of them "="`
  const isRandom = new Set(Buffer.from(text, 'base64')).size >= minDistinctBytes
  return isRandom ? undefined : `is not random: make one with \`openssl rand -base64 ${keyBytes}\``
}

const keyBytes = 32
/** Random bytes have about 30 different ones among 32; fewer than this many is a placeholder. */
const minDistinctBytes = 12
/** Every key is tried on a link and on a request id that fits no other. */
const maxFileKeys = 32

interface Ring {
  ids: readonly [string, ...string[]]
  deriveAll(label: MasterKeyLabel): DerivedKeys
}

/** While a new key is rolled out it may stand among the previous ones of a process that has it already. */
function createRing([current, ...others]: readonly [Uint8Array, ...Uint8Array[]]): Ring {
  const known = new Set([keyIdOf(current)])
  const further = others.filter((key) => !known.has(keyIdOf(key)) && known.add(keyIdOf(key)))
  const derived = new Map<MasterKeyLabel, DerivedKeys>()
  return {
    ids: [keyIdOf(current), ...further.map(keyIdOf)],
    deriveAll(label) {
      const derivedOf = (key: Uint8Array): DerivedKey => ({ keyId: keyIdOf(key), key: derive(key, label) })
      const keys = derived.get(label) ?? ([derivedOf(current), ...further.map(derivedOf)] as const)
      derived.set(label, keys)
      return keys
    }
  }
}

function derive(key: Uint8Array, label: string): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', key, new Uint8Array(0), `atelier/v1/${label}`, keyBytes))
}

function keyIdOf(key: Uint8Array): string {
  return Buffer.from(derive(key, 'key id')).subarray(0, 4).toString('hex')
}

function encodeKey(key: Uint8Array): string {
  return Buffer.from(key).toString('base64')
}

function decodeKey(text: string, name: string): Uint8Array {
  const problem = masterKeyProblem(text)
  if (problem !== undefined) throw new Error(`${name} ${problem}`)
  return Buffer.from(text, 'base64')
}

async function readFileKeys(dataDir: string, { findSealed }: MasterKeyDeps): Promise<readonly [Uint8Array, ...Uint8Array[]]> {
  const created = randomBytes(keyBytes)
  const { path, lines } = await openKeyFile(dataDir, { newKey: encodeKey(created), ...(findSealed && { findSealed }) })
  if (lines.length > maxFileKeys) throw new Error(`the master key file ${path} holds more than ${maxFileKeys} keys`)
  const [first = '', ...others] = lines
  return [
    decodeKey(first, `the master key file ${path}`),
    ...others.map((line, index) => decodeKey(line, `line ${index + 2} of the master key file ${path}`))
  ]
}
