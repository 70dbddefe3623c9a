import { type BudgetRow, defaultOrganizationId } from '../storage/schema.ts'
import { nextPeriodMs } from './budget-period.ts'
import { formatUsd } from './usd.ts'

/**
 * A budget as its callers are told of it: "monthly budget of the organization acme ($5.00)". What the operator spends on everybody together
 * is told to the operator's own organization alone.
 */
export function nameBudget(
  budget: Pick<BudgetRow, 'subject_kind' | 'subject_id' | 'period' | 'limit_micros'>,
  organizationId: string
): string {
  const { subject_kind: kind, subject_id: id } = budget
  const isTold = kind !== 'everything' || organizationId === defaultOrganizationId
  const whose = kind === 'everything' ? 'this server' : `the ${kind === 'api_key' ? 'API key' : 'organization'} ${id}`
  return `${adjectives[budget.period]} budget of ${whose}${isTold ? ` (${formatUsd(budget.limit_micros)})` : ''}`
}

/** "it begins anew at 2026-12-01T00:00:00Z" */
export function nameRenewal(period: BudgetRow['period'], nowMs: number): string {
  const atMs = nextPeriodMs(period, nowMs)
  return atMs === undefined ? 'it does not begin anew' : `it begins anew at ${new Date(atMs).toISOString().replace('.000', '')}`
}

const adjectives = { day: 'daily', month: 'monthly', total: 'total' } as const
