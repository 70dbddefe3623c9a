import { constants } from 'node:fs'
import { access } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Client, Code, ConnectError, createClient } from '@connectrpc/connect'
import { AdminService } from '../../../gen/atelier/v1/admin_service_pb.ts'
import { createApiKeyStore } from '../../admission/api-key-store.ts'
import { loadConfig } from '../../config.ts'
import { type DatabaseOptions, openDatabase } from '../../storage/database.ts'
import { createLiveCopies } from '../../storage/live-copies.ts'
import type { Given } from '../read-arguments.ts'
import type { Terminal } from '../terminal.ts'
import { connectTo, type FoundKey, isLoopback, type RemoteServer, serverUrl } from './server.ts'

export type Admin = Client<typeof AdminService>

/**
 * Runs a command of the administrator. Its key is ATELIER_ADMIN_KEY; for a server on this machine also the configured one, else one that
 * is made for this command alone, through the database, by whoever may write there. No other server ever gets those. Where none of them is
 * at hand the user is asked. `run` learns the id of such a key. Throws an Error that says how to make a key.
 */
export async function asAdmin(
  terminal: Terminal,
  { values }: Given,
  run: (admin: Admin, server: RemoteServer, ownKeyId?: string) => Promise<number>
): Promise<number> {
  const url = serverUrl(values.url, terminal.environment)
  const found = await findKey(url, terminal)
  if ('key' in found) {
    const server = connectTo(url, found)
    return run(createClient(AdminService, server.transport), server)
  }
  await using own = await makeOwnKey(found)
  const place = found.databaseUrl === undefined ? `the database in ${found.dataDir}` : 'the configured database'
  terminal.stderr.write(`No admin key is set: using one for this command alone, made through ${place}.\n`)
  const server = connectTo(url, {
    key: own.key,
    source: `${place}; the server may use another one: set ATELIER_ADMIN_KEY`
  })
  const admin = createClient(AdminService, server.transport)
  await server.ask(untilKnown(admin))
  return await run(admin, server, own.id)
}

async function findKey(url: URL, { environment, directory, askSecret }: Terminal): Promise<FoundKey | DatabaseOptions> {
  const given = environment.ATELIER_ADMIN_KEY?.trim()
  if (given) return { key: given, source: 'ATELIER_ADMIN_KEY' }
  if (isLoopback(url)) {
    const { settings, file } = await loadConfig(environment, { directory })
    if (settings.adminKey !== undefined) return { key: settings.adminKey, source: file ?? 'the configuration' }
    const { dataDir, databaseUrl } = settings
    if (databaseUrl !== undefined || (await isWritable(join(dataDir, 'atelier.db')))) return { dataDir, databaseUrl }
  }
  const typed = (await askSecret?.('Admin key: '))?.trim()
  if (typed) return { key: typed, source: 'the prompt' }
  throw new Error('there is no admin key: set ATELIER_ADMIN_KEY (`atelier new-key --admin`, where the server runs, makes one)')
}

function isWritable(path: string): Promise<boolean> {
  return access(path, constants.R_OK | constants.W_OK).then(
    () => true,
    () => false
  )
}

/** The log names keys by their ids, so whose command it was must stay on record for a while. */
const ownKeyName = 'local administrator: '
const keepRecordMs = 90 * 86_400_000
/** Longer than any command takes; it only counts where the command is killed. */
const ownKeyLifetimeMs = 300_000
/** Other processes hear of a new key within about a second. */
const untilKnownMs = 5_000

/** A key that ends with the command. */
async function makeOwnKey(options: DatabaseOptions): Promise<AsyncDisposable & { id: string; key: string }> {
  await using parts = new AsyncDisposableStack()
  const database = parts.use(await openDatabase(options))
  const copies = parts.use(await createLiveCopies({ database }))
  const keys = parts.use(await createApiKeyStore({ database, copies }))
  const { query } = database
  const nowMs = Date.now()
  const forgotten = query
    .deleteFrom('api_keys')
    .where('name', 'like', `${ownKeyName}%`)
    .where('source', '=', 'created')
    .where('expires_at_ms', '<', nowMs - keepRecordMs)
  await database.commit([{ query: forgotten }])
  const name = `${ownKeyName}${userInfo().username}`
  const { id, key } = await keys.create({ name, scopes: ['admin'], expiresAtMs: nowMs + ownKeyLifetimeMs })
  parts.defer(() => copies.change([{ query: query.updateTable('api_keys').set({ revoked_at_ms: Date.now() }).where('id', '=', id) }]))
  const owned = parts.move()
  return { id, key, [Symbol.asyncDispose]: () => owned.disposeAsync() }
}

async function untilKnown(admin: Admin): Promise<void> {
  for (const endMs = Date.now() + untilKnownMs; ; await sleep(50)) {
    try {
      await admin.listOrganizations({ pageSize: 1 })
      return
    } catch (error) {
      if (!(error instanceof ConnectError && error.code === Code.Unauthenticated) || Date.now() > endMs) throw error
    }
  }
}
