import type { AttemptEnding, TaskEnding } from './task-store.ts'

/** Counts what this process does. What it could not bring to an end is counted by whoever does. */
export interface TaskMeter {
  /** A call to a provider is over, as far as this process knows. */
  attemptEnded(attempt: {
    provider: string
    model: string
    outcome: AttemptEnding['outcome']
    /** What is booked as spent; undefined where no price is known. */
    spentMicros: number | undefined
    images: number
  }): void
  /** A task is final. */
  taskEnded(task: { operation: string; mode: 'attached' | 'detached'; state: TaskEnding['state'] }): void
  /** A task was taken from the queue, so long after it had come in. */
  taskTaken(waitedMs: number): void
  /** Work on a task that was taken on in the background begins. The returned function tells that it is over. */
  taskBegan(): (sinceCreationMs: number) => void
}

/** Counts nothing. */
export const noMeter: TaskMeter = {
  attemptEnded: () => undefined,
  taskEnded: () => undefined,
  taskTaken: () => undefined,
  taskBegan: () => () => undefined
}
