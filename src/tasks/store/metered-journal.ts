import type { TaskMeter } from '../task-meter.ts'
import type { AttemptEnding, TaskJournal } from '../task-store.ts'
import { settled } from './bookings.ts'
import type { HeldClaim } from './held-claims.ts'

/** The journal, with a meter that hears once of the end of each attempt, and of that of the task. */
export function createMeteredJournal(claim: HeldClaim, journal: TaskJournal, meter: TaskMeter): TaskJournal {
  const counted = new Set<string>()

  return {
    ...journal,
    async close(attemptId, ending, options) {
      count(attemptId, ending)
      await journal.close(attemptId, ending, options)
    },
    async finish(ending) {
      const untold = [...claim.attempts].flatMap(([id, { state }]) => (state === 'open' ? [id] : []))
      await journal.finish(ending)
      for (const attemptId of untold) count(attemptId, { outcome: 'unknown' })
      meter.taskEnded({ operation: claim.labels.operation, mode: claim.mode, state: ending.state })
    }
  }

  /** What cannot be recorded yet is told again. */
  function count(attemptId: string, ending: AttemptEnding): void {
    const attempt = claim.attempts.get(attemptId)
    if (!attempt || attempt.state === 'closed' || counted.has(attemptId)) return
    counted.add(attemptId)
    const { provider, model, reserved_micros: reservedMicros } = attempt
    const { costMicros, images } = settled(ending, reservedMicros)
    meter.attemptEnded({ provider, model, outcome: ending.outcome, spentMicros: costMicros ?? undefined, images })
  }
}
