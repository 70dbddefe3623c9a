import { create } from '@bufbuild/protobuf'
import { type Budget, BudgetPeriodSchema, BudgetSchema, BudgetSourceSchema, type BudgetSubject } from '../../gen/atelier/v1/budget_pb.ts'
import {
  type DeleteBudgetRequest,
  type GetBudgetRequest,
  type ListBudgetsRequest,
  type ListBudgetsResponse,
  ListBudgetsResponseSchema,
  type SetBudgetRequest
} from '../../gen/atelier/v1/budget_service_pb.ts'
import { enumValue, wireName } from '../contract/wire-names.ts'
import { gatewayError } from '../errors.ts'
import { nextPeriodMs, periodAt } from '../ledger/budget-period.ts'
import { deleteBudget, newBudgetId, setBudget } from '../ledger/budget-rows.ts'
import type { Database } from '../storage/database.ts'
import type { LiveCopies } from '../storage/live-copies.ts'
import { orUnavailable } from '../storage/or-unavailable.ts'
import type { BudgetRow } from '../storage/schema.ts'
import { toSeconds } from '../storage/to-seconds.ts'
import { readPage } from './page.ts'

/** The operator's way to budgets. Throws DATABASE_UNAVAILABLE where the database fails. */
export interface BudgetAdministration {
  /** Throws NOT_FOUND for the subject, and INVALID_PARAMETER for a budget of the configuration. */
  set(request: SetBudgetRequest): Promise<Budget>
  /** Throws NOT_FOUND. */
  get(request: GetBudgetRequest): Promise<Budget>
  list(request: ListBudgetsRequest): Promise<ListBudgetsResponse>
  /** Throws NOT_FOUND, and INVALID_PARAMETER for a budget of the configuration. */
  delete(request: DeleteBudgetRequest): Promise<void>
}

type Place = readonly [createdAtMs: number, id: string]
type Subject = Pick<BudgetRow, 'subject_kind' | 'subject_id'>

export function createBudgetAdministration(deps: { database: Database; copies: Pick<LiveCopies, 'change'> }): BudgetAdministration {
  const { database, copies } = deps
  const { query } = database

  return {
    async set({ subject: given, period: periodValue, limitMicros, unknownPriceMicros }) {
      const subject = toSubject(given)
      const period = periodOf(periodValue)
      await mustExist(subject)
      const ofSubject = query.selectFrom('budgets').selectAll().where('subject_kind', '=', subject.subject_kind)
      const same = ofSubject.where('subject_id', '=', subject.subject_id).where('period', '=', period)
      refuseConfigured(await orUnavailable(same.executeTakeFirst()), 'subject')
      const row: BudgetRow = {
        id: newBudgetId(),
        ...subject,
        period,
        limit_micros: Number(limitMicros),
        unknown_price_micros: unknownPriceMicros === undefined ? null : Number(unknownPriceMicros),
        source: 'created',
        created_at_ms: Date.now()
      }
      await orUnavailable(copies.change([setBudget(row, database)]))
      const now = await orUnavailable(same.executeTakeFirst())
      // Whoever deletes it at the same time has the last word.
      if (!now) throw notFound(row.id)
      return only(await toBudgets([now]), now.id)
    },
    async get({ id }) {
      const row = await find(id)
      if (!row) throw notFound(id)
      return only(await toBudgets([row]), id)
    },
    async list({ organizationId, ...page }) {
      const { rows, nextPageToken } = await readPage<BudgetRow, Place>(page, {
        name: 'budgets',
        shape: ['number', 'string'],
        read: (limit, after) => readRows(organizationId, limit, after),
        placeOf: ({ created_at_ms, id }) => [created_at_ms, id]
      })
      return create(ListBudgetsResponseSchema, { budgets: await toBudgets(rows), nextPageToken })
    },
    async delete({ id }) {
      const row = await find(id)
      if (!row) throw notFound(id)
      refuseConfigured(row, 'id')
      await orUnavailable(copies.change(deleteBudget(id, database)))
    }
  }

  function find(id: string): Promise<BudgetRow | undefined> {
    return orUnavailable(query.selectFrom('budgets').selectAll().where('id', '=', id).executeTakeFirst())
  }

  function readRows(organizationId: string, limit: number, after: Place | undefined): Promise<BudgetRow[]> {
    let some = query.selectFrom('budgets').selectAll().orderBy('created_at_ms', 'desc').orderBy('id', 'desc').limit(limit)
    if (organizationId !== '') {
      const keys = query.selectFrom('api_keys').select('id').where('organization_id', '=', organizationId)
      some = some.where(({ eb, or, and }) =>
        or([
          and([eb('subject_kind', '=', 'organization'), eb('subject_id', '=', organizationId)]),
          and([eb('subject_kind', '=', 'api_key'), eb('subject_id', 'in', keys)])
        ])
      )
    }
    if (after !== undefined) {
      const [atMs, id] = after
      some = some.where(({ eb, or, and }) => or([eb('created_at_ms', '<', atMs), and([eb('created_at_ms', '=', atMs), eb('id', '<', id)])]))
    }
    return orUnavailable(some.execute())
  }

  /** Organizations and API keys are never deleted, so one that is there stays. */
  async function mustExist({ subject_kind: kind, subject_id: id }: Subject): Promise<void> {
    if (kind === 'everything') return
    const table = kind === 'organization' ? 'organizations' : 'api_keys'
    const found = await orUnavailable(query.selectFrom(table).select('id').where('id', '=', id).executeTakeFirst())
    if (!found) throw gatewayError('NOT_FOUND', { kind: kind === 'organization' ? kind : 'API key', id }, { param: 'subject' })
  }

  async function toBudgets(rows: readonly BudgetRow[]): Promise<Budget[]> {
    if (rows.length === 0) return []
    const nowMs = Date.now()
    const ids = rows.map((row) => periodAt(row, nowMs).id)
    const periods = await orUnavailable(query.selectFrom('budget_periods').selectAll().where('id', 'in', ids).execute())
    const used = new Map(periods.map(({ budget_id, used_micros }) => [budget_id, used_micros]))
    return rows.map((row) => toBudget(row, used.get(row.id) ?? 0, nowMs))
  }
}

