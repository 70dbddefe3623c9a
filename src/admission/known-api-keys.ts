import type { Caller, Scope } from '../call.ts'
import type { Database, Statement } from '../storage/database.ts'
import type { ApiKeyRow } from '../storage/schema.ts'

export interface KnownApiKey {
  hash: Uint8Array
  caller: Caller
  /** Unix milliseconds; Infinity where it never expires. */
  expiresAtMs: number
}

/** The valid API keys, in memory, kept as they are in the database. */
export interface KnownApiKeys extends AsyncDisposable {
  /** By SHA-256 of the key in hexadecimal. Some may have expired since. */
  all(): ReadonlyMap<string, KnownApiKey>
  /** Whether the database has confirmed them lately; where it has not, a key may have been revoked that is still here. */
  areCurrent(): boolean
  /** Looks for changes and takes them over; where the database fails, it is tried again later. Never rejects. */
  refresh(): Promise<void>
}

export interface KnownApiKeysOptions {
  /** How often to look for changes that nobody announced. Unset: 4 s. */
  checkEveryMs?: number
  /** How long keys hold that the database does not confirm. Unset: 60 s. */
  maxUnconfirmedMs?: number
}

/** Loads the keys of all organizations that are not disabled. Throws where the database does. */
export async function createKnownApiKeys(options: KnownApiKeysOptions, { database }: { database: Database }): Promise<KnownApiKeys> {
  const { checkEveryMs = 4_000, maxUnconfirmedMs = 60_000 } = options
  let known: ReadonlyMap<string, KnownApiKey> = new Map()
  let seenChanges = -1
  let confirmedAtMs = Number.NEGATIVE_INFINITY
  let refreshing = Promise.resolve()
  let timer: NodeJS.Timeout | undefined
  let disposed = false

  // Before the first look, so that nothing is missed that another process changes meanwhile.
  const stopListening = database.onAnnouncement((topic) => {
    if (topic === undefined || topic === 'api_keys') void refresh()
  })
  const first = confirm()
  refreshing = first.catch(() => {
    disposed = true
    stopListening()
  })
  await first
  scheduleNext(checkEveryMs)

  return {
    all: () => known,
    areCurrent: () => performance.now() - confirmedAtMs <= maxUnconfirmedMs,
    refresh,
    async [Symbol.asyncDispose]() {
      disposed = true
      stopListening()
      clearTimeout(timer)
      await refreshing
    }
  }

  /** One after the other, so that an older view never replaces a newer one. */
  function refresh(): Promise<void> {
    refreshing = refreshing.then(async () => {
      if (disposed) return
      const succeeded = await confirm().then(
        () => true,
        () => false
      )
      scheduleNext(succeeded ? checkEveryMs : Math.min(retryMs, checkEveryMs))
    })
    return refreshing
  }

  async function confirm(): Promise<void> {
    const begunAtMs = performance.now()
    const changes = await readChanges(database)
    // What changes between the two queries is counted after this number, and loaded again.
    if (changes !== seenChanges) known = await load(database)
    seenChanges = changes
    confirmedAtMs = begunAtMs
  }

  function scheduleNext(inMs: number): void {
    clearTimeout(timer)
    if (!disposed) timer = setTimeout(refresh, inMs).unref()
  }
}

/** Part of every commit that changes who is let in. */
export function countChange({ query }: Pick<Database, 'query'>): Statement {
  const count = query.updateTable('change_counters').set(({ eb }) => ({ changes: eb('changes', '+', 1) }))
  return { query: count.where('name', '=', 'api_keys'), expectRows: 1 }
}

const retryMs = 1_000

async function readChanges({ query }: Database): Promise<number> {
  const row = await query.selectFrom('change_counters').select('changes').where('name', '=', 'api_keys').executeTakeFirst()
  return row?.changes ?? 0
}

async function load({ query }: Database): Promise<Map<string, KnownApiKey>> {
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
