import type { Database } from '../storage/database.ts'
import type { LiveCopies } from '../storage/live-copies.ts'
import { orUnavailable } from '../storage/or-unavailable.ts'
import type { BudgetRow } from '../storage/schema.ts'
import { deleteBudget, newBudgetId, setBudget } from './budget-rows.ts'

/** The monthly budget for everything, as the configuration has it. */
export interface ConfiguredBudget {
  limitMicros: number
  /** What a request counts for whose price is not known. Unset: such requests are refused. */
  unknownPriceMicros?: number
}

/**
 * Makes the budgets of the configuration those that it has now: one that is there takes the place of a created one and keeps what it has
 * used, one that has left it is deleted.
 */
export async function syncConfiguredBudget(
  configured: ConfiguredBudget | undefined,
  { database, copies }: { database: Database; copies: Pick<LiveCopies, 'change'> }
): Promise<void> {
  const { query } = database
  const before = await orUnavailable(query.selectFrom('budgets').selectAll().where('source', '=', 'config').execute())
  const { limitMicros, unknownPriceMicros = null } = configured ?? {}
  const isSame = (row: BudgetRow) => row.limit_micros === limitMicros && row.unknown_price_micros === unknownPriceMicros
  if (configured ? before.length === 1 && before.every(isSame) : before.length === 0) return
  await orUnavailable(
    copies.change(configured ? [setBudget(everything(configured), database)] : before.flatMap((row) => deleteBudget(row.id, database)))
  )
}

function everything({ limitMicros, unknownPriceMicros }: ConfiguredBudget): BudgetRow {
  return {
    id: newBudgetId(),
    subject_kind: 'everything',
    subject_id: '',
    period: 'month',
    limit_micros: limitMicros,
    unknown_price_micros: unknownPriceMicros ?? null,
    source: 'config',
    created_at_ms: Date.now()
  }
}
