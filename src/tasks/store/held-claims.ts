import type { AttemptRow, TaskRow } from '../../storage/schema.ts'
import type { Claim, NewTask } from '../task-store.ts'
import type { UsageLabels } from './usage-labels.ts'

/** A claim of this process, with what its journal needs to know of the task. */
export interface HeldClaim extends Claim {
  organizationId: string
  apiKeyId: string
  mode: TaskRow['mode']
  labels: UsageLabels
  /** Empty where nothing is to be called back. */
  callbackUrl: string
  /** The task itself while it is not in the database. */
  unwritten: NewTask | undefined
  attempts: Map<string, HeldAttempt>
  /** Whether images whose rows have no end may belong to it that its journal does not know of. */
  mayHaveEndlessImages: boolean
  /** Whether its end is on the way, after which nobody can cancel it. */
  isEnding: boolean
  /** Whether somebody was told that it is to be cancelled. */
  isCancelTold: boolean
}

/** An attempt that this process has made or taken over. `doubtful`: nothing was sent for it, and nobody knows whether it is recorded. */
export type HeldAttempt = Pick<AttemptRow, 'provider' | 'model' | 'credential' | 'reserved_micros' | 'budget_periods' | 'budget_micros'> & {
  state: 'open' | 'closed' | 'doubtful'
}

/** The claims of this process. */
export interface HeldClaims {
  add(claim: HeldClaim): void
  get(taskId: string): HeldClaim | undefined
  ids(): string[]
  /** Forgets a claim, unless the task is held under a newer one by now. */
  release(claim: HeldClaim): void
  /**
   * Notes that there may be running tasks in the name of this process that it does not hold: claims whose acknowledgement was lost, or that
   * were let go before their end.
   */
  mayHaveOrphans: boolean
}

export function createHeldClaims(): HeldClaims {
  const claims = new Map<string, HeldClaim>()
  return {
    add: (claim) => void claims.set(claim.taskId, claim),
    get: (taskId) => claims.get(taskId),
    ids: () => [...claims.keys()],
    release(claim) {
      if (claims.get(claim.taskId) === claim) claims.delete(claim.taskId)
    },
    mayHaveOrphans: false
  }
}
