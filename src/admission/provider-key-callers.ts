import { hash } from 'node:crypto'
import type { Caller } from '../call.ts'
import type { Database } from '../storage/database.ts'
import type { LiveCopies } from '../storage/live-copies.ts'

/** The organization of those who call with a provider's key alone. */
export const providerKeyOnlyId = 'provider-key-only'

export interface ProviderKeyCallersOptions {
  /** Names of the providers that ask for a key. At any other, a key that somebody made up would open what the operator pays for. */
  providers: readonly string[]
}

export interface ProviderKeyCallersDeps {
  database: Database
  copies: LiveCopies
}

/**
 * Makes the organization `provider-key-only` where there is none, which is never served with the operator's keys. Returns who it is that calls
 * with a provider's key alone: known by a hash of the key, which outlives the master key, and undefined while the organization is disabled.
 * Throws where the database does.
 */
export async function createProviderKeyCallers(
  options: ProviderKeyCallersOptions,
  deps: ProviderKeyCallersDeps
): Promise<(providerKey: string) => Caller | undefined> {
  const { database, copies } = deps
  const { query } = database
  const never = { platform_credentials: 'never' as const }
  const row = {
    id: providerKeyOnlyId,
    name: 'callers with a key for a provider alone',
    created_at_ms: Date.now(),
    disabled_at_ms: null,
    ...never
  }
  const insert = query.insertInto('organizations').values(row)
  await copies.change([{ query: insert.onConflict((conflict) => conflict.column('id').doUpdateSet(never)) }])
  const isEnabled = await copies.keep(async () => {
    const found = await query.selectFrom('organizations').select('disabled_at_ms').where('id', '=', providerKeyOnlyId).executeTakeFirst()
    return found?.disabled_at_ms === null
  })
  return (providerKey) => {
    if (!isEnabled()) return undefined
    return {
      organizationId: providerKeyOnlyId,
      apiKeyId: idOf(providerKey),
      scopes: ['generate', 'edit'],
      allowedProviders: options.providers,
      sharesNothing: true
    }
  }
}

/** A provider's key holds more randomness than can be tried. The prefix keeps it from being the hash that anybody else makes of the key. */
function idOf(providerKey: string): string {
  return `key-${hash('sha256', `atelier provider key\0${providerKey}`, 'base64url').slice(0, 22)}`
}
