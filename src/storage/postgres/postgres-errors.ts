import { DatabaseError as ServerError } from 'pg'
import { ConflictError, DatabaseError } from '../database-error.ts'
import { ConnectionLostError, isStaleStatement } from './postgres-connection.ts'

/** What callers of the database are told. */
export function toDatabaseError(error: unknown): Error {
  if (error instanceof DatabaseError || error instanceof ConflictError || error instanceof RangeError) return error
  if (error instanceof ServerError) {
    const code = error.code ?? 'XX000'
    return new DatabaseError(error.message, code, { isUnavailable: temporary.test(code), cause: error })
  }
  if (error instanceof ConnectionLostError)
    return new DatabaseError(error.message, 'DATABASE_UNREACHABLE', { isUnavailable: true, cause: error })
  return error instanceof Error ? error : new Error(String(error))
}

/** A connection that cannot be opened. */
export function unreachableError(error: unknown): DatabaseError {
  const problem = error instanceof AggregateError ? error.errors.map(messageOf).join(', ') : messageOf(error)
  return new DatabaseError(`the database cannot be reached: ${problem}`, 'DATABASE_UNREACHABLE', { isUnavailable: true, cause: error })
}

/** What broke off while the server may have been applying it. */
export function unknownResultError(cause: ConnectionLostError): DatabaseError {
  return new DatabaseError(`it is unknown whether the database has applied a change: ${cause.message}`, 'RESULT_UNKNOWN', {
    isUnknown: true,
    cause
  })
}

/** Whether nothing was applied and the same call may succeed at once, because what broke it was not its own fault. */
export function isWorthRepeating(error: unknown): boolean {
  if (error instanceof ConnectionLostError) return true
  if (!(error instanceof ServerError)) return false
  return error.code === '40001' || error.code === '40P01' || isStaleStatement(error)
}

/** Whether waiting changes nothing: the server knows no such user, password or database. */
export function isPermanent(error: unknown): boolean {
  return error instanceof ServerError && /^(28|3D)/.test(error.code ?? '')
}

/** Resources that are used up, timeouts, locks that others hold, and a server that only reads because another one has taken over. */
const temporary = /^(53|57014|55P03|25006|40001|40P01)/

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
