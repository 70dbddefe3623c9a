import type { Database, Statement, Topic } from '../../storage/database.ts'
import { ConflictError, DatabaseError } from '../../storage/database-error.ts'
import { type InsertionKind, type InsertTogether, isRowInsertion, type RowInsertion } from '../../storage/insert-rows.ts'
import { type BudgetChange, type BudgetChanges, type BudgetSum, isBudgetChange } from './budget-changes.ts'

export interface Commits {
  /** As that of the database. Commits about the same task are never made at the same time: they would wait for each other's locks. */
  commit(statements: readonly Statement[], topics?: readonly Topic[], taskId?: string): Promise<void>
}

export interface GroupedCommitsDeps {
  database: Database
  budgets: BudgetChanges
  insertTogether: InsertTogether
}

/**
 * Commits for a database that others use too: those of this process that wait at the same time are made as one. Each stays all or nothing, and
 * independent of its neighbours. It saves round trips, and a budget, which is one row that a commit holds until the disk has it, is taken once
 * for all of them. Another group is begun while one is on its way when it is large enough, or when the others take long, as they do where
 * somebody else has locked what they need.
 */
export function createGroupedCommits(deps: GroupedCommitsDeps): Commits {
  const { database } = deps
  let waiting: Member[] = []
  let running = 0
  /** The tasks of the groups that are on their way. */
  const busy = new Set<string>()
  /** When the newest of them was begun. */
  let begunAtMs = 0
  let patience: NodeJS.Timeout | undefined

  return {
    commit: (statements, topics = [], taskId) =>
      new Promise((resolve, reject) => {
        waiting.push({ statements, topics, taskId, resolve, reject })
        // Whatever asks in the same turn of the loop goes into the same group.
        queueMicrotask(consider)
      })
  }

  function consider(): void {
    if (waiting.length === 0 || running === maxGroups) return
    if (running === 0 || waiting.length >= largeGroup) begin()
    else patience ??= setTimeout(begin, Math.max(0, begunAtMs + patienceMs - performance.now()))
  }

  function begin(): void {
    clearTimeout(patience)
    patience = undefined
    const group = running === maxGroups ? [] : takeGroup()
    if (group.length > 0) void make(group)
  }

  async function make(group: readonly Member[]): Promise<void> {
    const taskIds = group.flatMap(({ taskId }) => taskId ?? [])
    for (const taskId of taskIds) busy.add(taskId)
    running += 1
    begunAtMs = performance.now()
    await commitTogether(group, new Map())
    running -= 1
    for (const taskId of taskIds) busy.delete(taskId)
    consider()
  }

  function takeGroup(): Member[] {
    const group: Member[] = []
    const left: Member[] = []
    for (const member of waiting) {
      const isBusy = member.taskId !== undefined && busy.has(member.taskId)
      if (isBusy || group.length === maxGroup) left.push(member)
      else group.push(member)
    }
    waiting = left
    return group
  }

  async function commitTogether(members: readonly Member[], refused: Refused): Promise<void> {
    const group = members.filter((member) => !refuseAlike(member, refused))
    const [only, ...others] = group
    if (!only) return
    const topics = group.flatMap((member) => member.topics)
    const { statements, origins } = merge(group, deps)
    try {
      await database.commit(statements, topics)
    } catch (error) {
      const origin = error instanceof ConflictError ? origins[error.statement] : undefined
      if (others.length === 0) only.reject(ownConflict(only, error, origin, refused))
      else if (origin && 'member' in origin) {
        origin.member.reject(ownConflict(origin.member, error, origin, refused))
        const rest = group.filter((member) => member !== origin.member)
        await commitTogether(rest, refused)
      } else if (origin && 'periodId' in origin) for (const part of split(group)) await commitTogether(part, refused)
      else if (concernsAll(error)) for (const each of group) each.reject(error)
      // One of them is nothing that the database takes, is there already, or waits for what somebody else has locked.
      else await Promise.all(group.map((each) => commitTogether([each], refused)))
      return
    }
    for (const { resolve } of group) resolve()
  }
}

/** Few enough that nobody waits long for its neighbours. */
const maxGroup = 64
/** Enough that the round trips are worth it. */
const largeGroup = 32
const maxGroups = 4
const patienceMs = 50

