import type { Logger } from './log.ts'

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
  /** Resolves when the answer is over: whether all of it reached the caller. Unset where there is no connection to tell. */
  answered?: Promise<boolean>
  log: Logger
}
