/**
 * The tables. Every row belongs to an organization. Times are Unix milliseconds (`_ms`), hashes are lower-case hexadecimal, lists are
 * separated by blanks: text and integers mean the same on every database.
 */
export interface Schema {
  organizations: OrganizationRow
  api_keys: ApiKeyRow
  blobs: BlobRow
  change_counters: ChangeCounterRow
}

export interface OrganizationRow {
  id: string
  name: string
  created_at_ms: number
  /** Null where its API keys work. */
  disabled_at_ms: number | null
}

export interface ApiKeyRow {
  id: string
  organization_id: string
  /** What the key is for; several keys may share a name. */
  name: string
  /** SHA-256 of the key; the key itself is stored nowhere. */
  hash: string
  /** The last characters of the key, to recognise it by. */
  hint: string
  scopes: string
  /** Where the key comes from; keys from the configuration are revoked when they leave it. */
  source: 'created' | 'config'
  created_at_ms: number
  expires_at_ms: number | null
  revoked_at_ms: number | null
  /** Patterns of models that it may use; empty: every model. */
  allowed_models: string
  /** Patterns of providers that it may use; empty: every provider. */
  allowed_providers: string
  last_used_at_ms: number | null
}

/** Grows with every change of what it is named after, in the same commit: whoever keeps a copy in memory asks only for this. */
export interface ChangeCounterRow {
  name: 'api_keys'
  changes: number
}

export interface BlobRow {
  id: string
  organization_id: string
  media_type: string
  size_bytes: number
  created_at_ms: number
  expires_at_ms: number
}

/** The organization of everything that names no other. */
export const defaultOrganizationId = 'default'
