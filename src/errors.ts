import type { ErrorReason } from '../gen/atelier/v1/error_pb.ts'
import { capacityErrors } from './errors/capacity-errors.ts'
import type { ErrorEntry } from './errors/error-entry.ts'
import { requestErrors } from './errors/request-errors.ts'
import { upstreamErrors } from './errors/upstream-errors.ts'

/**
 * What is known about the upstream call when an error is thrown. `not_sent`: the provider never saw it. `rejected`: the provider saw
 * it and made nothing. `unknown`: it may have been made and billed.
 */
export type Outcome = 'not_sent' | 'rejected' | 'unknown'

/** Every reason for which a request can fail; the only table of statuses, codes and messages. */
export const errorTable = {
  ...requestErrors,
  ...capacityErrors,
  ...upstreamErrors
} as const satisfies Record<Exclude<keyof typeof ErrorReason, 'UNSPECIFIED'>, ErrorEntry>

export type Reason = keyof typeof errorTable

type Placeholder<T extends string> = T extends `${string}{${infer Name}}${infer Rest}` ? Name | Placeholder<Rest> : never
type Fields<R extends Reason> = { [Name in Placeholder<(typeof errorTable)[R]['message']>]: string | number }

export interface ErrorOptions {
  /** The request field at fault, as the contract spells it. */
  param?: string
  /** How long to wait before the next try. */
  retryAfterMs?: number
  /** What the upstream call came to; unset where none was begun. */
  outcome?: Outcome
  /** Overrides the table where the error itself knows better. */
  retryable?: boolean
  /** A provider's own `error.code`, relayed instead of ours. */
  code?: string
  /** What a safety system said. */
  moderation?: Moderation
  /** The original error; for the log, never for the caller. */
  cause?: unknown
}

export interface Moderation {
  /** Where it was refused. */
  stage: 'input' | 'output' | 'unknown'
  /** The provider's names for what it saw, e.g. "violence". */
  categories: string[]
}

/** The one error that callers see. Anything else that is thrown becomes `INTERNAL`. */
export class GatewayError extends Error {
  readonly reason: Reason
  readonly param: string | undefined
  readonly retryAfterMs: number | undefined
  readonly outcome: Outcome | undefined
  readonly retryable: boolean
  readonly code: string | null
  readonly moderation: Moderation | undefined
  /** What the message was made of. */
  readonly fields: Record<string, string | number>

  constructor(reason: Reason, fields: Record<string, string | number>, options: ErrorOptions) {
    const entry: ErrorEntry = errorTable[reason]
    super(
      entry.message.replace(/\{(\w+)\}/g, (_, name: string) => String(fields[name] ?? '')),
      options.cause === undefined ? undefined : { cause: options.cause }
    )
    this.name = 'GatewayError'
    this.reason = reason
    this.fields = fields
    this.param = options.param ?? (typeof fields.param === 'string' ? fields.param : undefined)
    this.retryAfterMs = options.retryAfterMs
    this.outcome = options.outcome
    this.retryable = options.retryable ?? entry.retryable
    this.code = options.code ?? entry.code
    this.moderation = options.moderation
  }

  get entry(): ErrorEntry {
    return errorTable[this.reason]
  }
}

/** Makes an error; the fields are those that the reason's message names. */
export function gatewayError<R extends Reason>(reason: R, fields: Fields<R>, options: ErrorOptions = {}): GatewayError {
  return new GatewayError(reason, fields, options)
}

/** The error for a parameter with a value that is not allowed; `problem` follows its name in the message. */
export function invalidParameter(param: string, problem: string): GatewayError {
  return gatewayError('INVALID_PARAMETER', { param, problem })
}

/** The same error, but for what its parameter is called. */
export function withParam(error: GatewayError, param: string): GatewayError {
  const { reason, fields, retryable, retryAfterMs, outcome, code, moderation, cause } = error
  return new GatewayError(reason, fields.param === undefined ? fields : { ...fields, param }, {
    param,
    retryable,
    ...(retryAfterMs !== undefined && { retryAfterMs }),
    ...(outcome && { outcome }),
    ...(code !== null && { code }),
    ...(moderation && { moderation }),
    cause
  })
}

/** The error for a time limit that passed. It names the limit in seconds, below a second in hundredths. */
export function deadlineExceeded(limitMs: number, options: ErrorOptions = {}): GatewayError {
  return gatewayError(
    'DEADLINE_EXCEEDED',
    { limitSeconds: Math.max(0, limitMs < 1000 ? Math.round(limitMs / 10) / 100 : Math.round(limitMs / 100) / 10) },
    options
  )
}

/** What any thrown value is to a caller: itself, or `INTERNAL` with the original as cause. */
export function toGatewayError(thrown: unknown): GatewayError {
  return thrown instanceof GatewayError ? thrown : gatewayError('INTERNAL', {}, { cause: thrown })
}
