import { gatewayError } from '../errors.ts'
import { chargeBudgets } from '../ledger/budget-charge.ts'
import { nameBudget } from '../ledger/budget-words.ts'
import type { Budgets } from '../ledger/budgets.ts'
import { estimateCost, orderOf } from '../ledger/estimate.ts'
import { formatUsd } from '../ledger/usd.ts'
import type { Gate } from './guarded-runner.ts'

export interface CostGateOptions {
  /** Whether requests are recorded before they are sent; only then can a budget be kept to. */
  keepsTasks: boolean
}

/**
 * Refuses what may cost more than its caller allows (COST_ABOVE_MAXIMUM), and what no budget can count: a request whose price is not known
 * (PRICE_UNKNOWN), and any where nothing is recorded (BUDGET_UNENFORCEABLE). Whether the budgets cover it is decided when it is recorded.
 */
export function createCostGate({ keepsTasks }: CostGateOptions, { budgets }: { budgets: Pick<Budgets, 'applyingTo'> }): Gate {
  return {
    enter({ request: { maxCostMicros }, plan: { candidate, work } }, { caller }) {
      const applying = budgets.applyingTo(caller)
      const [first] = applying
      if (first && !keepsTasks) {
        throw gatewayError('BUDGET_UNENFORCEABLE', { budget: nameBudget(first, caller.organizationId) }, { outcome: 'not_sent' })
      }
      if (!first && maxCostMicros === undefined) return undefined
      const { totalMicros, unknownReason } = estimateCost(orderOf(candidate, work))
      if (maxCostMicros !== undefined) requireAtMost(maxCostMicros, totalMicros, unknownReason)
      const micros = totalMicros === undefined ? undefined : Number(totalMicros)
      chargeBudgets(applying, micros, { organizationId: caller.organizationId, model: candidate.model, nowMs: Date.now() })
      return undefined
    }
  }
}

function requireAtMost(maxMicros: bigint, totalMicros: bigint | undefined, unknownReason: string): void {
  if (totalMicros !== undefined && totalMicros <= maxMicros) return
  const problem =
    totalMicros === undefined
      ? `what this request costs is not known (${unknownReason})`
      : `this request may cost ${formatUsd(totalMicros)} at the provider`
  throw gatewayError('COST_ABOVE_MAXIMUM', { problem, param: 'max_cost_micros', maximum: formatUsd(maxMicros) }, { outcome: 'not_sent' })
}
