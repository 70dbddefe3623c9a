import type { Database } from '../../src/storage/database.ts'
import { auditBudgets } from './audit-budgets.ts'
import { auditUsage } from './audit-usage.ts'

export interface Audit {
  /** Tasks and attempts that are not at their end. */
  unfinished: string[]
  /** Attempts whose bookings do not add up, budgets of which another amount is used than is booked, and usage that is told otherwise. */
  problems: string[]
}

/** Adds up what was booked for every attempt, and compares it with what the attempt says. */
export async function auditLedger(database: Database): Promise<Audit> {
  const { query } = database
  const tasks = await query.selectFrom('tasks').select(['id', 'state']).where('state', 'in', ['queued', 'running']).execute()
  const attempts = await query.selectFrom('attempts').selectAll().execute()
  const entries = await query.selectFrom('ledger_entries').selectAll().execute()
  const booked = Map.groupBy(entries, (entry) => entry.attempt_id)
  const open = attempts.filter(({ state }) => state === 'intended' || state === 'submitted')
  const problems = attempts.flatMap((attempt) => {
    const own = booked.get(attempt.id) ?? []
    const reserved = own.reduce((sum, entry) => sum + entry.reserved_micros, 0)
    const spent = own.reduce((sum, entry) => sum + entry.spent_micros, 0)
    const found: string[] = []
    if (own.filter(({ kind }) => kind === 'reserve').length !== 1) found.push('is not reserved once')
    if (own.filter(({ kind }) => kind === 'settle' || kind === 'release').length > 1) found.push('is settled more than once')
    if (!open.includes(attempt) && reserved !== 0) found.push(`still has ${reserved} reserved`)
    if (!open.includes(attempt) && spent !== (attempt.cost_micros ?? 0)) found.push(`has ${spent} booked and cost ${attempt.cost_micros}`)
    return found.map((problem) => `attempt ${attempt.id} (${attempt.state}) ${problem}`)
  })
  return {
    unfinished: [
      ...tasks.map(({ id, state }) => `task ${id} is ${state}`),
      ...open.map(({ id, task_id, state }) => `attempt ${id} of ${task_id} is ${state}`)
    ],
    problems: [...problems, ...(await auditBudgets(database)), ...(await auditUsage(database))]
  }
}
