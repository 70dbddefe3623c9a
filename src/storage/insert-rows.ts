import { type Kysely, sql } from 'kysely'
import type { Statement } from './database.ts'
import type { Schema } from './schema.ts'
import { type WithParameters, writeOnce } from './write-once.ts'

/**
 * Makes the statement that inserts a row, which names every column of its table; `alike` holds those that are the same in all rows that come
 * with the same object, and are written into the SQL. A row that is there already is a conflict and no error: where a database gets all
 * statements of a commit at once, an error would hide that one before it did not do what it expects.
 */
export type InsertRow = <Table extends keyof Schema, Alike extends Partial<Schema[Table]> = Record<never, never>>(
  table: Table,
  row: Omit<Schema[Table], keyof Alike>,
  alike?: Alike
) => RowInsertion

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
  /** Those that differ from row to row. */
  columns: readonly string[]
  alike: Readonly<Record<string, unknown>>
}

/** Makes as few statements as it can that insert rows of one kind; each expects as many as it inserts. */
export type InsertTogether = (kind: InsertionKind, insertions: readonly RowInsertion[]) => Statement[]

export function isRowInsertion(statement: Statement): statement is RowInsertion {
  return 'kind' in statement
}

/** Has the SQL for each table written once: to write it is most of what an insertion costs this thread. */
export function createInsertions(query: Kysely<Schema>): { insert: InsertRow; insertTogether: InsertTogether } {
  const kinds = new Map<keyof Schema | object, InsertionKind>()
  /** By the number of rows. */
  const written = new Map<InsertionKind, Map<number, WithParameters>>()

  return {
    insert(table, row, alike) {
      const columns = Object.keys(row)
      const kind = kinds.get(alike ?? table) ?? know(table, columns, alike)
      const values = isSame(columns, kind.columns) ? Object.values(row) : kind.columns.map((column) => row[column as keyof typeof row])
      return { query: insertion(kind, 1)(values), kind, values, expectRows: 1 }
    },
    insertTogether(kind, insertions) {
      const statements: Statement[] = []
      for (let done = 0; done < insertions.length; ) {
        const rows = mostAtOnce(insertions.length - done)
        const values: unknown[] = []
        for (const each of insertions.slice(done, done + rows)) values.push(...each.values)
        statements.push({ query: insertion(kind, rows)(values), expectRows: rows })
        done += rows
      }
      return statements
    }
  }

  function know(table: keyof Schema, columns: readonly string[], alike: object | undefined): InsertionKind {
    const kind = { table, columns, alike: { ...alike } }
    kinds.set(alike ?? table, kind)
    return kind
  }

  function insertion(kind: InsertionKind, rows: number): WithParameters {
    return written.get(kind)?.get(rows) ?? write(kind, rows)
  }

  function write(kind: InsertionKind, rows: number): WithParameters {
    const names = sql.join([...kind.columns, ...Object.keys(kind.alike)].map((column) => sql.ref(column)))
    const row = sql`(${sql.join([...kind.columns, ...Object.values(kind.alike).map((value) => sql.lit(value))])})`
    const insertion = sql`insert into ${sql.table(kind.table)} (${names}) values ${sql.join(Array(rows).fill(row))} on conflict do nothing`
    const once = writeOnce(insertion, query)
    const ofKind = written.get(kind) ?? new Map<number, WithParameters>()
    written.set(kind, ofKind.set(rows, once))
    return once
  }
}

function isSame(columns: readonly string[], others: readonly string[]): boolean {
  for (let index = 0; index < others.length; index += 1) if (columns[index] !== others[index]) return false
  return columns.length === others.length
}

/** A power of two, so that a database has to prepare only a few statements for each table. */
function mostAtOnce(rows: number): number {
  return Math.min(mostRows, 2 ** Math.floor(Math.log2(rows)))
}

const mostRows = 32
