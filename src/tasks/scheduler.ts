import type { Call } from '../call.ts'
import { gatewayError, toGatewayError } from '../errors.ts'
import type { Logger } from '../log.ts'
import type { Database } from '../storage/database.ts'
import { endWithoutPlan } from './end-without-plan.ts'
import type { PlannedRun } from './run-order.ts'
import type { TaskRunner } from './runner.ts'
import { readCaller } from './stored-caller.ts'
import { readChoice } from './stored-choice.ts'
import { noMeter, type TaskMeter } from './task-meter.ts'
import { type ClaimedTask, ClaimLostError, type TaskStore } from './task-store.ts'

export interface SchedulerOptions {
  /** Most queued tasks that this process works on at a time, and most of those that it has taken over from others. */
  maxRunning: number
  /** How often to look for tasks whose process has died, and for queued ones that nobody announced. */
  pollMs: number
  keepTasksSeconds: number
}

export interface SchedulerDeps {
  store: TaskStore
  runner: TaskRunner
  database: Pick<Database, 'onAnnouncement'>
  /** Plans a task out of its record. */
  plan(task: ClaimedTask, call: Call): Promise<PlannedRun>
  /** Aborts when the process has no time left: then nothing is taken on any more. */
  closing: AbortSignal
  log: Logger
  /** Unset: nothing is counted. */
  meter?: TaskMeter
}

/** Carries out queued tasks, and takes over those of processes that have died. */
export interface Scheduler {
  /** Resolves when what an earlier process left behind has been taken over: before that, a repetition might not find its task. */
  readonly ready: Promise<void>
  /** Takes nothing on any more, and resolves when what was taken on is over. */
  drain(): Promise<void>
}

/** Begins at once with what an earlier process left behind. */
export function createScheduler(options: SchedulerOptions, deps: SchedulerDeps): Scheduler {
  const { store, log, meter = noMeter } = deps
  const queued = new Set<Promise<void>>()
  const takenOver = new Set<Promise<void>>()
  let isDraining = false
  let isLooking = false
  let shallLookAgain = false

  const stopListening = deps.database.onAnnouncement((topic) => {
    if (topic === 'queue' || topic === undefined) void look()
  })
  const poll = setInterval(() => void look(), options.pollMs)
  poll.unref()
  deps.closing.addEventListener('abort', stop, { once: true })
  const ready = look()

  function stop(): void {
    isDraining = true
    clearInterval(poll)
    stopListening()
  }

  /** One look at a time; what is announced meanwhile is looked for afterwards. */
  async function look(): Promise<void> {
    shallLookAgain = true
    if (isLooking) return
    isLooking = true
    try {
      while (shallLookAgain && !isDraining) {
        shallLookAgain = false
        await fill(takenOver, store.claimAbandoned)
        await fill(queued, store.claimQueued)
      }
    } catch (err) {
      if (!isDraining) log.error({ err }, 'the queue of tasks could not be read')
    } finally {
      isLooking = false
    }
  }

  async function fill(running: Set<Promise<void>>, claim: (limit: number) => Promise<ClaimedTask[]>): Promise<void> {
    while (!isDraining && running.size < options.maxRunning) {
      const claimed = await claim(Math.min(claimsAtATime, options.maxRunning - running.size))
      if (claimed.length === 0) break
      for (const task of claimed) {
        const isOver = meter.taskBegan()
        if (running === queued) meter.taskTaken(Date.now() - task.row.created_at_ms)
        const work = carryOut(task).finally(() => {
          isOver(Date.now() - task.row.created_at_ms)
          running.delete(work)
          void look()
        })
        running.add(work)
      }
    }
  }

  async function carryOut(task: ClaimedTask): Promise<void> {
    const { row } = task
    const choice = readChoice(task.request.choice)
    const call: Call = {
      id: task.taskId,
      caller: {
        organizationId: row.organization_id,
        apiKeyId: row.api_key_id,
        scopes: ['generate'],
        ...readCaller(task.request.caller)
      },
      signal: new AbortController().signal,
      deadlineMs: Number.POSITIVE_INFINITY,
      ...(choice && { choice }),
      log: log.child({ task: task.taskId })
    }
    try {
      const isLeft = row.mode === 'attached' && row.on_interrupt !== 'retry' && task.attempts.length === 0
      if (isLeft) throw gatewayError('NOT_STARTED', {}, { outcome: 'not_sent' })
      const planned = await deps.plan(task, call)
      await deps.runner.resume(task, planned, call).over
    } catch (error) {
      await endWithoutPlan(task, toGatewayError(error), () => store.journal(task), options.keepTasksSeconds).catch((err: unknown) => {
        if (!(err instanceof ClaimLostError)) call.log.error({ err }, 'a task could not be brought to its end')
      })
    }
  }

  return {
    ready,
    async drain() {
      stop()
      while (queued.size + takenOver.size > 0) await Promise.all([...queued, ...takenOver])
    }
  }
}

/** Few enough to share a queue with other processes, enough to keep up with one. */
const claimsAtATime = 16
