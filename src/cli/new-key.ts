import { createApiKeyStore } from '../admission/api-key-store.ts'
import { operatorKeys } from '../admission/operator-keys.ts'
import { loadConfig } from '../config.ts'
import { openDatabase } from '../storage/database.ts'
import { createLiveCopies } from '../storage/live-copies.ts'
import { removeFirstKey } from './first-key.ts'
import type { Terminal } from './terminal.ts'

/**
 * Makes a key in place of the one that the first start or an earlier `new-key` made; a running server takes it within about a second. The
 * key alone goes to standard output, so that scripts can use it.
 */
export async function newKey(terminal: Terminal, options: { admin: boolean }): Promise<number> {
  const { settings } = await loadConfig(terminal.environment, { directory: terminal.directory })
  const { dataDir, databaseUrl } = settings
  await using database = await openDatabase({ dataDir, databaseUrl })
  await using copies = await createLiveCopies({ database })
  await using keys = await createApiKeyStore({ database, copies })
  const { key } = await keys.replace(options.admin ? operatorKeys.admin : operatorKeys.caller)
  if (!options.admin) await removeFirstKey(dataDir)
  terminal.stdout.write(`${key}\n`)
  const place = databaseUrl === undefined ? dataDir : 'the configured database'
  terminal.stderr.write(
    `This is the new ${options.admin ? 'admin' : 'API'} key of ${place}; it is not shown again. One that was made before no longer works.\n`
  )
  const configured = options.admin ? settings.adminKey : settings.apiKey
  if (configured !== undefined) {
    const name = options.admin ? 'ATELIER_ADMIN_KEY (`admin_key`)' : 'ATELIER_API_KEY (`api_key`)'
    terminal.stderr.write(`The configuration sets ${name}, and that key goes on working too.\n`)
  }
  return 0
}
