import { readFile } from 'node:fs/promises'
import { loadConfig } from '../../config.ts'
import { firstKeyPath } from '../first-key.ts'
import type { Terminal } from '../terminal.ts'
import { type FoundKey, isLoopback } from './server.ts'

/**
 * The API key to make images with: ATELIER_API_KEY; for a server on this machine also the configured one and the one that its first start
 * left in a file. No other server ever gets those. Throws an Error that says how to make one.
 */
export async function findCallerKey(url: URL, terminal: Terminal): Promise<FoundKey> {
  const { environment, directory } = terminal
  const given = environment.ATELIER_API_KEY?.trim()
  if (given) return { key: given, source: 'ATELIER_API_KEY' }
  const found = isLoopback(url) ? await findLocal() : undefined
  if (found) return found
  throw new Error('there is no API key: set ATELIER_API_KEY (`atelier keys create` makes one)')

  async function findLocal(): Promise<FoundKey | undefined> {
    const { settings, file } = await loadConfig(environment, { directory })
    if (settings.apiKey !== undefined) return { key: settings.apiKey, source: file ?? 'the configuration' }
    const path = firstKeyPath(settings.dataDir)
    const key = await readFile(path, 'utf8').catch(() => undefined)
    return key === undefined ? undefined : { key: key.trim(), source: path }
  }
}
