import { Code } from '@connectrpc/connect'
import type { ErrorEntry } from './error-entry.ts'

const invalid = { rpc: Code.InvalidArgument, http: 400, type: 'invalid_request_error', retryable: false, billed: 'no' } as const
const provider = { http: 500, type: 'provider_error' } as const

/** What went wrong at a provider or while a request was carried out. */
export const upstreamErrors = {
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
} as const satisfies Record<string, ErrorEntry>
