import type { Logger } from './log.ts'

/** What an API key allows. `generate` is every route of the image and model services; `admin` is operation: metrics. */
export type Scope = 'generate' | 'admin'

/** The authenticated party. */
export interface Caller {
  organizationId: string
  apiKeyId: string
  scopes: readonly Scope[]
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
  log: Logger
}
