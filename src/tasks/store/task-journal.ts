import type { BudgetCharge } from '../../ledger/budget-charge.ts'
import type { Logger } from '../../log.ts'
import type { Database, Statement, Topic } from '../../storage/database.ts'
import { ConflictError } from '../../storage/database-error.ts'
import type { InsertRow } from '../../storage/insert-rows.ts'
import { orderedId } from '../../storage/random-id.ts'
import type { AttemptRow, TaskRow } from '../../storage/schema.ts'
import type { Sealer } from '../../storage/seal.ts'
import { type AttemptEnding, ClaimLostError, type Intent, type TaskJournal } from '../task-store.ts'
import type { AttemptRecords } from './attempt-records.ts'
import { isBudgetChange } from './budget-changes.ts'
import { type BudgetReservations, NotCoveredError } from './budget-reservations.ts'
import { credentialText } from './credential-text.ts'
import { beforeSending, mayBeApplied, unavailable } from './database-unavailable.ts'
import { type EndRecords, hasEndless, isFinal } from './end-records.ts'
import type { Commits } from './grouped-commits.ts'
import type { HeldClaim, HeldClaims } from './held-claims.ts'
import { newTaskRows } from './new-task-rows.ts'
import type { ProcessLease } from './process-lease.ts'

export interface TaskJournalDeps {
  database: Database
  sealer: Sealer
  insert: InsertRow
  lease: ProcessLease
  held: HeldClaims
  attempts: AttemptRecords
  ends: EndRecords
  commits: Commits
  reservations: BudgetReservations
  log: Logger
  /** Hears of each change that is not announced to other processes. */
  changed(taskId: string): void
}

type TaskStand = Pick<TaskRow, 'fence' | 'state'>

