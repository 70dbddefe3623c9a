import { sql } from 'kysely'
import type { Database, Statement } from '../../storage/database.ts'
import type { AttemptRow } from '../../storage/schema.ts'
import { writeOnce } from '../../storage/write-once.ts'

/** A statement that changes what is used of a period of a budget. Several changes of one period may be made as one, by their sum. */
export interface BudgetChange extends Statement, BudgetSum {}

export interface BudgetSum {
  periodId: string
  micros: number
  /** Whether it is a conflict where the budget does not cover it; else it is made in any case. */
  isLimited: boolean
}

/** What an attempt counts, and where. */
export type Counted = Pick<AttemptRow, 'budget_periods' | 'budget_micros'>

/** The statements that change budgets. */
export interface BudgetChanges {
  /** Sets aside what an attempt may cost. */
  reserve(counted: Counted): BudgetChange[]
  /** Counts this instead of what the attempt counts now. */
  settle(counted: Counted, countedMicros: number): BudgetChange[]
  /** Counts nothing for an attempt any more, if it is there and open. */
  releaseIfOpen(attemptId: string, counted: Counted): Statement[]
  make(sum: BudgetSum): BudgetChange
}

export function isBudgetChange(statement: Statement | undefined): statement is BudgetChange {
  return statement !== undefined && 'periodId' in statement
}

/** Has its SQL written once: every request needs it. */
export function createBudgetChanges({ query }: Pick<Database, 'query'>): BudgetChanges {
  const add = sql`update budget_periods set used_micros = used_micros + ${0} where id = ${''}`
  // Compared in the row that is locked, so that of several at the same time each sees what the others have taken.
  const limit = sql`select limit_micros from budgets where budgets.id = budget_periods.budget_id`
  const addAny = writeOnce(add, query)
  const addCovered = writeOnce(sql`${add} and used_micros + ${0} <= (${limit})`, query)
  const isOpen = sql`select 1 from attempts where id = ${''} and state in ('intended', 'submitted')`
  const addIfOpen = writeOnce(sql`${add} and exists (${isOpen})`, query)

  const make: BudgetChanges['make'] = (sum) => {
    const { periodId, micros, isLimited } = sum
    if (!isLimited) return { periodId, micros, isLimited, query: addAny([micros, periodId]) }
    return { periodId, micros, isLimited, query: addCovered([micros, periodId, micros]), expectRows: 1 }
  }

  return {
    make,
    reserve({ budget_periods, budget_micros: micros }) {
      return micros === 0 ? [] : idsIn(budget_periods).map((periodId) => make({ periodId, micros, isLimited: true }))
    },
    settle({ budget_periods, budget_micros }, countedMicros) {
      const micros = countedMicros - budget_micros
      return micros === 0 ? [] : idsIn(budget_periods).map((periodId) => make({ periodId, micros, isLimited: false }))
    },
    releaseIfOpen(attemptId, { budget_periods, budget_micros }) {
      return idsIn(budget_periods).map((id) => ({ query: addIfOpen([-budget_micros, id, attemptId]) }))
    }
  }
}

function idsIn(periods: string): string[] {
  return periods === '' ? [] : periods.split(' ')
}
