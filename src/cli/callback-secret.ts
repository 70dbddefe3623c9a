import { loadConfig } from '../config.ts'
import { openDatabase } from '../storage/database.ts'
import { findSealed } from '../storage/find-sealed.ts'
import { openMasterKey } from '../storage/master-key.ts'
import { defaultOrganizationId } from '../storage/schema.ts'
import { createSealer } from '../storage/seal.ts'
import { createCallbackSecrets } from '../tasks/callbacks/callback-secrets.ts'
import type { Terminal } from './terminal.ts'

/**
 * Prints the secret that callbacks of an organization are signed with, and makes it where there is none; with `rotate` a new one, which a
 * running server uses at once. The secret alone goes to standard output.
 */
export async function callbackSecret(
  terminal: Terminal,
  options: { rotate: boolean; organizationId?: string | undefined }
): Promise<number> {
  const { settings } = await loadConfig(terminal.environment, { directory: terminal.directory })
  const { dataDir, databaseUrl, masterKey, previousMasterKeys } = settings
  const organizationId = options.organizationId ?? defaultOrganizationId
  await using database = await openDatabase({ dataDir, databaseUrl })
  const known = database.query.selectFrom('organizations').select('id').where('id', '=', organizationId)
  if ((await known.executeTakeFirst()) === undefined) throw new Error(`there is no organization ${organizationId}`)
  const masterKeys = await openMasterKey(
    { dataDir, previousMasterKeys, ...(masterKey === undefined ? {} : { masterKey }) },
    { findSealed: () => findSealed(database) }
  )
  const secrets = createCallbackSecrets({ database, sealer: createSealer({ keys: masterKeys.deriveAll('requests') }) })
  const secret = options.rotate ? await secrets.rotate(organizationId) : await secrets.current(organizationId)
  terminal.stdout.write(`${secret}\n`)
  const before = options.rotate ? ', from now on. The one before signs along for 24 hours: give this one to the receivers meanwhile' : ''
  terminal.stderr.write(`This is what callbacks of the organization ${organizationId} are signed with${before}.\n`)
  return 0
}
