import { type Compilable, type CompiledQuery, type Kysely, sql } from 'kysely'
import type { Schema } from '../../storage/schema.ts'

/**
 * Makes the statement that sets `values` in the rows that have the values of `where`, of a list any one. `counts`: a column to which 1 is
 * added besides.
 */
export type UpdateRows = <Table extends keyof Schema>(
  table: Table,
  values: Partial<Schema[Table]>,
  where: { [Column in keyof Schema[Table]]?: Schema[Table][Column] | readonly Schema[Table][Column][] },
  options?: { counts?: keyof Schema[Table] & string }
) => Compilable

/** Has the SQL for each set of columns written once, as `createInsertions` does. */
export function createUpdateRows(query: Kysely<Schema>): UpdateRows {
  const written = new Map<string, CompiledQuery>()
  return (table, values, where, { counts } = {}) => {
    let shape = `${table} ${counts}`
    const parameters: unknown[] = []
    for (const column in values) {
      if (values[column] === undefined) continue
      shape += ` ${column}`
      parameters.push(values[column])
    }
    shape += ' where'
    for (const column in where) {
      const wanted = where[column]
      shape += ` ${column}:${Array.isArray(wanted) ? wanted.length : 1}`
      if (Array.isArray(wanted)) parameters.push(...wanted)
      else parameters.push(wanted)
    }
    const compiled = written.get(shape) ?? write(shape, table, values, where, counts)
    return { compile: () => ({ ...compiled, parameters }) }
  }

  function write(
    shape: string,
    table: string,
    values: Readonly<Record<string, unknown>>,
    where: Readonly<Record<string, unknown>>,
    counts: string | undefined
  ): CompiledQuery {
    const set = Object.entries(values).filter(([, value]) => value !== undefined)
    const assignments = set.map(([column, value]) => sql`${sql.ref(column)} = ${value}`)
    if (counts !== undefined) assignments.push(sql`${sql.ref(counts)} = ${sql.ref(counts)} + 1`)
    const conditions = Object.entries(where).map(([column, value]) => [column, Array.isArray(value) ? value : [value]] as const)
    const wanted = conditions.map(([column, values]) => sql`${sql.ref(column)} in (${sql.join(values)})`)
    const update = sql`update ${sql.table(table)} set ${sql.join(assignments)} where ${sql.join(wanted, sql` and `)}`
    const compiled = update.compile(query)
    written.set(shape, compiled)
    return compiled
  }
}
