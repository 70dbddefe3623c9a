/**
 * The tables. Every row belongs to an organization. Times are Unix milliseconds (`_ms`), hashes are lower-case hexadecimal, lists are
 * separated by blanks: text and integers mean the same on every database.
 */
export interface Schema {
  organizations: OrganizationRow
  api_keys: ApiKeyRow
  blobs: BlobRow
  change_counters: ChangeCounterRow
  processes: ProcessRow
  tasks: TaskRow
  request_keys: RequestKeyRow
  attempts: AttemptRow
  ledger_entries: LedgerEntryRow
  callbacks: CallbackRow
  callback_deliveries: CallbackDeliveryRow
  signing_secrets: SigningSecretRow
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
  /** Whether its id alone opens it (`public`), or only a signed link. */
  access: 'signed' | 'public'
  /** The task that it belongs to, with which it expires. */
  task_id: string | null
  created_at_ms: number
  /** `neverMs` for what lasts until it is deleted. */
  expires_at_ms: number
}

/** A running process of this program. While its lease lasts nobody else touches the tasks that it works on. */
export interface ProcessRow {
  id: string
  lease_until_ms: number
}

export interface TaskRow {
  id: string
  organization_id: string
  api_key_id: string
  operation: 'generation' | 'edit' | 'variation'
  state: TaskStateText
  /** `attached`: a caller waits for the answer. `detached`: it was acknowledged and runs in the background. */
  mode: 'attached' | 'detached'
  revision: number
  /** The caller's own name for it; empty where it gave none. */
  trace_id: string
  /** HMAC of the normalized request, with the id of its key in front. */
  fingerprint: string
  on_interrupt: 'fail' | 'retry'
  /** StoredRequest, sealed. */
  request: Uint8Array
  /** StoredResult, sealed; null until the task is final. */
  result: Uint8Array | null
  provider: string
  model: string
  /** The process that works on it; null while nobody does. */
  owner: string | null
  /** Grows whenever the task changes hands; what an earlier owner writes is refused. */
  fence: number
  cancel_requested_at_ms: number | null
  /** When the connection of the caller broke before the answer was through; null where it did not. */
  lost_at_ms: number | null
  /** Whether a repetition without a key has been given the result of this lost task. */
  rejoined: 0 | 1
  created_at_ms: number
  started_at_ms: number | null
  finished_at_ms: number | null
  /** `neverMs` until it is final. */
  expires_at_ms: number
}

export type TaskStateText = 'queued' | 'running' | 'succeeded' | 'failed' | 'cancelled' | 'interrupted'

/** A caller's id for a request, which is executed once. */
export interface RequestKeyRow {
  organization_id: string
  operation: string
  /** HMAC of the key, with the id of its own key in front. */
  key_hash: string
  fingerprint: string
  task_id: string
  expires_at_ms: number
}

/** One call to a provider, recorded before anything is sent. */
export interface AttemptRow {
  id: string
  task_id: string
  organization_id: string
  part: number
  ordinal: number
  provider: string
  model: string
  state: 'intended' | 'submitted' | 'succeeded' | 'rejected' | 'unknown'
  /** The provider's name for its job, sealed; null where it gave none. */
  job_id: Uint8Array | null
  /** Micro-USD; null where no price is known. */
  reserved_micros: number | null
  cost_micros: number | null
  /** StoredResult of this part, sealed; null where it delivered nothing. */
  result: Uint8Array | null
  created_at_ms: number
  closed_at_ms: number | null
}

/**
 * A booking; never changed. The reserved amounts of an attempt sum up to 0 when it is closed, and the spent ones to what it cost.
 * `reserve` comes with the intent, one `settle` or `release` closes it, `correct` tells what a late worker learned after that.
 */
export interface LedgerEntryRow {
  id: string
  organization_id: string
  api_key_id: string
  task_id: string
  attempt_id: string
  kind: 'reserve' | 'settle' | 'release' | 'correct'
  provider: string
  model: string
  /** Change of what is reserved, in micro-USD. */
  reserved_micros: number
  /** Change of what is spent, in micro-USD. */
  spent_micros: number
  /** 0 where no price is known: the amounts are then 0 and say nothing. */
  priced: 0 | 1
  /** What the spent amount rests on: the provider's answer, or the reservation because the answer was lost. */
  basis: 'actual' | 'unknown' | 'none'
  images: number
  input_tokens: number
  output_tokens: number
  at_ms: number
}

/** A callback to be delivered at least once, recorded with the result that it tells of. */
export interface CallbackRow {
  /** Also its `webhook-id`. */
  id: string
  task_id: string
  organization_id: string
  /** Sealed. */
  url: Uint8Array
  /** HMAC of the organization and the origin of the URL: callbacks to one receiver wait for each other, and no others do. */
  receiver: string
  state: 'pending' | 'delivered' | 'failed' | 'stopped'
  /** Deliveries that were begun since it was last asked for. */
  attempts: number
  /** When it is due; for one that is being delivered, when it is due again if that is never heard of. */
  next_at_ms: number
  created_at_ms: number
}

export interface CallbackDeliveryRow {
  id: string
  callback_id: string
  at_ms: number
  /** 0 where there was no answer. */
  status: number
  problem: string
  duration_ms: number
}

/** A secret that callbacks of an organization are signed with. */
export interface SigningSecretRow {
  id: string
  organization_id: string
  /** Sealed. */
  secret: Uint8Array
  created_at_ms: number
  /** Null for the newest one. */
  expires_at_ms: number | null
}

/** Later than every time that can come up: what has this as its end has none. */
export const neverMs = 253_402_300_799_000

/** The organization of everything that names no other. */
export const defaultOrganizationId = 'default'
