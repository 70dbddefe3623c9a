import type { Database } from '../../src/storage/database.ts'

/**
 * What is wrong with the budgets: an attempt that counts there another amount than the ledger has for it, or a period of which another
 * amount is used than the sum of its attempts. What has no price counts as what the budgets stated for it.
 */
export async function auditBudgets({ query }: Database): Promise<string[]> {
  const attempts = await query.selectFrom('attempts').selectAll().where('budget_periods', '<>', '').execute()
  const entries = await query.selectFrom('ledger_entries').selectAll().execute()
  const periods = await query.selectFrom('budget_periods').selectAll().execute()
  const booked = Map.groupBy(entries, (entry) => entry.attempt_id)
  const counted = new Map<string, number>()
  const problems: string[] = []
  for (const { id, state, budget_periods, budget_micros, reserved_micros, cost_micros } of attempts) {
    const own = booked.get(id) ?? []
    const inLedger = own.reduce((sum, entry) => sum + entry.reserved_micros + entry.spent_micros, 0)
    const isOpen = state === 'intended' || state === 'submitted'
    const isPriced = (isOpen ? reserved_micros : cost_micros) !== null
    if (isPriced && inLedger !== budget_micros) problems.push(`attempt ${id} (${state}) counts ${budget_micros}, and ${inLedger} is booked`)
    for (const period of budget_periods.split(' ')) counted.set(period, (counted.get(period) ?? 0) + budget_micros)
  }
  for (const { id, used_micros } of periods) {
    const sum = counted.get(id) ?? 0
    if (sum !== used_micros) problems.push(`of the budget period ${id} ${used_micros} is used, and its attempts count ${sum}`)
    counted.delete(id)
  }
  return [...problems, ...[...counted.keys()].map((id) => `there is no budget period ${id}, and attempts count in it`)]
}
