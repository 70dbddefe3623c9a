import { open, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { createPrivateDirectory } from './private-directory.ts'

/**
 * Makes this process the only server on a data directory, which is created where it is missing, until it is disposed of; the operating
 * system ends that when the process dies. Throws an Error that names the other process where there is one. Programs that only open the
 * database beside a server need no lock.
 */
export async function lockDataDir(dataDir: string): Promise<AsyncDisposable> {
  await createPrivateDirectory(dataDir)
  const file = join(dataDir, 'server.lock')
  const pidFile = join(dataDir, 'server.pid')
  await createOnce(file)
  // SQLite locks files as the system does it, which Node cannot do by itself; nothing is ever written to this one.
  const lock = new DatabaseSync(file, { timeout: 0 })
  try {
    lock.exec('begin exclusive')
  } catch (error) {
    lock.close()
    if (!isBusy(error)) throw new Error(`the data directory ${dataDir} cannot be locked: ${messageOf(error)}`, { cause: error })
    const pid = await readFile(pidFile, 'utf8').catch(() => 'unknown')
    throw new Error(`another server (pid ${pid.trim()}) works on the data directory ${dataDir}`)
  }
  await writeFile(pidFile, `${process.pid}\n`, { mode: 0o600 })
  return {
    async [Symbol.asyncDispose]() {
      if (!lock.isOpen) return
      await rm(pidFile, { force: true })
      lock.close()
    }
  }
}

/** Never opens a file that exists: closing it again would end the lock that this process may hold on it. */
async function createOnce(file: string): Promise<void> {
  try {
    await (await open(file, 'wx', 0o600)).close()
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
  }
}

const busyCode = 5

function isBusy(error: unknown): boolean {
  return error instanceof Error && 'errcode' in error && error.errcode === busyCode
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
