import { type GatewayError, gatewayError } from '../../errors.ts'
import { type BudgetCharge, chargeBudgets } from '../../ledger/budget-charge.ts'
import { nameBudget, nameRenewal } from '../../ledger/budget-words.ts'
import type { Budgets } from '../../ledger/budgets.ts'
import { formatUsd } from '../../ledger/usd.ts'
import type { Database } from '../../storage/database.ts'
import type { BudgetPeriodRow } from '../../storage/schema.ts'
import type { Intent } from '../task-store.ts'
import { unavailable } from './database-unavailable.ts'
import type { HeldClaim } from './held-claims.ts'

/** What attempts count in the budgets that they are under. */
export interface BudgetReservations {
  /**
   * Has an intent recorded with what it is to count; `record` throws `NotCoveredError` where that is more than a budget covers. Throws
   * PRICE_UNKNOWN, BUDGET_EXCEEDED, and what the database throws.
   */
  reserve<T>(claim: HeldClaim, intent: Intent, record: (charge: BudgetCharge) => Promise<T>): Promise<T>
}

/** A period of a budget does not cover what is to be recorded; nothing is. */
export class NotCoveredError extends Error {
  readonly periodId: string

  constructor(periodId: string) {
    super(`the budget period ${periodId} does not cover an intent`)
    this.name = 'NotCoveredError'
    this.periodId = periodId
  }
}

export function createBudgetReservations({ database, budgets }: { database: Database; budgets: Budgets }): BudgetReservations {
  const { query } = database
  /** Periods that have their rows, or are about to. */
  const known = new Map<string, Promise<unknown>>()
  /** Those that certainly have them. */
  const begun = new Set<string>()

  return {
    async reserve(claim, intent, record) {
      for (let tries = 0; tries < maxTries; tries += 1) {
        const charge = await chargeFor(claim, intent)
        try {
          return await record(charge)
        } catch (error) {
          if (!(error instanceof NotCoveredError)) throw error
          const refusal = await refusalBy(error.periodId, claim, charge)
          if (refusal) throw refusal
        }
      }
      throw unavailable()
    }
  }

  async function chargeFor({ organizationId, apiKeyId }: HeldClaim, { reserveMicros, model }: Intent): Promise<BudgetCharge> {
    const nowMs = Date.now()
    const applying = budgets.applyingTo({ organizationId, apiKeyId })
    const charge = chargeBudgets(applying, reserveMicros, { organizationId, model, nowMs })
    for (const period of charge.periods) if (!begun.has(period.id)) await (known.get(period.id) ?? begin(period))
    return charge
  }

  /** Undefined where the charge was made up from budgets that are not so any more. */
  async function refusalBy(periodId: string, claim: HeldClaim, { micros }: BudgetCharge): Promise<GatewayError | undefined> {
    forget(periodId)
    const [budgetId = ''] = periodId.split('@')
    const [budget, period] = await Promise.all([
      query.selectFrom('budgets').selectAll().where('id', '=', budgetId).executeTakeFirst(),
      query.selectFrom('budget_periods').select('id').where('id', '=', periodId).executeTakeFirst()
    ])
    if (!budget) await budgets.refresh()
    if (!budget || !period) return undefined
    const fields = { budget: nameBudget(budget, claim.organizationId), needed: formatUsd(micros) }
    return gatewayError('BUDGET_EXCEEDED', { ...fields, renewal: nameRenewal(budget.period, Date.now()) }, { outcome: 'not_sent' })
  }

  /** Makes the row of a period where it is missing, as long as there is its budget. */
  function begin({ id, budget_id, starts_at_ms }: BudgetPeriodRow): Promise<unknown> {
    if (known.size >= maxKnown) {
      known.clear()
      begun.clear()
    }
    const beginning = query
      .insertInto('budget_periods')
      .columns(['id', 'budget_id', 'starts_at_ms', 'used_micros'])
      .expression((from) =>
        from
          .selectFrom('budgets')
          .select(({ val }) => [val(id).as('id'), 'id as budget_id', val(starts_at_ms).as('starts_at_ms'), val(0).as('used_micros')])
          .where('id', '=', budget_id)
      )
      .onConflict((conflict) => conflict.column('id').doNothing())
      .execute()
    known.set(id, beginning)
    beginning.then(
      () => known.get(id) === beginning && begun.add(id),
      () => forget(id)
    )
    return beginning
  }

  function forget(id: string): void {
    known.delete(id)
    begun.delete(id)
  }
}

/** How often an intent is charged anew because its budgets have changed. */
const maxTries = 3
const maxKnown = 10_000
