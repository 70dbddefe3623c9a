import type { Database, Statement } from '../storage/database.ts'
import { randomBase62 } from '../storage/random-id.ts'
import type { BudgetRow } from '../storage/schema.ts'

/** Sets a budget in place of the one of the same subject and period, of which it keeps the id and what it has used. */
export function setBudget(row: BudgetRow, { query }: Pick<Database, 'query'>): Statement {
  const { limit_micros, unknown_price_micros, source } = row
  const changed = { limit_micros, unknown_price_micros, source }
  const insert = query.insertInto('budgets').values(row)
  const columns = ['subject_kind', 'subject_id', 'period'] as const
  return { query: insert.onConflict((conflict) => conflict.columns(columns).doUpdateSet(changed)), expectRows: 1 }
}

/** Deletes a budget with all that it has used. */
export function deleteBudget(id: string, { query }: Pick<Database, 'query'>): Statement[] {
  return [
    { query: query.deleteFrom('budgets').where('id', '=', id) },
    { query: query.deleteFrom('budget_periods').where('budget_id', '=', id) }
  ]
}

export function newBudgetId(): string {
  return `budget_${randomBase62(22)}`
}
