import { setBudget } from '../../src/ledger/budget-rows.ts'
import type { Budgets } from '../../src/ledger/budgets.ts'
import type { Database } from '../../src/storage/database.ts'
import type { BudgetRow } from '../../src/storage/schema.ts'

/** Budgets that a test has put into a database; a store follows their rows only when it is told to. */
export interface TestBudgets extends Budgets {
  readonly rows: BudgetRow[]
}

/** Unset fields are those of a total budget of $1.00 for everything. */
export async function addBudgets(database: Database, ...fields: Partial<BudgetRow>[]): Promise<TestBudgets> {
  const rows = fields.map((each, index) => ({ ...usual, id: `budget_${index}`, ...each }))
  await database.commit(rows.map((row) => setBudget(row, database)))
  let known: readonly BudgetRow[] = rows
  return {
    rows,
    applyingTo: ({ organizationId, apiKeyId }) =>
      known.filter(
        ({ subject_kind: kind, subject_id: id }) => kind === 'everything' || id === (kind === 'organization' ? organizationId : apiKeyId)
      ),
    refresh: async () => {
      known = await database.query.selectFrom('budgets').selectAll().execute()
    }
  }
}

/** What is used of each budget, over all periods, in micro-USD. */
export async function usedOf({ query }: Database): Promise<Record<string, number>> {
  const rows = await query.selectFrom('budget_periods').select(['budget_id', 'used_micros']).orderBy('id').execute()
  const used: Record<string, number> = {}
  for (const { budget_id, used_micros } of rows) used[budget_id] = (used[budget_id] ?? 0) + used_micros
  return used
}

const usual: BudgetRow = {
  id: '',
  subject_kind: 'everything',
  subject_id: '',
  period: 'total',
  limit_micros: 1_000_000,
  unknown_price_micros: null,
  source: 'created',
  created_at_ms: 0
}
