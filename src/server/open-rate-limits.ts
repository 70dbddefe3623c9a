import { createBucketStore } from '../admission/rate-limits/bucket-store.ts'
import { createLocalBuckets } from '../admission/rate-limits/local-buckets.ts'
import { loadRateLimits } from '../admission/rate-limits/rate-limit.ts'
import { createSharedBuckets } from '../admission/rate-limits/shared-buckets.ts'
import type { AdministeredService } from '../invoke/administer.ts'
import { createRateLimitOperations } from '../invoke/rate-limit-operations.ts'
import type { Gate } from '../services/guarded-runner.ts'
import { createRateLimitGate } from '../services/rate-limit-gate.ts'
import { createRateLimits } from '../services/rate-limits.ts'
import type { Database } from '../storage/database.ts'
import type { LiveCopies } from '../storage/live-copies.ts'

/** Builds what limits requests and what the limits are set with. Other servers share them where they share the database. `parts` owns it. */
export async function openRateLimits(
  options: { isShared: boolean; leaseMs: number },
  deps: { database: Database; copies: LiveCopies },
  parts: AsyncDisposableStack
): Promise<{ rateLimitGate: Gate; rateLimitOperations: AdministeredService }> {
  const limits = await deps.copies.keep(() => loadRateLimits(deps.database))
  const buckets = parts.use(
    options.isShared ? createSharedBuckets(options, { store: createBucketStore(options, deps) }) : createLocalBuckets()
  )
  return {
    rateLimitGate: createRateLimitGate({ limits, buckets }),
    rateLimitOperations: createRateLimitOperations({ rateLimits: createRateLimits(deps) })
  }
}