/** The journal of a claim. Every write names its fence, and is refused when the task has another one or is not running. */
export function createTaskJournal(claim: HeldClaim, deps: TaskJournalDeps): TaskJournal {
  const { database, held, attempts, ends, log } = deps
  const { query } = database
  const { taskId, fence } = claim
  /** How attempts ended, as far as it is not recorded. */
  const endings = new Map<string, AttemptEnding>()
  /** Attempts whose end may be recorded without anybody having heard so. */
  const unheard = new Set<string>()
  let firstIntent: Promise<unknown> | undefined
  let isLost = false
  let isOver = false
  let mayBeOver = false

  return {
    claim: { taskId, fence },

    async intend(intent) {
      // Parts begin at the same time, and the first one brings the task itself.
      while (claim.unwritten && firstIntent) await firstIntent
      const recorded = beforeSending(deps.reservations.reserve(claim, intent, (charge) => recordIntent(intent, charge)))
      firstIntent = recorded.catch(() => undefined)
      try {
        return await recorded
      } finally {
        firstIntent = undefined
      }
    },

    async submitted(attemptId, jobId) {
      await commitOurs([guard(), ...attempts.submit(claim, attemptId, jobId)])
      deps.changed(taskId)
    },

    async close(attemptId, ending, { withEnding = false } = {}) {
      if (!claim.attempts.has(attemptId)) throw new Error(`the task ${taskId} has no attempt ${attemptId}`)
      endings.set(attemptId, ending)
      if (ending.outcome === 'succeeded' && hasEndless(ending.blobs)) claim.mayHaveEndlessImages = true
      if (withEnding && !isLost) return
      await whileOurs(() => settle(attemptId, ending, 'ours'))
      deps.changed(taskId)
    },

    async finish(ending) {
      if (claim.unwritten && !hasDoubts()) return release()
      claim.isEnding = true
      closeTheRest()
      const topics: Topic[] = claim.callbackUrl === '' ? [`task ${taskId}`] : [`task ${taskId}`, 'callbacks']
      await end(
        () => ends.finish(claim, ending, endings, Date.now()),
        topics,
        (row) => row.fence === fence && isFinal(row.state)
      )
    },

    async requeue() {
      if (claim.unwritten && !hasDoubts()) return release()
      // Whoever has it by now has it from the queue, or took it over, which comes to the same.
      const isDone = (row: TaskStand) => row.fence !== fence || row.state === 'queued'
      await end(() => ends.requeue(claim, endings, Date.now()), [`task ${taskId}`, 'queue'], isDone)
    },

    async [Symbol.asyncDispose]() {
      if (isOver) return
      await whileOurs(() => settleEach(endings.keys())).catch((err: unknown) => {
        if (!(err instanceof ClaimLostError)) log.error({ err, task: taskId }, 'what became of calls to providers could not be recorded')
      })
      if (!claim.unwritten || hasDoubts()) held.mayHaveOrphans = true
      release()
    }
  }

  async function recordIntent(intent: Intent, charge: BudgetCharge): Promise<string> {
    const { unwritten } = claim
    // Whether the task is there is not known: it can be neither written nor gone on with.
    if (unwritten && hasDoubts()) throw unavailable()
    if (unwritten) await deps.lease.hold()
    const { provider, model, credential, reserveMicros = null } = intent
    const attemptId = `attempt_${orderedId()}`
    const counted = { budget_periods: charge.periods.map(({ id }) => id).join(' '), budget_micros: charge.micros }
    const attempt = { provider, model, credential: credentialText(credential), reserved_micros: reserveMicros, ...counted }
    claim.attempts.set(attemptId, { ...attempt, state: 'open' })
    const nowMs = Date.now()
    try {
      const begin = unwritten
        ? newTaskRows({ ...unwritten, provider, model }, deps.lease.processId, nowMs, deps)
        : [guard({ provider, model })]
      await commitOurs([...begin, ...attempts.intend(claim, attemptId, intent, nowMs)])
    } catch (error) {
      if (mayBeApplied(error)) claim.attempts.set(attemptId, { ...attempt, state: 'doubtful' })
      else claim.attempts.delete(attemptId)
      throw error
    }
    claim.unwritten = undefined
    deps.changed(taskId)
    return attemptId
  }

  /**
   * Closes an attempt. It may be closed already: by this process, which never heard so, or by another one that had the task before or has it
   * now. Then what is known here is added to what is recorded; of a task that is lost that is only the money.
   */
  async function settle(attemptId: string, ending: AttemptEnding, task: 'ours' | 'lost'): Promise<void> {
    const isRefused = task === 'lost'
    let found = unheard.has(attemptId) || claim.attempts.get(attemptId)?.state === 'closed' ? await findAttempt(attemptId) : undefined
    for (;;) {
      const statements =
        found && found.closed_at_ms !== null
          ? attempts.correct(claim, found, ending, Date.now(), isRefused)
          : attempts.close(claim, attemptId, ending, Date.now(), isRefused ? 'nothing' : 'everything')
      try {
        if (isRefused) await deps.commits.commit(statements, [], taskId)
        else if (statements.length > 0) await commitOurs([guard(), ...statements])
        break
      } catch (error) {
        if (mayBeApplied(error)) unheard.add(attemptId)
        if (!(error instanceof ConflictError)) throw error
      }
      found = await findAttempt(attemptId)
      if (!found) {
        log.error({ task: taskId, attempt: attemptId }, 'a call to a provider ended after its record had been deleted')
        break
      }
    }
    endings.delete(attemptId)
    markClosed(attemptId)
  }

  /** What nothing is known of is left to whoever has the task now. */
  async function settleAllLost(): Promise<void> {
    for (const [attemptId, ending] of endings) {
      if (ending.outcome === 'unknown') endings.delete(attemptId)
      else await settle(attemptId, ending, 'lost')
    }
  }

  function findAttempt(attemptId: string): Promise<AttemptRow | undefined> {
    return query.selectFrom('attempts').selectAll().where('id', '=', attemptId).executeTakeFirst()
  }

  /** Makes the task final or queued. `isDone` tells whether an earlier try has done it. */
  async function end(statements: () => Statement[], topics: Topic[], isDone: (row: TaskStand) => boolean): Promise<void> {
    await whileOurs(async () => {
      if (mayBeOver) {
        const row = await query.selectFrom('tasks').select(['fence', 'state']).where('id', '=', taskId).executeTakeFirst()
        if (!row || isDone(row)) return await settleAllLost()
      }
      await settleEach(unheard)
      try {
        await commitEnd(statements(), topics)
      } catch (error) {
        if (!(error instanceof ConflictError)) throw error
        // An earlier owner has closed some of the attempts.
        await settleEach(endings.keys())
        await commitEnd(statements(), topics)
      }
    })
    release()
  }

  async function commitEnd(statements: readonly Statement[], topics: readonly Topic[]): Promise<void> {
    try {
      await commitOurs(statements, topics)
    } catch (error) {
      if (mayBeApplied(error)) {
        mayBeOver = true
        for (const attemptId of endings.keys()) unheard.add(attemptId)
      }
      throw error
    }
  }

  async function settleEach(attemptIds: Iterable<string>): Promise<void> {
    for (const attemptId of attemptIds) {
      const ending = endings.get(attemptId)
      if (ending) await settle(attemptId, ending, 'ours')
    }
  }

  /** Runs what needs the claim. When it is lost the money that is known of is booked before that is said. */
  async function whileOurs(work: () => Promise<void>): Promise<void> {
    try {
      if (isLost) throw new ClaimLostError(taskId)
      await work()
    } catch (error) {
      if (!(error instanceof ClaimLostError)) throw error
      isLost = true
      await settleAllLost()
      release()
      throw error
    }
  }

  /** The first statement must be the one that only the owner of the claim can apply. */
  async function commitOurs(statements: readonly Statement[], topics?: readonly Topic[]): Promise<void> {
    if (isLost) throw new ClaimLostError(taskId)
    try {
      await deps.commits.commit(statements, topics, taskId)
    } catch (error) {
      if (!(error instanceof ConflictError)) throw error
      const failed = statements[error.statement]
      if (isBudgetChange(failed)) throw new NotCoveredError(failed.periodId)
      throw error.statement === 0 ? new ClaimLostError(taskId) : error
    }
  }

  function guard(values: { provider?: string; model?: string } = {}): Statement {
    const update = query.updateTable('tasks').set((set) => ({ ...values, revision: set('revision', '+', 1) }))
    return { query: update.where('id', '=', taskId).where('fence', '=', fence).where('state', '=', 'running'), expectRows: 1 }
  }

  function hasDoubts(): boolean {
    return claim.attempts.values().some(({ state }) => state === 'doubtful')
  }

  /** What nobody has told the end of may have been carried out. */
  function closeTheRest(): void {
    for (const [attemptId, { state }] of claim.attempts) {
      if (state === 'open' && !endings.has(attemptId)) endings.set(attemptId, { outcome: 'unknown' })
    }
  }

  function markClosed(attemptId: string): void {
    const attempt = claim.attempts.get(attemptId)
    if (attempt) claim.attempts.set(attemptId, { ...attempt, state: 'closed' })
  }

  function release(): void {
    isOver = true
    held.release(claim)
  }
}
