import type { PostgresStep } from './postgres-batch.ts'

/** What a connection has had prepared, by the name that it has there. */
export interface PreparedStatement {
  name: string
  /** Columns of its rows; none until the server has told. */
  fields: readonly Field[]
}

export interface Field {
  name: string
  dataTypeID: number
}

/** The prepared statements of one connection. */
export interface PreparedStatements {
  /** The statement for a step; `isNew` where it must be prepared first. */
  use(step: PostgresStep): { statement: PreparedStatement; isNew: boolean }
  /** Gives up a statement of which it isn't known whether the server has it. */
  forget(statement: PreparedStatement): void
  forgetAll(): void
  /** Names to close at the server, each told once. */
  takeForgotten(): string[]
}

export function createPreparedStatements(): PreparedStatements {
  const statements = new Map<string, PreparedStatement>()
  let forgotten: string[] = []
  let count = 0
  return {
    use(step) {
      const key = keyOf(step)
      const known = statements.get(key)
      const statement = known ?? { name: `s${++count}`, fields: [] }
      // The map's order is the order of use: the first entry is the one to forget.
      statements.delete(key)
      statements.set(key, statement)
      const oldest = statements.entries().next()
      if (statements.size > maxStatements && !oldest.done) {
        statements.delete(oldest.value[0])
        forgotten.push(oldest.value[1].name)
      }
      return { statement, isNew: known === undefined }
    },
    forget(statement) {
      for (const [key, value] of statements) if (value === statement) statements.delete(key)
      forgotten.push(statement.name)
    },
    forgetAll() {
      for (const { name } of statements.values()) forgotten.push(name)
      statements.clear()
    },
    takeForgotten() {
      const names = forgotten
      forgotten = []
      return names
    }
  }
}

/** A server process holds a plan for each. */
const maxStatements = 200

function keyOf({ sql, parameters }: PostgresStep): string {
  let types = ''
  for (const { type } of parameters) types += `${type},`
  return types + sql
}
