import { hkdfSync, randomBytes } from 'node:crypto'
import { link, open, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { createPrivateDirectory, syncDirectory } from './private-directory.ts'
import { randomBase62 } from './random-id.ts'

/** The key that all other keys of this server are derived from. It cannot be read out. */
export interface MasterKey {
  /** 32 bytes that belong to this purpose alone; the same ones every time. */
  derive(label: MasterKeyLabel): Uint8Array
}

export type MasterKeyLabel = 'links' | 'credentials' | 'requests' | 'fingerprints'

export interface MasterKeyOptions {
  /** 32 bytes in base64. Unset: the file `master-key` in the data directory, created when it is missing. */
  masterKey?: string
  dataDir: string
}

/** Reads or creates the master key. Throws a clear Error where it is no key, or where others can read its file. */
export async function openMasterKey(options: MasterKeyOptions): Promise<MasterKey> {
  const key =
    options.masterKey === undefined
      ? await openKeyFile(options.dataDir)
      : decodeKey(options.masterKey, 'the master key (ATELIER_MASTER_KEY)')
  return {
    derive: (label) => new Uint8Array(hkdfSync('sha256', key, new Uint8Array(0), `atelier/v1/${label}`, keyBytes))
  }
}

const keyBytes = 32
/** Random bytes have about 30 different ones among 32; fewer than this many is a placeholder. */
const minDistinctBytes = 12

function decodeKey(text: string, name: string): Uint8Array {
  if (!/^[A-Za-z0-9+/]{43}=$/.test(text))
    throw new Error(`${name} must be ${keyBytes} bytes in base64: 44 characters, the last of them "="`)
  const key = Buffer.from(text, 'base64')
  if (new Set(key).size < minDistinctBytes) throw new Error(`${name} is not random: make one with \`openssl rand -base64 ${keyBytes}\``)
  return key
}

async function openKeyFile(dataDir: string): Promise<Uint8Array> {
  const path = join(dataDir, 'master-key')
  const found = await readKeyFile(path)
  if (found !== undefined) return found
  await createKeyFile(dataDir, path)
  const created = await readKeyFile(path)
  if (created === undefined) throw new Error(`the master key file ${path} vanished while it was created`)
  return created
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
