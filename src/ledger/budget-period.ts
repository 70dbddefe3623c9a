import type { BudgetPeriodRow, BudgetRow } from '../storage/schema.ts'

/** The period of a budget at a time, as it is before anything is spent in it. */
export function periodAt(budget: Pick<BudgetRow, 'id' | 'period'>, nowMs: number): BudgetPeriodRow {
  const startsAtMs = startOf(budget.period, nowMs)
  return { id: `${budget.id}@${startsAtMs}`, budget_id: budget.id, starts_at_ms: startsAtMs, used_micros: 0 }
}

/** When a budget begins anew after a time, in Unix milliseconds; undefined where it never does. */
export function nextPeriodMs(period: BudgetRow['period'], nowMs: number): number | undefined {
  const now = new Date(nowMs)
  if (period === 'day') return Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate() + 1)
  return period === 'month' ? Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 1) : undefined
}

function startOf(period: BudgetRow['period'], nowMs: number): number {
  const now = new Date(nowMs)
  if (period === 'day') return Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate())
  return period === 'month' ? Date.UTC(now.getUTCFullYear(), now.getUTCMonth()) : 0
}
