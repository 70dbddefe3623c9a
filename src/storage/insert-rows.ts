import { type CompiledQuery, type Kysely, sql } from 'kysely'
import type { Statement } from './database.ts'
import type { Schema } from './schema.ts'

/**
 * Makes the statement that inserts a row, which names every column of its table. A row that is there already is a conflict and no error:
 * where a database gets all statements of a commit at once, an error would hide that one before it did not do what it expects.
 */
export type InsertRow = <Table extends keyof Schema>(table: Table, row: Schema[Table]) => RowInsertion

/** A statement that inserts a row. Several of one kind may be made as one. */
export interface RowInsertion extends Statement {
  kind: InsertionKind
  /** Of the columns, in their order. */
  values: readonly unknown[]
  expectRows: 1
}

/** Where rows go that can be inserted together. */
export interface InsertionKind {
  table: keyof Schema
  columns: readonly string[]
}

/** Makes as few statements as it can that insert rows of one kind; each expects as many as it inserts. */
export type InsertTogether = (kind: InsertionKind, insertions: readonly RowInsertion[]) => Statement[]

export function isRowInsertion(statement: Statement): statement is RowInsertion {
  return 'kind' in statement
}

/** Has the SQL for each table written once: to write it is most of what an insertion costs this thread. */
export function createInsertions(query: Kysely<Schema>): { insert: InsertRow; insertTogether: InsertTogether } {
  const kinds = new Map<keyof Schema, InsertionKind>()
  /** By the number of rows. */
  const written = new Map<InsertionKind, Map<number, CompiledQuery>>()

  return {
    insert(table, row) {
      const kind = kinds.get(table) ?? { table, columns: Object.keys(row) }
      kinds.set(table, kind)
      const values = kind.columns.map((column) => row[column as keyof typeof row])
      return { query: { compile: () => insertion(kind, 1, values) }, kind, values, expectRows: 1 }
    },
    insertTogether(kind, insertions) {
      const statements: Statement[] = []
      for (let done = 0; done < insertions.length; ) {
        const rows = mostAtOnce(insertions.length - done)
        const values = insertions.slice(done, done + rows).flatMap((each) => each.values)
        statements.push({ query: { compile: () => insertion(kind, rows, values) }, expectRows: rows })
        done += rows
      }
      return statements
    }
  }

  function insertion(kind: InsertionKind, rows: number, values: readonly unknown[]): CompiledQuery {
    return { ...(written.get(kind)?.get(rows) ?? write(kind, rows)), parameters: values }
  }

  function write(kind: InsertionKind, rows: number): CompiledQuery {
    const names = sql.join(kind.columns.map((column) => sql.ref(column)))
    const row = sql`(${sql.join(kind.columns)})`
    const insertion = sql`insert into ${sql.table(kind.table)} (${names}) values ${sql.join(Array(rows).fill(row))} on conflict do nothing`
    const compiled = insertion.compile(query)
    const ofKind = written.get(kind) ?? new Map<number, CompiledQuery>()
    written.set(kind, ofKind.set(rows, compiled))
    return compiled
  }
}

/** A power of two, so that a database has to prepare only a few statements for each table. */
function mostAtOnce(rows: number): number {
  return Math.min(mostRows, 2 ** Math.floor(Math.log2(rows)))
}

const mostRows = 32
