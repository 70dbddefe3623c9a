import { GatewayError, type Outcome } from '../errors.ts'

/** The same error, of which it is known by now what the upstream call came to. */
export function withOutcome(error: GatewayError, outcome: Outcome): GatewayError {
  const { reason, fields, param, retryAfterMs, retryable, code, moderation } = error
  return new GatewayError(reason, fields, {
    outcome,
    retryable,
    cause: error,
    ...(param !== undefined && { param }),
    ...(retryAfterMs !== undefined && { retryAfterMs }),
    ...(code !== null && { code }),
    ...(moderation && { moderation })
  })
}
