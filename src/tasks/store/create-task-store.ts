import type { Budgets } from '../../ledger/budgets.ts'
import type { Logger } from '../../log.ts'
import type { Database } from '../../storage/database.ts'
import type { Fingerprints } from '../../storage/fingerprints.ts'
import { createInsertions } from '../../storage/insert-rows.ts'
import type { Sealer } from '../../storage/seal.ts'
import { noMeter, type TaskMeter } from '../task-meter.ts'
import { ClaimLostError, type KeptTask, type TaskStore } from '../task-store.ts'
import { createAdmitTask } from './admit-task.ts'
import { createAnswerNotes } from './answer-notes.ts'
import { createAttemptRecords } from './attempt-records.ts'
import { createBudgetChanges } from './budget-changes.ts'
import { createBudgetReservations } from './budget-reservations.ts'
import { createCancelRequests } from './cancel-requests.ts'
import { createCancelTask } from './cancel-task.ts'
import { createTaskClaims } from './claim-tasks.ts'
import { beforeSending } from './database-unavailable.ts'
import { createEndRecords } from './end-records.ts'
import { createGroupedCommits } from './grouped-commits.ts'
import { createHeldClaims, type HeldClaim } from './held-claims.ts'
import { createMeteredJournal } from './metered-journal.ts'
import { createProcessLease } from './process-lease.ts'
import { createQueueLimit } from './queue-limit.ts'
import { createTaskReader } from './read-tasks.ts'
import { sweepTasks } from './sweep-tasks.ts'
import { createTaskJournal } from './task-journal.ts'
import { createTaskWatch } from './task-watch.ts'

export interface TaskStoreOptions {
  /** Most tasks that wait. */
  maxQueuedTasks: number
  /** Seconds for which a task is kept that was cancelled in the queue. */
  keepTasksSeconds: number
  /** Seconds for which a request id is remembered; a day unless told. */
  keepRequestIdsSeconds?: number
  /** How long the tasks of a process that has died stay its own; 15 s unless told. */
  leaseMs?: number
  /** Whether no other process can use the database: then every task that runs in another's name is abandoned. */
  exclusive?: boolean
}

export interface TaskStoreDeps {
  database: Database
  sealer: Sealer
  fingerprints: Fingerprints
  budgets: Budgets
  log: Logger
  /** Unset: nothing is counted. */
  meter?: TaskMeter
}

/** Opens the tasks of a database in the name of this process. Disposing it writes what was noted; it does not resign. */
export async function createTaskStore(options: TaskStoreOptions, deps: TaskStoreDeps): Promise<TaskStore & AsyncDisposable> {
  const { database, sealer, log, meter = noMeter } = deps
  const { leaseMs = 15_000, exclusive = false, keepTasksSeconds: keepSeconds, keepRequestIdsSeconds = 86_400 } = options
  const lease = await createProcessLease({ leaseMs, exclusive }, deps)
  const { processId } = lease
  const held = createHeldClaims()
  const { insert, insertTogether } = createInsertions(database.query)
  const budgetChanges = createBudgetChanges(database)
  const attempts = createAttemptRecords({ database, sealer, insert, budgets: budgetChanges })
  const commits = exclusive ? database : createGroupedCommits({ database, budgets: budgetChanges, insertTogether })
  const reservations = createBudgetReservations(deps)
  const ends = createEndRecords({ ...deps, insert, attempts })
  const reader = createTaskReader({ database, sealer })
  const watch = createTaskWatch({ ...reader, log })
  const cancelRequests = createCancelRequests({ database, held, processId, log })
  const notes = createAnswerNotes({ database, log })
  const queueLimit = createQueueLimit(options, { database })
  const journalDeps = { database, sealer, insert, lease, held, attempts, ends, commits, reservations, log, changed: watch.look }
  const journal = (claim: HeldClaim) => createMeteredJournal(claim, createTaskJournal(claim, journalDeps), meter)
  const claims = createTaskClaims({ keepSeconds }, { database, sealer, lease, held, log, journal })
  const admit = createAdmitTask({ keepKeysSeconds: keepRequestIdsSeconds }, { ...deps, insert, lease, held, queueLimit })
  const cancel = createCancelTask({ keepSeconds }, { database, sealer, ends })

  const look = (taskId?: string) => {
    watch.look(taskId)
    cancelRequests.look(taskId)
  }
  const stopListening = database.onAnnouncement((topic) => {
    if (topic === undefined) look()
    else if (topic.startsWith('task ')) look(topic.slice('task '.length))
  })
  // Other processes' announcements may be lost.
  const fallback = exclusive ? undefined : setInterval(look, fallbackMs).unref()

  return {
    processId,
    admit,
    journal(claim) {
      const known = held.get(claim.taskId)
      if (known?.fence !== claim.fence) throw new ClaimLostError(claim.taskId)
      return journal(known)
    },
    claimQueued: claims.claimQueued,
    claimAbandoned: claims.claimAbandoned,
    resign: () => beforeSending(lease.resign()),
    find,
    list: (filter) => beforeSending(reader.list(filter)),
    async waitFor(id, organizationId, until) {
      return (await beforeSending(watch.wait(id, organizationId, until))) ?? find(id, organizationId)
    },
    async cancel(id, organizationId) {
      await beforeSending(cancel(id, organizationId))
      return find(id, organizationId)
    },
    onCancel: cancelRequests.onCancel,
    delivered: notes.delivered,
    lost: notes.lost,
    rejoin: (caller, fingerprints) => beforeSending(notes.rejoin(caller, fingerprints)),
    sweep: (nowMs) => beforeSending(sweepTasks(nowMs, database)),
    async [Symbol.asyncDispose]() {
      stopListening()
      clearInterval(fallback)
      watch[Symbol.dispose]()
      await notes[Symbol.asyncDispose]()
      await lease[Symbol.asyncDispose]()
    }
  }

  async function find(id: string, organizationId: string): Promise<KeptTask | undefined> {
    const kept = await beforeSending(reader.read(id))
    return kept?.organizationId === organizationId ? kept : undefined
  }
}

const fallbackMs = 1_000