function toBudget(row: BudgetRow, usedMicros: number, nowMs: number): Budget {
  const { id, subject_kind: kind, subject_id: subjectId, limit_micros: limitMicros, unknown_price_micros: unknownPriceMicros } = row
  const resetsAtMs = nextPeriodMs(row.period, nowMs)
  const period = enumValue(BudgetPeriodSchema, row.period)
  const source = enumValue(BudgetSourceSchema, row.source)
  const subject: BudgetSubject['subject'] =
    kind === 'everything'
      ? { case: 'everything', value: true }
      : { case: kind === 'organization' ? 'organizationId' : 'apiKeyId', value: subjectId }
  return create(BudgetSchema, {
    id,
    subject: { subject },
    limitMicros: BigInt(limitMicros),
    createdAt: toSeconds(row.created_at_ms),
    usedMicros: BigInt(usedMicros),
    remainingMicros: BigInt(Math.max(0, limitMicros - usedMicros)),
    ...(period !== undefined && { period }),
    ...(source !== undefined && { source }),
    ...(unknownPriceMicros !== null && { unknownPriceMicros: BigInt(unknownPriceMicros) }),
    ...(resetsAtMs !== undefined && { resetsAt: toSeconds(resetsAtMs) })
  })
}

function toSubject(given: BudgetSubject | undefined): Subject {
  const { case: kind, value } = given?.subject ?? { case: undefined }
  if (kind === 'organizationId') return { subject_kind: 'organization', subject_id: value }
  if (kind === 'apiKeyId') return { subject_kind: 'api_key', subject_id: value }
  return { subject_kind: 'everything', subject_id: '' }
}

function periodOf(value: number): BudgetRow['period'] {
  const name = wireName(BudgetPeriodSchema, value)
  return name === 'day' || name === 'month' ? name : 'total'
}

function only(budgets: readonly Budget[], id: string): Budget {
  const [budget] = budgets
  if (!budget) throw notFound(id)
  return budget
}

function refuseConfigured(row: BudgetRow | undefined, param: string): void {
  if (row?.source !== 'config') return
  const problem = 'is a budget of the configuration (monthly_budget_usd, ATELIER_MONTHLY_BUDGET_USD): change it there'
  throw gatewayError('INVALID_PARAMETER', { param, problem })
}

function notFound(id: string) {
  return gatewayError('NOT_FOUND', { kind: 'budget', id }, { param: 'id' })
}
