import type { Caller, Scope } from '../call.ts'
import type { Database, Statement } from '../storage/database.ts'
import { type ApiKeyRow, defaultOrganizationId } from '../storage/schema.ts'
import { createApiKey, hashApiKey, hintOf, randomApiKeyId } from './api-key.ts'

/** The valid API keys, in memory: looking one up asks nobody. Changes made by other processes arrive within about a second. */
export interface ApiKeyStore extends AsyncDisposable {
  /** By SHA-256 of the key; undefined where it is unknown or revoked. It may have expired since. */
  find(hash: Uint8Array): KnownApiKey | undefined
  /** Whether there is no valid key, or none with the scope. */
  isEmpty(scope?: Scope): boolean
  /** Makes a key and returns it, for the only time. It works when the promise resolves. */
  create(options: NewApiKey): Promise<{ id: string; key: string }>
  /** As `create`, and revokes in the same commit every key of that organization that was created under the same name. */
  replace(options: NewApiKey): Promise<{ id: string; key: string }>
  /**
   * Makes the keys from the configuration valid, and revokes those that an earlier configuration held and this one doesn't. Throws an
   * Error where one is not 16 to 512 visible ASCII characters.
   */
  syncConfigured(keys: readonly ConfiguredApiKey[]): Promise<void>
}

export interface KnownApiKey {
  hash: Uint8Array
  caller: Caller
  /** Unix milliseconds; Infinity where it never expires. */
  expiresAtMs: number
}

export interface NewApiKey {
  /** What it is for. */
  name: string
  scopes: readonly Scope[]
  /** Unset: the organization `default`. */
  organizationId?: string
  /** Unix milliseconds. Unset: never. */
  expiresAtMs?: number
}

export interface ConfiguredApiKey {
  key: string
  scopes: readonly Scope[]
}

/** Loads the keys. Throws where the database does; later, it keeps those that it has and tries again. */
export async function createApiKeyStore(deps: { database: Database }): Promise<ApiKeyStore> {
  const { database } = deps
  const { query } = database
  const stopListening = database.onForeignChange(() => void reload())
  let known = await load(database)
  let loading = Promise.resolve()
  let retry: NodeJS.Timeout | undefined
  let disposed = false

  return {
    find: (hash) => known.get(Buffer.from(hash).toString('hex')),
    isEmpty(scope) {
      const nowMs = Date.now()
      return !known.values().some((key) => key.expiresAtMs > nowMs && (scope === undefined || key.caller.scopes.includes(scope)))
    },
    async create(options) {
      const { id, key, insert } = prepareInsert(options)
      await database.commit([insert])
      await reload()
      return { id, key }
    },
    async replace(options) {
      const { id, key, insert } = prepareInsert(options)
      const revoke = query
        .updateTable('api_keys')
        .set({ revoked_at_ms: Date.now() })
        .where('organization_id', '=', options.organizationId ?? defaultOrganizationId)
        .where('name', '=', options.name)
        .where('source', '=', 'created')
        .where('revoked_at_ms', 'is', null)
      await database.commit([{ query: revoke }, insert])
      await reload()
      return { id, key }
    },
    async syncConfigured(keys) {
      const scopesByHash = mergeConfigured(keys)
      await database.commit([
        revokeConfiguredExcept([...scopesByHash.keys()]),
        ...[...scopesByHash].map(([hash, key]) => upsertConfigured(hash, key))
      ])
      await reload()
    },
    async [Symbol.asyncDispose]() {
      disposed = true
      stopListening()
      clearTimeout(retry)
      await loading
    }
  }

  /** One after the other, so that an older view never replaces a newer one. */
  function reload(): Promise<void> {
    loading = loading.then(async () => {
      clearTimeout(retry)
      try {
        known = await load(database)
      } catch {
        if (!disposed) retry = setTimeout(reload, retryMs).unref()
      }
    })
    return loading
  }

  function prepareInsert(options: NewApiKey): { id: string; key: string; insert: Statement } {
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
      revoked_at_ms: null
    }
    return { id, key, insert: { query: query.insertInto('api_keys').values(row), expectRows: 1 } }
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
    const values = { source: 'config' as const, scopes: [...scopes].join(' '), expires_at_ms: null, revoked_at_ms: null }
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

const retryMs = 1_000

async function load(database: Database): Promise<Map<string, KnownApiKey>> {
  const rows = await database.query.selectFrom('api_keys').selectAll().where('revoked_at_ms', 'is', null).execute()
  return new Map(rows.map((row) => [row.hash, toKnownApiKey(row)]))
}

function toKnownApiKey(row: ApiKeyRow): KnownApiKey {
  const scopes = row.scopes.split(' ') as Scope[]
  return {
    hash: Buffer.from(row.hash, 'hex'),
    caller: { organizationId: row.organization_id, apiKeyId: row.id, scopes },
    expiresAtMs: row.expires_at_ms ?? Number.POSITIVE_INFINITY
  }
}

function mergeConfigured(keys: readonly ConfiguredApiKey[]): Map<string, { hint: string; scopes: Set<Scope> }> {
  const merged = new Map<string, { hint: string; scopes: Set<Scope> }>()
  for (const { key, scopes } of keys) {
    if (!/^[!-~]{16,512}$/.test(key)) throw new Error('an API key in the configuration must be 16 to 512 visible ASCII characters')
    const hash = Buffer.from(hashApiKey(key)).toString('hex')
    const all = new Set([...(merged.get(hash)?.scopes ?? []), ...scopes])
    merged.set(hash, { hint: hintOf(key), scopes: all })
  }
  return merged
}
