import { rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/** Where the key of a first start lies when nobody was there to read it. */
export function firstKeyPath(dataDir: string): string {
  return join(dataDir, 'first-key')
}

/** Writes the key to a file that only this user can read, in place of an older one. */
export async function saveFirstKey(dataDir: string, key: string): Promise<void> {
  const temporaryPath = `${firstKeyPath(dataDir)}.${process.pid}.tmp`
  // An existing file would keep its mode.
  await rm(temporaryPath, { force: true })
  await writeFile(temporaryPath, `${key}\n`, { mode: 0o600, flag: 'wx' })
  await rename(temporaryPath, firstKeyPath(dataDir))
}

/** Removes the file once its key is worth nothing. */
export async function removeFirstKey(dataDir: string): Promise<void> {
  await rm(firstKeyPath(dataDir), { force: true })
}
