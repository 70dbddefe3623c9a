import { type GatewayError, gatewayError } from '../../errors.ts'
import { DatabaseError } from '../../storage/database-error.ts'

/**
 * Waits for the database before anything is sent to a provider: where it cannot be reached or cannot work at present that is
 * DATABASE_UNAVAILABLE with the outcome `not_sent`. Other errors pass through.
 */
export async function beforeSending<T>(work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    throw isUnavailable(error) ? unavailable(error) : error
  }
}

function isUnavailable(error: unknown): boolean {
  return error instanceof DatabaseError && (error.isUnavailable || error.isUnknown)
}

export function unavailable(cause?: unknown): GatewayError {
  return gatewayError('DATABASE_UNAVAILABLE', {}, { outcome: 'not_sent', retryAfterMs: 1_000, ...(cause !== undefined && { cause }) })
}

/** Whether a commit that failed may have been applied all the same. */
export function mayBeApplied(error: unknown): boolean {
  return error instanceof DatabaseError && error.isUnknown
}
