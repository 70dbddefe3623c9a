import { Code } from '@connectrpc/connect'
import type { ErrorReason } from '../gen/atelier/v1/error_pb.ts'

/**
 * What is known about the upstream call when an error is thrown. `not_sent`: the provider never saw it. `rejected`: the provider saw
 * it and made nothing. `unknown`: it may have been made and billed.
 */
export type Outcome = 'not_sent' | 'rejected' | 'unknown'

export interface ErrorEntry {
  /** gRPC and Connect code. */
  rpc: Code
  /** HTTP status on REST. */
  http: number
  /** `error.type` on REST. */
  type: string
  /** `error.code` on REST. */
  code: string | null
  /** Whether the same request may succeed when it is sent again. */
  retryable: boolean
  /** Whether the provider may have billed the request. */
  billed: 'no' | 'possible'
  /** The message; each brace names a field of `gatewayError`. */
  message: string
  /** Meaning and advice for docs/errors.md. */
  meaning: string
}

const invalid = { rpc: Code.InvalidArgument, http: 400, type: 'invalid_request_error', retryable: false, billed: 'no' } as const
const provider = { http: 500, type: 'provider_error' } as const

/** Every reason for which a request can fail; the only table of statuses, codes and messages. */
export const errorTable = {
  MISSING_PARAMETER: {
    ...invalid,
    code: 'missing_required_parameter',
    message: "missing required parameter: '{param}'",
    meaning: 'A required parameter is missing. Add it.'
  },
  INVALID_PARAMETER: {
    ...invalid,
    code: 'invalid_value',
    message: '{param}: {problem}',
    meaning: 'A parameter has a value that is not allowed. The message names the parameter, the value and what is allowed.'
  },
  INVALID_SIZE: {
    ...invalid,
    code: 'invalid_size',
    message: 'Invalid size for {model}: must be {allowed}',
    meaning: 'The model does not make images of this size. The message lists the sizes that it makes.'
  },
  UNSUPPORTED_PARAMETER: {
    ...invalid,
    code: 'unsupported_parameter',
    message: '{problem}',
    meaning: '`strict` was set and the model cannot honour a parameter as it was given. Drop the parameter, or `strict`.'
  },
  MALFORMED_BODY: {
    ...invalid,
    code: 'malformed_body',
    message: 'the body is not valid: {problem}',
    meaning: 'The body is not what its content type promises, nests too deeply, or holds a forbidden key.'
  },
  BODY_TOO_LARGE: {
    ...invalid,
    rpc: Code.ResourceExhausted,
    http: 413,
    code: 'body_too_large',
    message: 'the body is larger than the {limitBytes} bytes that are accepted here',
    meaning: 'The body is larger than the server accepts. The message names the limit.'
  },
  BODY_TOO_SLOW: {
    ...invalid,
    rpc: Code.DeadlineExceeded,
    http: 408,
    code: 'body_too_slow',
    message: 'the body did not arrive within {limitSeconds} seconds',
    meaning: 'The body arrived too slowly. Send it again over a better connection.'
  },
  UNSUPPORTED_MEDIA_TYPE: {
    ...invalid,
    http: 415,
    code: 'unsupported_media_type',
    message: '{problem}',
    meaning: 'The content type or content encoding of the body is not understood on this route.'
  },
  MALFORMED_REQUEST: {
    ...invalid,
    code: 'malformed_request',
    message: '{problem}',
    meaning: 'The request line or a header is malformed.'
  },
  IDEMPOTENCY_UNAVAILABLE: {
    ...invalid,
    rpc: Code.FailedPrecondition,
    code: 'idempotency_unavailable',
    message: '{param} cannot be honoured: this server keeps no tasks, so a repeated request would be executed and billed again',
    meaning: 'A request id (REST: `Idempotency-Key`) was given to a server that keeps no tasks. Send the request without it.'
  },
  REQUEST_ID_REUSED: {
    ...invalid,
    rpc: Code.FailedPrecondition,
    http: 422,
    code: 'idempotency_key_reused',
    message: '{param} was used before, for another request: use a new one for each request',
    meaning: 'A request id (REST: `Idempotency-Key`) was used before, for another request. Use a new one for each request.'
  },
  TASKS_UNAVAILABLE: {
    ...invalid,
    rpc: Code.FailedPrecondition,
    code: 'tasks_unavailable',
    message: '{param} cannot be honoured: this server keeps no tasks (`tasks: off`)',
    meaning: 'A task or a callback was asked for and the server keeps none. Send the request without it and wait for the answer.'
  },
  INVALID_API_KEY: {
    ...invalid,
    rpc: Code.Unauthenticated,
    http: 401,
    type: 'authentication_error',
    code: 'invalid_api_key',
    message: 'missing or invalid API key: send it as `Authorization: Bearer <key>`',
    meaning: 'The API key is missing, unknown, expired or revoked, or its organization is disabled.'
  },
  PERMISSION_DENIED: {
    ...invalid,
    rpc: Code.PermissionDenied,
    http: 403,
    type: 'permission_error',
    code: 'permission_denied',
    message: 'this API key may not {action}',
    meaning: 'The API key is valid and may not do this.'
  },
  MODEL_NOT_FOUND: {
    ...invalid,
    rpc: Code.NotFound,
    http: 404,
    code: 'model_not_found',
    message: "the model '{model}' does not exist here{hint}",
    meaning: 'No model has this name. GET /v1/models lists the names.'
  },
  ROUTE_NOT_FOUND: {
    ...invalid,
    rpc: Code.Unimplemented,
    http: 404,
    code: 'route_not_found',
    message: 'there is no route {method} {path}',
    meaning: 'There is no such route.'
  },
  METHOD_NOT_ALLOWED: {
    ...invalid,
    rpc: Code.Unimplemented,
    http: 405,
    code: 'method_not_allowed',
    message: '{path} does not take {method}: use {allowed}',
    meaning: 'The route exists and does not take this method; the `Allow` header lists those that it takes.'
  },
  IMAGE_NOT_FOUND: {
    ...invalid,
    rpc: Code.NotFound,
    http: 404,
    code: 'image_not_found',
    message: 'there is no such image, or its link has expired',
    meaning: 'There is no such image, or its link has expired or was altered.'
  },
  TASK_NOT_FOUND: {
    ...invalid,
    rpc: Code.NotFound,
    http: 404,
    code: 'task_not_found',
    message: 'there is no such task, or it has expired',
    meaning: 'There is no such task, it has expired, or it is another organization’s.'
  },
  NOT_FOUND: {
    ...invalid,
    rpc: Code.NotFound,
    http: 404,
    code: 'not_found',
    message: "there is no {kind} '{id}'",
    meaning: 'What an administrator asked for does not exist. The message names it.'
  },
  ALREADY_EXISTS: {
    ...invalid,
    rpc: Code.AlreadyExists,
    http: 409,
    code: 'already_exists',
    message: "the {kind} '{id}' exists already",
    meaning: 'What an administrator wants to create exists already. The message names it.'
  },
  CONTENT_POLICY_VIOLATION: {
    ...invalid,
    code: 'content_policy_violation',
    message: '{problem}',
    meaning:
      'The prompt or the result was refused by a safety system. Sending it again changes nothing. For gpt-image names REST uses OpenAI’s type `image_generation_user_error`, code `moderation_blocked` and `moderation_details`.'
  },
  PROVIDER_RATE_LIMITED: {
    rpc: Code.ResourceExhausted,
    http: 429,
    type: 'rate_limit_error',
    code: 'rate_limit_exceeded',
    retryable: true,
    billed: 'no',
    message: 'the provider {provider} asks to slow down: {problem}',
    meaning: 'The provider asks to slow down. Wait for `retry-after`, then send it again.'
  },
  OVERLOADED: {
    rpc: Code.Unavailable,
    http: 503,
    type: 'service_unavailable_error',
    code: 'server_is_overloaded',
    retryable: true,
    billed: 'no',
    message: 'the server has {limit} requests in flight and accepts no more',
    meaning: 'The server has as many requests in flight as it accepts (`limits.max_in_flight`). Wait for `retry-after`, then send it again.'
  },
  SHUTTING_DOWN: {
    rpc: Code.Unavailable,
    http: 503,
    type: 'service_unavailable_error',
    code: 'shutting_down',
    retryable: true,
    billed: 'no',
    message: 'the server is shutting down',
    meaning: 'The server is shutting down. Send the request again; another process will take it.'
  },
  TOO_MANY_UPLOADS: {
    rpc: Code.ResourceExhausted,
    http: 429,
    type: 'rate_limit_error',
    code: 'too_many_uploads',
    retryable: true,
    billed: 'no',
    message: 'the files of this organization’s requests in flight would take up more than {limitBytes} bytes',
    meaning:
      'The files that the organization has sent for edits in flight take up too much space together. Wait for `retry-after`, then send it again.'
  },
  NOT_STARTED: {
    rpc: Code.Unavailable,
    http: 503,
    type: 'service_unavailable_error',
    code: 'not_started',
    retryable: true,
    billed: 'no',
    message: 'the server ended before the request was sent to any provider',
    meaning: 'The server ended before the request was sent to any provider. Sending it again is safe.'
  },
  QUEUE_FULL: {
    rpc: Code.ResourceExhausted,
    http: 503,
    type: 'service_unavailable_error',
    code: 'queue_full',
    retryable: true,
    billed: 'no',
    message: '{limit} tasks are waiting and no more are accepted',
    meaning: 'As many tasks wait as the server accepts (`limits.max_queued_tasks`). Wait for `retry-after`, then send it again.'
  },
  DATABASE_UNAVAILABLE: {
    rpc: Code.Unavailable,
    http: 503,
    type: 'service_unavailable_error',
    code: 'database_unavailable',
    retryable: true,
    billed: 'no',
    message: 'the database cannot be used at present, and nothing that costs money is begun without it',
    meaning: 'The server cannot reach its database. Nothing was sent. Wait for `retry-after`, then send it again.'
  },
  PROVIDER_REJECTED: {
    ...invalid,
    code: 'provider_rejected',
    message: '{problem}',
    meaning: 'The provider refused the request as it was sent. The message, `param` and `code` are the provider’s where it gave them.'
  },
  PROVIDER_KEY_MISSING: {
    ...provider,
    rpc: Code.FailedPrecondition,
    code: 'provider_key_missing',
    retryable: false,
    billed: 'no',
    message: 'no {provider} API key is configured, so {model} cannot be served',
    meaning: 'No key is configured for the provider that serves this model. Tell the operator.'
  },
  PROVIDER_KEY_REFUSED: {
    ...provider,
    rpc: Code.FailedPrecondition,
    code: 'provider_key_refused',
    retryable: false,
    billed: 'no',
    message: 'the provider {provider} refused the configured key or its account: {problem}',
    meaning: 'The provider refused the configured key, or its account may not use the model or has no credit. Tell the operator.'
  },
  PROVIDER_UNREACHABLE: {
    ...provider,
    rpc: Code.Unavailable,
    code: 'provider_unreachable',
    retryable: true,
    billed: 'no',
    message: 'the provider {provider} could not be reached: {problem}',
    meaning: 'The provider could not be reached; nothing was sent. Sending it again is safe.'
  },
  PROVIDER_OVERLOADED: {
    ...provider,
    rpc: Code.Unavailable,
    code: 'provider_overloaded',
    retryable: true,
    billed: 'no',
    message: 'the provider {provider} is overloaded: {problem}',
    meaning: 'The provider answered that it is overloaded; nothing was made. Sending it again is safe.'
  },
  PROVIDER_FAILED: {
    ...provider,
    rpc: Code.Internal,
    code: 'provider_failed',
    retryable: false,
    billed: 'possible',
    message: 'the provider {provider} failed: {problem}',
    meaning: 'The provider failed while it worked on the request. It may have billed it, so the SDKs are told not to send it again.'
  },
  OUTCOME_UNKNOWN: {
    ...provider,
    rpc: Code.Unknown,
    code: 'outcome_unknown',
    retryable: false,
    billed: 'possible',
    message: 'the answer of the provider {provider} was lost: {problem}',
    meaning:
      'The request was sent and no whole answer came back. The image may have been made and billed, so the SDKs are told not to send it again.'
  },
  DEADLINE_EXCEEDED: {
    rpc: Code.DeadlineExceeded,
    http: 504,
    type: 'timeout_error',
    code: 'deadline_exceeded',
    retryable: false,
    billed: 'possible',
    message: 'the image was not ready within {limitSeconds} seconds',
    meaning: 'The caller’s or the server’s time limit passed while the provider worked. The image may have been billed.'
  },
  CANCELLED: {
    rpc: Code.Canceled,
    http: 499,
    type: 'invalid_request_error',
    code: 'cancelled',
    retryable: false,
    billed: 'possible',
    message: 'the caller cancelled the request',
    meaning: 'The caller cancelled the request or closed the connection. The upstream call was stopped; it may have been billed.'
  },
  STORAGE_FAILED: {
    rpc: Code.Internal,
    http: 500,
    type: 'server_error',
    code: 'storage_failed',
    retryable: false,
    billed: 'possible',
    message: 'the image could not be stored: {problem}',
    meaning: 'The server could not store or read an image. Ask for `response_format: b64_json`, and tell the operator.'
  },
  INTERNAL: {
    rpc: Code.Internal,
    http: 500,
    type: 'server_error',
    code: 'internal_error',
    retryable: false,
    billed: 'possible',
    message: 'internal error; the request id finds it in the log',
    meaning: 'The server failed in a way that nobody foresaw. Tell the operator the request id.'
  }
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
