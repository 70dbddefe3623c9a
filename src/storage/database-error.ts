/** The database refused a statement, or is gone. */
export class DatabaseError extends Error {
  /** The driver's code, such as `ERR_SQLITE_ERROR`; `DATABASE_CLOSED` where there is no database any more. */
  readonly code: string
  /** SQLite's extended result code, such as 2067 for a value that is not unique. */
  readonly resultCode: number | undefined

  constructor(message: string, code: string, resultCode?: number) {
    super(message)
    this.name = 'DatabaseError'
    this.code = code
    this.resultCode = resultCode
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
