import type { Scope } from '../call.ts'
import type { Database, Statement } from '../storage/database.ts'
import { createLastUses } from '../storage/last-uses.ts'
import type { LiveCopies } from '../storage/live-copies.ts'
import { type ApiKeyRow, defaultOrganizationId } from '../storage/schema.ts'
import { createApiKey, hashApiKey, hintOf, isMistyped, randomApiKeyId } from './api-key.ts'
import { type KnownApiKey, loadApiKeys } from './known-api-keys.ts'

/** The valid API keys, in memory: looking one up asks nobody. Changes made by other processes arrive within about a second. */
export interface ApiKeyStore extends AsyncDisposable {
  /** By SHA-256 of the key; undefined where it is unknown or revoked, or its organization disabled. It may have expired since. */
  find(hash: Uint8Array): KnownApiKey | undefined
  /** Whether the database has confirmed the keys within the last minute. */
  isCurrent(): boolean
  /** Notes that a key is used now. */
  recordUse(apiKeyId: string): void
  /** Unix milliseconds of the last use in this process that is not in the database yet; undefined where there is none. */
  unwrittenUse(apiKeyId: string): number | undefined
  /** Whether there is no valid key, or none with the scope. */
  isEmpty(scope?: Scope): boolean
  /** Makes a key and returns it, for the only time. It works when the promise resolves. */
  create(options: NewApiKey): Promise<{ id: string; key: string }>
  /** As `create`, and revokes in the same commit every key of that organization that was created under the same name. */
  replace(options: NewApiKey): Promise<{ id: string; key: string }>
  /**
   * Makes the keys from the configuration valid, and revokes those that an earlier configuration held and this one doesn't. Throws an
   * Error where one is not 16 to 512 visible ASCII characters, or is one of this program's with a mistake in it.
   */
  syncConfigured(keys: readonly ConfiguredApiKey[]): Promise<void>
}

export interface NewApiKey {
  /** What it is for. */
  name: string
  scopes: readonly Scope[]
  /** Unset: the organization `default`. */
  organizationId?: string
  /** Unix milliseconds. Unset: never. */
  expiresAtMs?: number
  /** Names without blanks, in which "*" stands for any characters. Unset or empty: every model. */
  allowedModels?: readonly string[]
  /** Likewise. Unset or empty: every provider. */
  allowedProviders?: readonly string[]
}

export interface ConfiguredApiKey {
  key: string
  scopes: readonly Scope[]
}

/** Loads the keys. Throws where the database does. Disposing it writes the last uses. */
export async function createApiKeyStore(deps: { database: Database; copies: LiveCopies }): Promise<ApiKeyStore> {
  const { database, copies } = deps
  const { query } = database
  const known = await copies.keep(() => loadApiKeys(database))
  const lastUses = createLastUses('api_keys', { database })

  return {
    find: (hash) => known().get(Buffer.from(hash).toString('hex')),
    isCurrent: copies.areCurrent,
    recordUse: lastUses.record,
    unwrittenUse: lastUses.unwritten,
    isEmpty(scope) {
      const nowMs = Date.now()
      const keys = known().values()
      return !keys.some((key) => key.expiresAtMs > nowMs && (scope === undefined || key.caller.scopes.includes(scope)))
    },
    async create(options) {
      const { id, key, insert } = prepareInsert(options, database)
      await copies.change([insert])
      return { id, key }
    },
    async replace(options) {
      const { id, key, insert } = prepareInsert(options, database)
      const revoke = query
        .updateTable('api_keys')
        .set({ revoked_at_ms: Date.now() })
        .where('organization_id', '=', options.organizationId ?? defaultOrganizationId)
        .where('name', '=', options.name)
        .where('source', '=', 'created')
        .where('revoked_at_ms', 'is', null)
      await copies.change([{ query: revoke }, insert])
      return { id, key }
    },
    async syncConfigured(keys) {
      const scopesByHash = mergeConfigured(keys)
      const upserts = [...scopesByHash].map(([hash, key]) => upsertConfigured(hash, key))
      await copies.change([revokeConfiguredExcept([...scopesByHash.keys()]), ...upserts])
    },
    [Symbol.asyncDispose]: () => lastUses[Symbol.asyncDispose]()
  }

  function revokeConfiguredExcept(hashes: readonly string[]): Statement {
    const configured = query
      .updateTable('api_keys')
      .set({ revoked_at_ms: Date.now() })
      .where('source', '=', 'config')
      .where('revoked_at_ms', 'is', null)
    return { query: hashes.length === 0 ? configured : configured.where('hash', 'not in', hashes) }
  }

  /** A key that the operator writes into the configuration is valid, whatever it was before. */
  function upsertConfigured(hash: string, { hint, scopes }: { hint: string; scopes: ReadonlySet<Scope> }): Statement {
    const values = {
      source: 'config' as const,
      scopes: [...scopes].join(' '),
      expires_at_ms: null,
      revoked_at_ms: null,
      allowed_models: '',
      allowed_providers: ''
    }
    const insert = query.insertInto('api_keys').values({
      ...values,
      id: randomApiKeyId(),
      organization_id: defaultOrganizationId,
      name: 'configured',
      hash,
      hint,
      created_at_ms: Date.now()
    })
    return { query: insert.onConflict((conflict) => conflict.column('hash').doUpdateSet(values)), expectRows: 1 }
  }
}

/** Makes a key, and the statement that stores what is kept of it. */
export function prepareInsert(options: NewApiKey, { query }: Pick<Database, 'query'>): { id: string; key: string; insert: Statement } {
  const { id, key, hash, hint } = createApiKey()
  const row: ApiKeyRow = {
    id,
    organization_id: options.organizationId ?? defaultOrganizationId,
    name: options.name,
    hash: Buffer.from(hash).toString('hex'),
    hint,
    scopes: options.scopes.join(' '),
    source: 'created',
    created_at_ms: Date.now(),
    expires_at_ms: options.expiresAtMs ?? null,
    revoked_at_ms: null,
    allowed_models: (options.allowedModels ?? []).join(' '),
    allowed_providers: (options.allowedProviders ?? []).join(' '),
    last_used_at_ms: null
  }
  return { id, key, insert: { query: query.insertInto('api_keys').values(row), expectRows: 1 } }
}

function mergeConfigured(keys: readonly ConfiguredApiKey[]): Map<string, { hint: string; scopes: Set<Scope> }> {
  const merged = new Map<string, { hint: string; scopes: Set<Scope> }>()
  for (const { key, scopes } of keys) {
    if (!/^[!-~]{16,512}$/.test(key)) throw new Error('an API key in the configuration must be 16 to 512 visible ASCII characters')
    if (isMistyped(key)) throw new Error('an API key in the configuration, which begins with sk-atelier-, was copied with a mistake')
    const hash = Buffer.from(hashApiKey(key)).toString('hex')
    const all = new Set([...(merged.get(hash)?.scopes ?? []), ...scopes])
    merged.set(hash, { hint: hintOf(key), scopes: all })
  }
  return merged
}
