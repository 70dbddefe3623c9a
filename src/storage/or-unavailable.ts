import { gatewayError } from '../errors.ts'
import { DatabaseError } from './database-error.ts'

/** Waits for the database; where it fails, throws DATABASE_UNAVAILABLE. A ConflictError passes. */
export async function orUnavailable<T>(promise: Promise<T>): Promise<T> {
  try {
    return await promise
  } catch (error) {
    if (!(error instanceof DatabaseError)) throw error
    throw gatewayError('DATABASE_UNAVAILABLE', {}, { cause: error, retryAfterMs: 1_000 })
  }
}
