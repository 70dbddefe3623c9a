import { hkdfSync, randomBytes } from 'node:crypto'
import { link, open, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { createPrivateDirectory, syncDirectory } from './private-directory.ts'
import { randomBase62 } from './random-id.ts'

/** The keys that all other keys of this server are derived from. They cannot be read out. */
export interface MasterKey {
  /** 32 bytes of the current master key that belong to this purpose alone; the same ones every time. */
  derive(label: MasterKeyLabel): Uint8Array
  /** The same of every master key, the current one first, then the previous ones in their order. */
  deriveAll(label: MasterKeyLabel): readonly [DerivedKey, ...DerivedKey[]]
}

export type MasterKeyLabel = 'links' | 'credentials' | 'requests' | 'fingerprints'

export interface DerivedKey {
  /** Eight hexadecimal digits that name the master key and say nothing about it. */
  keyId: string
  /** 32 bytes. */
  key: Uint8Array
}

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
  const current =
    options.masterKey === undefined
      ? await openKeyFile(options.dataDir, deps)
      : decodeKey(options.masterKey, 'the master key (ATELIER_MASTER_KEY)')
  const previous = (options.previousMasterKeys ?? []).map((text, index) =>
    decodeKey(text, `the previous master key ${index + 1} (ATELIER_PREVIOUS_MASTER_KEYS)`)
  )
  // While a new key is rolled out it may stand among the previous ones of a process that has it already.
  const known = new Set([keyIdOf(current)])
  const further = previous.filter((key) => !known.has(keyIdOf(key)) && known.add(keyIdOf(key)))
  return {
    derive: (label) => derive(current, label),
    deriveAll: (label) => {
      const derived = (key: Uint8Array): DerivedKey => ({ keyId: keyIdOf(key), key: derive(key, label) })
      return [derived(current), ...further.map(derived)]
    }
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

function derive(key: Uint8Array, label: string): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', key, new Uint8Array(0), `atelier/v1/${label}`, keyBytes))
}

function keyIdOf(key: Uint8Array): string {
  return Buffer.from(derive(key, 'key id')).subarray(0, 4).toString('hex')
}

function decodeKey(text: string, name: string): Uint8Array {
  const problem = masterKeyProblem(text)
  if (problem !== undefined) throw new Error(`${name} ${problem}`)
  return Buffer.from(text, 'base64')
}

async function openKeyFile(dataDir: string, deps: MasterKeyDeps): Promise<Uint8Array> {
  const path = join(dataDir, 'master-key')
  const found = await readKeyFile(path)
  if (found !== undefined) return found
  const sealed = await deps.findSealed?.()
  if (sealed !== undefined) throw new Error(lostKeyText(path, sealed))
  await createKeyFile(dataDir, path)
  const created = await readKeyFile(path)
  if (created === undefined) throw new Error(`the master key file ${path} vanished while it was created`)
  return created
}

function lostKeyText(path: string, sealed: string): string {
  return (
    `the master key file ${path} is missing, and without its key ${sealed} cannot be opened any more. Put the file back, or set ` +
    'ATELIER_MASTER_KEY to what it held. Only if both are lost for good: set ATELIER_MASTER_KEY to a new key from `openssl rand -base64 32`'
  )
}

async function readKeyFile(path: string): Promise<Uint8Array | undefined> {
  const handle = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw new Error(`the master key file ${path} cannot be read: ${error.code}`, { cause: error })
  })
  if (handle === undefined) return undefined
  await using file = handle
  const stats = await file.stat()
  if (!stats.isFile()) throw new Error(`the master key file ${path} is no file`)
  if ((stats.mode & 0o077) !== 0) throw new Error(`the master key file ${path} is open to other users: run \`chmod 600 ${path}\``)
  return decodeKey((await file.readFile('latin1')).trimEnd(), `the master key file ${path}`)
}

async function createKeyFile(dataDir: string, path: string): Promise<void> {
  await createPrivateDirectory(dataDir)
  const temporaryPath = `${path}.${randomBase62(8)}.tmp`
  try {
    {
      await using file = await open(temporaryPath, 'wx', 0o600)
      await file.writeFile(`${randomBytes(keyBytes).toString('base64')}\n`)
      await file.sync()
    }
    // Unlike a rename, a link leaves the key alone that another process has put there in the meantime.
    await link(temporaryPath, path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error
    })
  } finally {
    await unlink(temporaryPath).catch(() => undefined)
  }
  await syncDirectory(dataDir)
}
