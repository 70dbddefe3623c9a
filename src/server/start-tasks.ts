import { setTimeout as sleep } from 'node:timers/promises'
import type { GenerateImagesRequest } from '../../gen/atelier/v1/image_service_pb.ts'
import type { Call } from '../call.ts'
import type { Settings } from '../config.ts'
import type { Delivery } from '../delivery/deliver.ts'
import type { Budgets } from '../ledger/budgets.ts'
import type { Logger } from '../log.ts'
import type { ConfiguredProvider } from '../routing/attempt.ts'
import type { Credentials } from '../routing/credentials.ts'
import { createCreateTask } from '../services/create-task.ts'
import { createGuardedRunner, type Gate } from '../services/guarded-runner.ts'
import { createNoTasks } from '../services/no-tasks.ts'
import type { PlanEdit } from '../services/plan-edit-run.ts'
import type { PlanRunWays } from '../services/plan-run.ts'
import { createPlanStoredTask } from '../services/run-stored-task.ts'
import { createTasks, type Tasks, toTask } from '../services/tasks.ts'
import { encodeCallback } from '../tasks/callbacks/callback-body.ts'
import { createCallbackDispatcher } from '../tasks/callbacks/callback-dispatcher.ts'
import { createCallbackSecrets } from '../tasks/callbacks/callback-secrets.ts'
import { checkCallbackUrl } from '../tasks/callbacks/callback-url.ts'
import type { Checkpoint } from '../tasks/checkpoint.ts'
import { createPassThrough } from '../tasks/pass-through.ts'
import type { PlannedRun } from '../tasks/run-order.ts'
import { createTaskRunner, type Runner } from '../tasks/runner.ts'
import { createScheduler } from '../tasks/scheduler.ts'
import { createTaskStore } from '../tasks/store/create-task-store.ts'
import type { TaskMeter } from '../tasks/task-meter.ts'
import type { TaskStore } from '../tasks/task-store.ts'
import type { UntrustedUrlFetcher } from '../upstream/untrusted-url.ts'
import { callbackContent } from '../wire/callback-content.ts'
import type { Storage } from './open-storage.ts'

export interface StartTasksDeps extends Storage {
  providers: ReadonlyMap<string, ConfiguredProvider>
  credentials: Credentials
  delivery: Delivery
  fetcher: UntrustedUrlFetcher
  planGeneration(request: GenerateImagesRequest, ways: PlanRunWays, call: Call): PlannedRun
  planEdit: PlanEdit
  budgets: Budgets
  /** What decides about every request before it becomes a task. */
  gates: readonly Gate[]
  log: Logger
  meter: TaskMeter
  version: string
  /** Aborts when the server takes its leave. */
  draining: AbortSignal
  checkpoint: Checkpoint
  /** How long other processes wait before they take over what this one works on. */
  leaseMs: number
}

export interface RunningTasks {
  runner: Runner
  tasks: Tasks
  /** Takes on no background task any more, and resolves when those that run are over. */
  drain(): Promise<void>
  /** Deletes what has expired. */
  sweep(nowMs: number): Promise<number>
}

/** Starts what the settings ask for: the task machine, or a runner that keeps nothing. `parts` owns it. */
export async function startTasks(settings: Settings, deps: StartTasksDeps, parts: AsyncDisposableStack): Promise<RunningTasks> {
  const { tasks: mode, keepResultsSeconds, keepTasksSeconds, maxRunningTasks, maxQueuedTasks, databaseUrl } = settings
  if (mode === 'off') {
    return {
      runner: createGuardedRunner(deps.gates, createPassThrough({}, deps)),
      tasks: createNoTasks(),
      drain: async () => undefined,
      sweep: async () => 0
    }
  }
  const closing = new AbortController()
  const { leaseMs } = deps
  const store: TaskStore & AsyncDisposable = parts.use(
    await createTaskStore({ maxQueuedTasks, keepTasksSeconds, leaseMs, exclusive: databaseUrl === undefined }, deps)
  )
  const runner = createTaskRunner({ keepResultsSeconds, keepTasksSeconds }, { ...deps, store, closing: closing.signal })
  const links = { runner, links: deps.links }
  const secrets = createCallbackSecrets(deps)
  await secrets.reseal()
  const dispatcher = parts.use(
    createCallbackDispatcher(
      { version: deps.version },
      {
        ...deps,
        secrets,
        body: async (taskId, organizationId) => {
          const kept = await store.find(taskId, organizationId)
          const content = kept && callbackContent(toTask(kept, links))
          return content && encodeCallback(content)
        }
      }
    )
  )
  parts.defer(async () => {
    // An image that arrives at the last moment can still be recorded.
    await Promise.race([runner.idle(), sleep(lastMs)])
    closing.abort(new Error('the server is closing'))
    await store.resign()
  })
  const plan = createPlanStoredTask(deps)
  const scheduler = createScheduler(
    { maxRunning: maxRunningTasks, pollMs: Math.min(5_000, leaseMs), keepTasksSeconds },
    { ...deps, store, runner, plan, closing: closing.signal }
  )
  await scheduler.ready
  const guarded = createGuardedRunner(deps.gates, runner)
  return {
    runner: guarded,
    tasks: createTasks({
      ...deps,
      store,
      runner,
      dispatcher,
      accept: createCreateTask({ ...deps, runner: guarded, checkCallbackUrl: (url) => checkCallbackUrl(url, deps) })
    }),
    async drain() {
      await Promise.all([scheduler.drain(), runner.idle()])
    },
    sweep: (nowMs) => store.sweep(nowMs)
  }
}

/** Well within the time that is left for closing everything. */
const lastMs = 500
