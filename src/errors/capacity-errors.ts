import { Code } from '@connectrpc/connect'
import type { ErrorEntry } from './error-entry.ts'

/** What this server cannot do now, or its operator does not let an organization do. */
export const capacityErrors = {
  MODERATION_UNAVAILABLE: {
    rpc: Code.Unavailable,
    http: 503,
    type: 'service_unavailable_error',
    code: 'moderation_unavailable',
    retryable: true,
    billed: 'no',
    message: 'the moderation endpoint that the content policy of this organization asks gave no answer: {problem}',
    meaning:
      'The organization’s content policy has every prompt judged by a moderation endpoint, and that gave no answer. Nothing was sent. Where `x-should-retry` is `false` only the operator can help; else send it again.'
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
  RATE_LIMITED: {
    rpc: Code.ResourceExhausted,
    http: 429,
    type: 'rate_limit_error',
    code: 'rate_limit_exceeded',
    retryable: true,
    billed: 'no',
    message: '{whose} has reached its limit of {limit}: try again in {wait}',
    meaning:
      'A rate limit of the organization or of the API key is reached. The message says which; `x-ratelimit-…` headers say how much is left. Wait for `retry-after`, then send it again.'
  },
  BUDGET_EXCEEDED: {
    rpc: Code.ResourceExhausted,
    http: 429,
    type: 'insufficient_quota',
    code: 'insufficient_quota',
    retryable: false,
    billed: 'no',
    message: 'the {budget} does not cover this request, which may cost {needed}; {renewal}',
    meaning:
      'A budget for everything, for the organization or for the API key is used up, as far as this request may need it. Nothing was sent. The message says whose budget it is and when it begins anew; the SDKs are told not to send it again.'
  },
  BUDGET_UNENFORCEABLE: {
    rpc: Code.FailedPrecondition,
    http: 500,
    type: 'server_error',
    code: 'budget_unenforceable',
    retryable: false,
    billed: 'no',
    message: 'the {budget} is for this request, and a server that keeps no tasks (`tasks: off`) cannot keep to it',
    meaning: 'A budget is for the request, and the server keeps no tasks that could make it hold. Nothing was sent. Tell the operator.'
  }
} as const satisfies Record<string, ErrorEntry>
