import type { Log } from './log.ts'

/**
 * What an API key allows. `generate`: generations, estimates and the list of models; `edit`: edits, variations and uploads;
 * `read_tasks`: the organization's tasks and their results; `admin`: operation, which is organizations, keys and metrics. No scope
 * contains another.
 */
export type Scope = 'generate' | 'edit' | 'read_tasks' | 'admin'

/** What something takes: a scope, or any one of several. */
export type NeededScope = Scope | readonly Scope[]

/** The authenticated party. */
export interface Caller {
  organizationId: string
  apiKeyId: string
  scopes: readonly Scope[]
  /** The models that it may use, by names in which "*" stands for any characters. Unset: every model. */
  allowedModels?: readonly string[]
  /** The providers that it may use, likewise. Unset: every provider. */
  allowedProviders?: readonly string[]
  /** Whether it is a stranger to the others of its organization, so that what it calls a request is no name to them, and its
   * images are none of theirs. Unset: it is not. */
  sharesNothing?: boolean
}

/** Whose the images and the names of a caller's requests are: its organization's, or its own where it is a stranger to the others there. */
export function ownerOf({
  organizationId,
  apiKeyId,
  sharesNothing = false
}: Pick<Caller, 'organizationId' | 'apiKeyId' | 'sharesNothing'>): string {
  return sharesNothing ? `${organizationId}|${apiKeyId}` : organizationId
}

/** Which provider a request is for, and with whose credential, as far as its caller says. */
export interface ProviderChoice {
  /** Name of a configured provider. */
  provider?: string
  /** Name of a credential that is stored for the organization; it also says which provider. */
  credentialName?: string
  /** The caller's own key for `provider`, used for this request alone. Never logged; kept only sealed. */
  credential?: string
  /** Where to call `provider` instead of its own address; only ever with the caller's own `credential`. */
  customHost?: string
}

/** A key for a provider, without the key: the organization's own, the platform's, one that came with the request, or none. */
export interface CredentialUse {
  kind: 'organization' | 'platform' | 'request' | 'none'
  /** Of a stored credential its id; else empty. */
  id: string
}

/** What travels with a request through every layer. */
export interface Call {
  /** Names this request in the log, in the answer (`x-request-id`) and in errors. */
  id: string
  caller: Caller
  /** Aborts when the caller goes away, cancels, or the deadline passes. */
  signal: AbortSignal
  /** When the caller stops waiting, in Unix milliseconds; Infinity where it did not say. */
  deadlineMs: number
  /** What the caller wants the usage ledger to keep beside its bookings: a JSON object as text. Unset: nothing. */
  metadata?: string
  /** The provider that the caller chose, and whose credential to use. Unset: the model decides, and what is stored. */
  choice?: ProviderChoice
  /** Sets a header of the answer, as long as none of it has been sent. Unset where there is no answer. */
  tell?(header: string, value: string): void
  /**
   * Hears before each call to a provider whose keys the request is served with, those that were refused left out. Unset where there is no
   * answer to say it on.
   */
  calledWith?(credentials: readonly CredentialUse[]): void
  /** Resolves when the answer is over: whether all of it reached the caller. Unset where there is no connection to tell. */
  answered?(): Promise<boolean>
  log: Log
}