interface Member {
  statements: readonly Statement[]
  topics: readonly Topic[]
  taskId: string | undefined
  resolve(): void
  reject(error: unknown): void
}

/** Where a statement of a group comes from: a statement of one member, rows of several, or the changes that its members make to a period. */
type Origin = { member: Member; index: number } | { kind: InsertionKind } | { periodId: string }

/** By period the least amount that it has just not covered. */
type Refused = Map<string, number>

/** Budgets come last, so that they are held for the shortest time, and in one order everywhere, so that no two processes wait for each other. */
function merge(
  members: readonly Member[],
  { budgets, insertTogether }: GroupedCommitsDeps
): { statements: Statement[]; origins: Origin[] } {
  const statements: Statement[] = []
  const origins: Origin[] = []
  const insertions = new Map<InsertionKind, RowInsertion[]>()
  const sums = new Map<string, BudgetSum>()
  for (const member of members) {
    // What nothing of the same commit looks at may wait for the rows of the others.
    const lastToLook = member.statements.findLastIndex((statement) => !isBudgetChange(statement) && !isRowInsertion(statement))
    for (const [index, statement] of member.statements.entries()) {
      if (isBudgetChange(statement)) {
        const { periodId, micros, isLimited } = statement
        const sum = sums.get(periodId)
        sums.set(periodId, { periodId, micros: micros + (sum?.micros ?? 0), isLimited: isLimited || (sum?.isLimited ?? false) })
      } else if (isRowInsertion(statement) && index > lastToLook && members.length > 1) {
        const rows = insertions.get(statement.kind)
        if (rows) rows.push(statement)
        else insertions.set(statement.kind, [statement])
      } else {
        statements.push(statement)
        origins.push({ member, index })
      }
    }
  }
  for (const [kind, rows] of insertions) {
    for (const statement of insertTogether(kind, rows)) {
      statements.push(statement)
      origins.push({ kind })
    }
  }
  for (const sum of [...sums.values()].toSorted((one, other) => (one.periodId < other.periodId ? -1 : 1))) {
    statements.push(budgets.make(sum))
    origins.push({ periodId: sum.periodId })
  }
  return { statements, origins }
}

function concernsAll(error: unknown): boolean {
  return error instanceof DatabaseError && (error.isUnknown || unreachable.includes(error.code))
}

const unreachable = ['DATABASE_UNREACHABLE', 'DATABASE_CLOSED']

/** What is certain to be made goes first, as it may give back what others need. */
function split(group: readonly Member[]): readonly Member[][] {
  const limited = group.filter((member) => limitedChanges(member).length > 0)
  const certain = group.filter((member) => limitedChanges(member).length === 0)
  if (certain.length > 0) return [certain, limited]
  const half = Math.ceil(group.length / 2)
  return [group.slice(0, half), group.slice(half)]
}

/** A conflict as the member's own statement has it. */
function ownConflict(member: Member, error: unknown, origin: Origin | undefined, refused: Refused): unknown {
  if (!(error instanceof ConflictError) || !origin || 'kind' in origin) return error
  const { expectedRows, affectedRows } = error
  if ('member' in origin) return new ConflictError(origin.index, expectedRows, affectedRows)
  const change = limitedChanges(member).find(({ periodId }) => periodId === origin.periodId)
  if (!change) return error
  refused.set(change.periodId, Math.min(change.micros, refused.get(change.periodId) ?? Number.POSITIVE_INFINITY))
  return new ConflictError(member.statements.indexOf(change), expectedRows, affectedRows)
}

/** Refuses whoever asked at the same time for no less than what was refused. */
function refuseAlike(member: Member, refused: Refused): boolean {
  const change = limitedChanges(member).find(({ periodId, micros }) => micros >= (refused.get(periodId) ?? Number.POSITIVE_INFINITY))
  if (change) member.reject(new ConflictError(member.statements.indexOf(change), 1, 0))
  return change !== undefined
}

function limitedChanges({ statements }: Member): BudgetChange[] {
  return statements.filter(isBudgetChange).filter(({ isLimited }) => isLimited)
}
