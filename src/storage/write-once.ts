import type { CompiledQuery, Kysely, RawBuilder } from 'kysely'
import type { Schema } from './schema.ts'

/** A query that is compiled already, for whoever takes one that can be. */
export interface WrittenQuery extends CompiledQuery {
  compile(): this
}

/** Makes the same query with other parameters, in the order of its placeholders. */
export type WithParameters = (parameters: readonly unknown[]) => WrittenQuery

/** Has the SQL of a query written once: for what every request needs that is most of its cost to the thread which asks for it. */
export function writeOnce(query: RawBuilder<unknown>, compiler: Kysely<Schema>): WithParameters {
  const { query: node, queryId, sql } = query.compile(compiler)
  return (parameters) => ({ query: node, queryId, sql, parameters, compile: itself })
}

function itself<Query>(this: Query): Query {
  return this
}
