import { link, open, rename, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { createPrivateDirectory, syncDirectory } from './private-directory.ts'
import { randomBase62 } from './random-id.ts'

export interface KeyFile {
  path: string
  /** One key each, the current one first. */
  lines: string[]
}

/**
 * Reads the file `master-key` of a data directory, or creates it with the new key. Throws a clear Error where others can read it, and where
 * it is missing while `findSealed` says what only its key could open.
 */
export async function openKeyFile(
  dataDir: string,
  options: { newKey: string; findSealed?(): Promise<string | undefined> }
): Promise<KeyFile> {
  const path = pathIn(dataDir)
  const found = await readKeyFile(path)
  if (found !== undefined) return found
  const sealed = await options.findSealed?.()
  if (sealed !== undefined) throw new Error(lostKeyText(path, sealed))
  await createPrivateDirectory(dataDir)
  await writeThrough(dataDir, [options.newKey], async (temporaryPath) => {
    // Unlike a rename, a link leaves the key alone that another process has put there in the meantime.
    await link(temporaryPath, path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error
    })
  })
  const created = await readKeyFile(path)
  if (created === undefined) throw new Error(`the master key file ${path} vanished while it was created`)
  return created
}

/** Has the file hold these keys: as a whole or not at all, also where the power fails. */
export async function replaceKeyFile(dataDir: string, lines: readonly string[]): Promise<void> {
  await writeThrough(dataDir, lines, (temporaryPath) => rename(temporaryPath, pathIn(dataDir)))
}

function pathIn(dataDir: string): string {
  return join(dataDir, 'master-key')
}

async function readKeyFile(path: string): Promise<KeyFile | undefined> {
  const handle = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw new Error(`the master key file ${path} cannot be read: ${error.code}`, { cause: error })
  })
  if (handle === undefined) return undefined
  await using file = handle
  const stats = await file.stat()
  if (!stats.isFile()) throw new Error(`the master key file ${path} is no file`)
  if ((stats.mode & 0o077) !== 0) throw new Error(`the master key file ${path} is open to other users: run \`chmod 600 ${path}\``)
  const text = await file.readFile('latin1')
  return { path, lines: text.trimEnd().split(/\r?\n/) }
}

function lostKeyText(path: string, sealed: string): string {
  return (
    `the master key file ${path} is missing, and without its key ${sealed} cannot be opened any more. Put the file back, or set ` +
    'ATELIER_MASTER_KEY to what it held. Only if both are lost for good: set ATELIER_MASTER_KEY to a new key from `openssl rand -base64 32`'
  )
}

async function writeThrough(
  dataDir: string,
  lines: readonly string[],
  putInPlace: (temporaryPath: string) => Promise<void>
): Promise<void> {
  const temporaryPath = `${pathIn(dataDir)}.${randomBase62(8)}.tmp`
  try {
    {
      await using file = await open(temporaryPath, 'wx', 0o600)
      await file.writeFile(lines.map((line) => `${line}\n`).join(''))
      await file.sync()
    }
    await putInPlace(temporaryPath)
  } finally {
    await unlink(temporaryPath).catch(() => undefined)
  }
  await syncDirectory(dataDir)
}
