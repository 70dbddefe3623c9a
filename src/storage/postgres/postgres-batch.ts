import type { Submittable } from 'pg'
import { type Execution, encodeExecutions } from './postgres-messages.ts'
import type { Field, PreparedStatement, PreparedStatements } from './postgres-prepared.ts'
import { fromPostgresText, type PostgresParameter } from './postgres-values.ts'

/** One statement of a batch. */
export interface PostgresStep {
  sql: string
  parameters: readonly PostgresParameter[]
}

export interface PostgresResult {
  rows: Record<string, unknown>[]
  /** Rows inserted, updated, deleted or returned. */
  affectedRows: number
}

/**
 * For `Client.query`: sends several statements at once and waits for all their answers, which takes one round trip. The server skips what
 * follows a statement that fails. Outside of a transaction they are one. Calls `settle` once or more; the first call counts.
 */
export function createBatch(
  steps: readonly PostgresStep[],
  prepared: PreparedStatements,
  settle: (error: unknown, results: PostgresResult[]) => void
): Submittable {
  const running: { statement: PreparedStatement; isNew: boolean }[] = []
  const answers: Answer[] = []
  let rows: RawRow[] = []
  const answered = (affectedRows: number) => {
    const fields = running[answers.length]?.statement.fields ?? []
    answers.push({ fields, rows, affectedRows })
    rows = []
  }
  const batch: Submittable & AnswerHandlers = {
    submit(connection) {
      const wire = connection as unknown as Wire
      wire.stream.cork()
      for (const name of prepared.takeForgotten()) wire.close({ type: 'S', name })
      let executions: Execution[] = []
      const execute = () => {
        if (executions.length > 0) wire.stream.write(encodeExecutions(executions))
        executions = []
      }
      for (const step of steps) {
        const use = prepared.use(step)
        const { name } = use.statement
        running.push(use)
        if (use.isNew) {
          execute()
          wire.parse({ name, text: step.sql, types: step.parameters.map(({ type }) => type) })
          wire.describe({ type: 'S', name })
        }
        executions.push({ statement: name, parameters: step.parameters })
      }
      execute()
      wire.sync()
      wire.stream.uncork()
    },
    handleRowDescription({ fields }) {
      const current = running[answers.length]
      if (current !== undefined) current.statement.fields = fields
    },
    handleDataRow: ({ fields }) => rows.push(fields),
    handleCommandComplete: ({ text }) => answered(Number(/\d+$/.exec(text)?.[0] ?? 0)),
    handleEmptyQuery: () => answered(0),
    handleCopyInResponse: (connection) => connection.sendCopyFail('this program copies nothing'),
    handleCopyData: () => {},
    handlePortalSuspended: () => {},
    handleError(error) {
      for (const { statement, isNew } of running.slice(answers.length)) if (isNew) prepared.forget(statement)
      settle(error, [])
    },
    handleReadyForQuery() {
      try {
        settle(undefined, answers.map(toResult))
      } catch (error) {
        settle(error, [])
      }
    }
  }
  return batch
}

type RawRow = (string | null)[]

interface Answer {
  fields: readonly Field[]
  rows: RawRow[]
  affectedRows: number
}

/** What `pg` calls on the query that is being answered. */
interface AnswerHandlers {
  handleRowDescription(message: { fields: Field[] }): void
  handleDataRow(message: { fields: RawRow }): void
  handleCommandComplete(message: { text: string }): void
  handleEmptyQuery(): void
  handleCopyInResponse(connection: Wire): void
  handleCopyData(): void
  handlePortalSuspended(): void
  handleError(error: unknown): void
  handleReadyForQuery(): void
}

/** What its connection can send; its published types are those of an older version. */
interface Wire {
  readonly stream: { cork(): void; uncork(): void; write(bytes: Buffer): void }
  close(message: { type: 'S'; name: string }): void
  parse(message: { name: string; text: string; types: readonly number[] }): void
  describe(message: { type: 'S'; name: string }): void
  sync(): void
  sendCopyFail(problem: string): void
}

function toResult({ fields, rows, affectedRows }: Answer): PostgresResult {
  const decode = (row: RawRow) =>
    Object.fromEntries(
      row.map((text, column) => {
        const { name, dataTypeID } = fields[column] ?? unknownField
        return [name, text === null ? null : fromPostgresText(dataTypeID, text)]
      })
    )
  return { rows: rows.map(decode), affectedRows }
}

const unknownField: Field = { name: '?column?', dataTypeID: 0 }
