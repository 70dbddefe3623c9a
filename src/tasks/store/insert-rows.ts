import { type CompiledQuery, type Kysely, sql } from 'kysely'
import type { Statement } from '../../storage/database.ts'
import type { Schema } from '../../storage/schema.ts'

/**
 * Makes the statement that inserts a row, which names every column of its table. A row that is there already is a conflict and no error:
 * where a database gets all statements of a commit at once, an error would hide that one before it did not do what it expects.
 */
export type InsertRow = <Table extends keyof Schema>(table: Table, row: Schema[Table]) => Statement

/** Has the SQL for each table written once: to write it is most of what an insertion costs this thread. */
export function createInsertRow(query: Kysely<Schema>): InsertRow {
  const written = new Map<keyof Schema, { columns: readonly string[]; compiled: CompiledQuery }>()
  return (table, row) => {
    const { columns, compiled } = written.get(table) ?? write(table, Object.keys(row))
    const parameters = columns.map((column) => row[column as keyof typeof row])
    return { query: { compile: () => ({ ...compiled, parameters }) }, expectRows: 1 }
  }

  function write(table: keyof Schema, columns: readonly string[]) {
    const names = sql.join(columns.map((column) => sql.ref(column)))
    const insertion = sql`insert into ${sql.table(table)} (${names}) values (${sql.join(columns)}) on conflict do nothing`
    const sqlOfTable = { columns, compiled: insertion.compile(query) }
    written.set(table, sqlOfTable)
    return sqlOfTable
  }
}
