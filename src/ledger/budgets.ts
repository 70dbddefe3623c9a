import type { Caller } from '../call.ts'
import type { Database } from '../storage/database.ts'
import type { LiveCopies } from '../storage/live-copies.ts'
import type { BudgetRow } from '../storage/schema.ts'

/** Which budgets there are. */
export interface Budgets {
  /** Those that the requests of a caller are under, as of about a second ago at most; asks nobody. */
  applyingTo(caller: Pick<Caller, 'organizationId' | 'apiKeyId'>): readonly BudgetRow[]
  /** Looks for changes at once. Never rejects. */
  refresh(): Promise<void>
}

/** Loads the budgets, and keeps them current. Throws where the database does. */
export async function createBudgets(deps: { database: Database; copies: Pick<LiveCopies, 'keep' | 'refresh'> }): Promise<Budgets> {
  const { query } = deps.database
  const known = await deps.copies.keep(async () => {
    const rows = await query.selectFrom('budgets').selectAll().execute()
    return Map.groupBy(rows, ({ subject_kind, subject_id }) => subjectKey(subject_kind, subject_id))
  })

  return {
    applyingTo({ organizationId, apiKeyId }) {
      const bySubject = known()
      if (bySubject.size === 0) return none
      const subjects = [subjectKey('everything', ''), subjectKey('organization', organizationId), subjectKey('api_key', apiKeyId)]
      return subjects.flatMap((subject) => bySubject.get(subject) ?? none)
    },
    refresh: deps.copies.refresh
  }
}

/** For whoever spends nothing that is limited. */
export const noBudgets: Budgets = { applyingTo: () => none, refresh: async () => undefined }

const none: readonly BudgetRow[] = []

function subjectKey(kind: BudgetRow['subject_kind'], id: string): string {
  return `${kind} ${id}`
}
