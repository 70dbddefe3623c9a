import { Code } from '@connectrpc/connect'
import type { ErrorEntry } from './error-entry.ts'

const invalid = { rpc: Code.InvalidArgument, http: 400, type: 'invalid_request_error', retryable: false, billed: 'no' } as const

/** What is wrong with a request, with who sends it, or with what it asks for. */
export const requestErrors = {
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
  COST_ABOVE_MAXIMUM: {
    ...invalid,
    code: 'cost_above_maximum',
    message: '{problem}, and {param} allows {maximum}',
    meaning:
      'The request may cost more than its `max_cost_micros` (REST: `x-atelier-max-cost`) allows, or nobody knows what it costs. Nothing was sent. Ask for less, or allow more.'
  },
  PRICE_UNKNOWN: {
    ...invalid,
    code: 'price_unknown',
    message: '{problem}, and the {budget} counts nothing for such requests',
    meaning:
      'The request is under a budget and nobody knows what it costs. Nothing was sent. Ask for a model, a size and a quality that have a price, or have the operator say what such requests count for.'
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
  GATEWAY_KEY_MISSING: {
    ...invalid,
    rpc: Code.Unauthenticated,
    http: 401,
    type: 'authentication_error',
    code: 'invalid_api_key',
    message:
      'missing or invalid API key of this gateway: send it as `Authorization: Bearer <key>` or `x-portkey-api-key: <key>`; a key for the provider goes into the other of the two',
    meaning:
      'The request names a provider (`x-portkey-provider`) and brings no valid API key of this server. A key for the provider does not stand in for one, unless the operator has set `allow_provider_key_only`.'
  },
  PROVIDER_NOT_FOUND: {
    ...invalid,
    rpc: Code.NotFound,
    http: 404,
    code: 'provider_not_found',
    message: "there is no {kind} '{name}' here: {known}",
    meaning:
      'The caller chose a provider or a stored credential that there is not, or that it may not use. The message lists those that there are.'
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
  }
} as const satisfies Record<string, ErrorEntry>
