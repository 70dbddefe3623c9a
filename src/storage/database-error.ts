/** The database refused a statement, or is gone. */
export class DatabaseError extends Error {
  /** SQLSTATE, the driver's code such as `ERR_SQLITE_ERROR`, or `DATABASE_CLOSED`, `DATABASE_UNREACHABLE`, `RESULT_UNKNOWN`. */
  readonly code: string
  /** SQLite's extended result code, such as 2067 for a value that is not unique. */
  readonly resultCode: number | undefined
  /** The database cannot be reached or cannot work at present. Nothing of the call was applied; the same call may succeed later. */
  readonly isUnavailable: boolean
  /** The connection broke before the answer came: the call was applied as a whole or not at all, and nobody can tell which. */
  readonly isUnknown: boolean

  constructor(
    message: string,
    code: string,
    details: { resultCode?: number | undefined; isUnavailable?: boolean; isUnknown?: boolean; cause?: unknown } = {}
  ) {
    super(message, details.cause === undefined ? {} : { cause: details.cause })
    this.name = 'DatabaseError'
    this.code = code
    this.resultCode = details.resultCode
    this.isUnavailable = details.isUnavailable ?? false
    this.isUnknown = details.isUnknown ?? false
  }
}

/** A statement of a commit affected another number of rows than it expects; nothing of the commit was applied. */
export class ConflictError extends Error {
  /** Which statement of the commit, counted from 0. */
  readonly statement: number
  readonly expectedRows: number
  readonly affectedRows: number

  constructor(statement: number, expectedRows: number, affectedRows: number) {
    super(`statement ${statement} of the commit affected ${affectedRows} rows and not the expected ${expectedRows}`)
    this.name = 'ConflictError'
    this.statement = statement
    this.expectedRows = expectedRows
    this.affectedRows = affectedRows
  }
}

/** What every call to a database that is closed, or being closed, is rejected with. */
export function closedError(): DatabaseError {
  return new DatabaseError('the database is closed', 'DATABASE_CLOSED', { isUnavailable: true })
}
