import { Counter, Gauge, Histogram, type Registry } from 'prom-client'
import type { Backlog } from '../tasks/store/read-backlog.ts'
import type { TaskMeter } from '../tasks/task-meter.ts'

export interface TaskMetricsDeps {
  /** What waits, in all processes together. Unset where no tasks are kept. */
  backlog?: () => Promise<Backlog>
}

/** What is counted about tasks and calls to providers. */
export interface TaskMetrics extends TaskMeter {
  /** Takes over what waits now. Never rejects: while the database does not tell, those figures are missing. */
  refresh(): Promise<void>
}

/** `nameOf` bounds the number of models that are told apart. */
export function createTaskMetrics(registry: Registry, nameOf: (model: string) => string, { backlog }: TaskMetricsDeps): TaskMetrics {
  const registers = [registry]
  const attempts = new Counter({
    name: 'atelier_attempts_total',
    help: 'Calls to providers that are over.',
    labelNames: ['provider', 'model', 'outcome'],
    registers
  })
  const labelNames = ['provider', 'model'] as const
  const spent = new Counter({
    name: 'atelier_spent_micros_total',
    help: 'What calls to providers cost, in micro-USD.',
    labelNames,
    registers
  })
  const unpriced = new Counter({
    name: 'atelier_unpriced_attempts_total',
    help: 'Calls to providers whose price is not known.',
    labelNames,
    registers
  })
  const images = new Counter({ name: 'atelier_images_total', help: 'Images that providers delivered.', labelNames, registers })
  const ended = new Counter({
    name: 'atelier_tasks_total',
    help: 'Tasks that have ended; attached ones have a caller who waits, detached ones run in the background.',
    labelNames: ['operation', 'mode', 'state'],
    registers
  })
  const running = new Gauge({ name: 'atelier_tasks_running', help: 'Background tasks that this process works on.', registers })
  const buckets = [0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600]
  const waited = new Histogram({
    name: 'atelier_task_wait_seconds',
    help: 'How long background tasks waited in the queue.',
    buckets,
    registers
  })
  const took = new Histogram({
    name: 'atelier_task_duration_seconds',
    help: 'From the acceptance of a background task to its end.',
    buckets,
    registers
  })

  return {
    refresh: backlog ? createBacklogMetrics(registry, backlog) : async () => undefined,
    attemptEnded({ provider, model: served, outcome, spentMicros, images: delivered }) {
      const model = nameOf(served)
      attempts.inc({ provider, model, outcome })
      if (spentMicros === undefined) unpriced.inc({ provider, model })
      else spent.inc({ provider, model }, spentMicros)
      images.inc({ provider, model }, delivered)
    },
    taskEnded: ({ operation, mode, state }) => ended.inc({ operation, mode, state }),
    taskTaken: (waitedMs) => waited.observe(Math.max(0, waitedMs) / 1000),
    taskBegan() {
      running.inc()
      return (sinceCreationMs) => {
        running.dec()
        took.observe(Math.max(0, sinceCreationMs) / 1000)
      }
    }
  }
}

/** Returns what reads the figures anew. */
function createBacklogMetrics(registry: Registry, read: () => Promise<Backlog>): () => Promise<void> {
  const gauge = (name: string, what: string) =>
    new Gauge({ name, help: `${what}, of all processes that share the database.`, registers: [registry] })
  const tasks = gauge('atelier_tasks_queued', 'Tasks that wait in the queue')
  const oldest = gauge('atelier_tasks_queued_oldest_seconds', 'How long the oldest task has waited in the queue')
  const callbacks = gauge('atelier_callbacks_pending', 'Callbacks that are not delivered yet')
  return async () => {
    const backlog = await read().catch(() => undefined)
    if (backlog) {
      tasks.set(backlog.queuedTasks)
      oldest.set(backlog.oldestQueuedMs / 1000)
      callbacks.set(backlog.pendingCallbacks)
    } else for (const each of [tasks, oldest, callbacks]) each.remove()
  }
}
