import { Kysely } from 'kysely'
import { expect, test } from 'vitest'
import { createInsertions } from '../../src/storage/insert-rows.ts'
import type { Schema } from '../../src/storage/schema.ts'
import { createSqliteDialect } from '../../src/storage/sqlite/sqlite-dialect.ts'

const query = new Kysely<Schema>({ dialect: createSqliteDialect(() => Promise.reject(new Error('nothing is run here'))) })

test('puts each value into its column, in whatever order a row has them', () => {
  const { insert } = createInsertions(query)
  const first = insert('budget_periods', { id: 'a@0', budget_id: 'a', starts_at_ms: 0, used_micros: 5 })
  const second = insert('budget_periods', { used_micros: 6, starts_at_ms: 1, budget_id: 'b', id: 'b@1' })
  expect(second.query.compile().sql).toBe(first.query.compile().sql)
  expect(second.query.compile().parameters).toEqual(['b@1', 'b', 1, 6])
})

test('writes into the SQL what is the same in all rows that come with the same object, and keeps them from others', () => {
  const { insert, insertTogether } = createInsertions(query)
  const alike = { used_micros: 0, starts_at_ms: 1 }
  const one = insert('budget_periods', { id: 'a@1', budget_id: 'a' }, alike)
  const two = insert('budget_periods', { id: 'b@1', budget_id: 'b' }, alike)
  const other = insert('budget_periods', { id: 'c@2', budget_id: 'c', starts_at_ms: 2, used_micros: 3 })
  expect([two.kind === one.kind, other.kind === one.kind]).toEqual([true, false])
  const [together] = insertTogether(one.kind, [one, two])
  expect(together?.query.compile()).toMatchObject({
    sql: 'insert into "budget_periods" ("id", "budget_id", "used_micros", "starts_at_ms") values (?, ?, 0, 1), (?, ?, 0, 1) on conflict do nothing',
    parameters: ['a@1', 'a', 'b@1', 'b']
  })
  expect(together?.expectRows).toBe(2)
})
