import type { Generated } from 'kysely'

/**
 * The tables. Every row belongs to an organization. Times are Unix milliseconds (`_ms`), hashes are lower-case hexadecimal, lists are
 * separated by blanks: text and integers mean the same on every database.
 */
export interface Schema {
  organizations: Omit<OrganizationRow, 'platform_credentials'> & {
    platform_credentials: Generated<OrganizationRow['platform_credentials']>
  }
  api_keys: ApiKeyRow
  credentials: CredentialRow
  blobs: BlobRow
  change_counters: ChangeCounterRow
  content_policies: ContentPolicyRow
  processes: ProcessRow
  tasks: TaskRow
  request_keys: RequestKeyRow
  attempts: AttemptRow
  ledger_entries: LedgerEntryRow
  callbacks: CallbackRow
  callback_deliveries: CallbackDeliveryRow
  rate_limits: RateLimitRow
  rate_limit_buckets: RateLimitBucketRow
  rate_limit_slices: RateLimitSliceRow
  signing_secrets: SigningSecretRow
  budgets: BudgetRow
  budget_periods: BudgetPeriodRow
}

export interface OrganizationRow {
  id: string
  name: string
  created_at_ms: number
  /** Null where its API keys work. */
  disabled_at_ms: number | null
  /** When the operator's own keys for providers serve it: never, for providers it has none for, or also where its own were refused. */
  platform_credentials: 'never' | 'when_missing' | 'also_when_refused'
}

/** An organization's own key for a provider. */
export interface CredentialRow {
  id: string
  organization_id: string
  /** Name of the provider in the configuration. */
  provider: string
  name: string
  /** 0: used only where it is named. */
  weight: number
  /** The key, sealed. */
  secret: Uint8Array
  /** The last characters of the key, to recognise it by; empty where they would tell too much. */
  hint: string
  created_at_ms: number
  /** When the key was set. */
  set_at_ms: number
  last_used_at_ms: number | null
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

/** Grows with every change of what `LiveCopies` keeps, in the same commit: whoever keeps a copy in memory asks only for this. */
export interface ChangeCounterRow {
  name: 'settings'
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
  /** Whose key it is called with: organization:<id of the credential>, platform, request or none. */
  credential: string
  /** Micro-USD; null where no price is known. */
  reserved_micros: number | null
  cost_micros: number | null
  /** Ids of the periods of the budgets that it counts in. */
  budget_periods: string
  /** What it counts there now, in micro-USD: what is set aside for it, later what it cost; where no price is known, what the budgets say. */
  budget_micros: number
  /** StoredResult of this part, sealed; null where it delivered nothing, or ended in one commit with its task. */
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
  /** As in the attempt. */
  credential: string
  /** Change of what is reserved, in micro-USD. */
  reserved_micros: number
  /** Change of what is spent, in micro-USD. */
  spent_micros: number
  /** 0 where no price is known: the amounts are then 0 and say nothing. */
  priced: 0 | 1
  /** What the spent amount rests on: the provider's answer, or the reservation because the answer was lost. */
  basis: 'actual' | 'unknown' | 'none'
  images: number
  /** Pixels of those images, as far as their size is known. */
  pixels: number
  input_tokens: number
  output_tokens: number
  /** What was asked for, as in `TaskRow`. */
  operation: string
  /** The caller's name for its end user; empty where it gave none. */
  end_user: string
  /** A JSON object of texts, which the database can look into; null where the caller gave none. */
  metadata: string | null
  /** 1 where the request itself is counted: with the first reservation of its first part. */
  requests: 0 | 1
  /** Change of the number of calls that are over and have no known price. */
  unpriced: number
  at_ms: number
}

/** The most that may be spent on some requests in a period. */
export interface BudgetRow {
  id: string
  subject_kind: 'everything' | 'organization' | 'api_key'
  /** Id of the organization or of the API key; empty for everything. */
  subject_id: string
  /** When it begins anew, by UTC. */
  period: 'day' | 'month' | 'total'
  limit_micros: number
  /** What a request counts for whose price is not known; null where such requests are refused. */
  unknown_price_micros: number | null
  /** Where it comes from; one from the configuration is deleted when it leaves it. */
  source: 'created' | 'config'
  created_at_ms: number
}

/** A period of a budget, from the first request in it on. */
export interface BudgetPeriodRow {
  /** Id of the budget, "@", and when the period starts in Unix milliseconds. */
  id: string
  budget_id: string
  starts_at_ms: number
  /** The sum of what the attempts count that name this period. */
  used_micros: number
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

/** How much an organization or one of its API keys may ask for. */
export interface RateLimitRow {
  id: string
  organization_id: string
  /** Empty where it limits all that the keys of the organization do together. */
  api_key_id: string
  metric: 'requests' | 'images' | 'megapixels' | 'cost' | 'in_flight'
  /** Requests, images, megapixels or micro-USD. */
  amount: number
  /** 0 for requests in flight. */
  window_ms: number
  /** Pattern of the models that it is for; empty: every model. */
  model: string
  created_at_ms: number
}

/** What is left of a limit that several processes share, beside the slices that they hold of it. */
export interface RateLimitBucketRow {
  limit_id: string
  /** Grows with every change: whoever decided on an older state decides again. */
  revision: number
  /** Unix microseconds since which it has been filling up, as if it had been empty then. */
  filling_since_us: number
}

/** What a process holds of a limit: for requests in flight those that it has and may begin, else what it may still use. */
export interface RateLimitSliceRow {
  limit_id: string
  process_id: string
  /** Requests, images, pixels or micro-USD. */
  held: number
  /** By the clock of the database; from then on it is nobody's. */
  until_ms: number
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

/** What an organization may not ask for. */
export interface ContentPolicyRow {
  id: string
  organization_id: string
  /** Words and phrases that a prompt may not hold, one on each line. */
  blocked_patterns: string
  /** Endpoint that is asked about every prompt; empty where none is. */
  moderation_url: string
  /** Empty: the endpoint's own choice. */
  moderation_model: string
  /** The endpoint's API key, sealed; null where it needs none. */
  moderation_key: Uint8Array | null
  /** The last characters of the key, to recognise it by; empty where they would tell too much. */
  moderation_key_hint: string
  moderation_timeout_ms: number
  /** What becomes of a request where the endpoint gives no answer. */
  moderation_failure: 'refuse' | 'allow'
  created_at_ms: number
  updated_at_ms: number
}

/** Later than every time that can come up: what has this as its end has none. */
export const neverMs = 253_402_300_799_000

/** The organization of everything that names no other. */
export const defaultOrganizationId = 'default'
