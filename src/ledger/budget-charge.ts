import { gatewayError } from '../errors.ts'
import type { BudgetPeriodRow, BudgetRow } from '../storage/schema.ts'
import { periodAt } from './budget-period.ts'
import { nameBudget } from './budget-words.ts'

/** What an attempt counts in the budgets that it is under. */
export interface BudgetCharge {
  /** In the order of their ids: whoever changes several at once does so in this order, so that no two wait for each other. */
  periods: readonly BudgetPeriodRow[]
  micros: number
}

/**
 * What an attempt is to count that may cost so much. Where its price is not known that is the most that one of its budgets states for such
 * requests; throws PRICE_UNKNOWN where one states nothing.
 */
export function chargeBudgets(
  budgets: readonly BudgetRow[],
  reserveMicros: number | undefined,
  request: { organizationId: string; model: string; nowMs: number }
): BudgetCharge {
  if (budgets.length === 0) return { periods: [], micros: 0 }
  const micros = reserveMicros ?? Math.max(...budgets.map((budget) => statedMicros(budget, request)))
  const periods = budgets.map((budget) => periodAt(budget, request.nowMs))
  return { periods: periods.toSorted((one, other) => (one.id < other.id ? -1 : 1)), micros }
}

function statedMicros(budget: BudgetRow, { organizationId, model }: { organizationId: string; model: string }): number {
  if (budget.unknown_price_micros !== null) return budget.unknown_price_micros
  const problem = `no price is known for this request to ${model}`
  throw gatewayError('PRICE_UNKNOWN', { problem, budget: nameBudget(budget, organizationId) }, { outcome: 'not_sent' })
}
