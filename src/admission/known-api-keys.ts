import type { Caller, Scope } from '../call.ts'
import type { Database } from '../storage/database.ts'
import type { ApiKeyRow } from '../storage/schema.ts'

/** A valid API key. */
export interface KnownApiKey {
  hash: Uint8Array
  caller: Caller
  /** Unix milliseconds; Infinity where it never expires. */
  expiresAtMs: number
}

/** Loads the keys of all organizations that are not disabled, by the SHA-256 of each in hexadecimal. Some expire while they are kept. */
export async function loadApiKeys({ query }: Pick<Database, 'query'>): Promise<Map<string, KnownApiKey>> {
  const rows = await query
    .selectFrom('api_keys')
    .innerJoin('organizations', 'organizations.id', 'api_keys.organization_id')
    .selectAll('api_keys')
    .where('organizations.disabled_at_ms', 'is', null)
    .where('api_keys.revoked_at_ms', 'is', null)
    .where(({ eb, or }) => or([eb('api_keys.expires_at_ms', 'is', null), eb('api_keys.expires_at_ms', '>', Date.now())]))
    .execute()
  return new Map(rows.map((row) => [row.hash, toKnownApiKey(row)]))
}

function toKnownApiKey(row: ApiKeyRow): KnownApiKey {
  const scopes = row.scopes.split(' ') as Scope[]
  return {
    hash: Buffer.from(row.hash, 'hex'),
    caller: {
      organizationId: row.organization_id,
      apiKeyId: row.id,
      scopes,
      ...(row.allowed_models !== '' && { allowedModels: row.allowed_models.split(' ') }),
      ...(row.allowed_providers !== '' && { allowedProviders: row.allowed_providers.split(' ') })
    },
    expiresAtMs: row.expires_at_ms ?? Number.POSITIVE_INFINITY
  }
}
