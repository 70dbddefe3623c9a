import type { Fingerprints } from '../../storage/fingerprints.ts'
import { randomBase62 } from '../../storage/random-id.ts'
import type { CallbackRow } from '../../storage/schema.ts'
import type { Sealer } from '../../storage/seal.ts'

/** The row of a callback that is due at once. To be inserted in the commit that makes its task final, announced as `callbacks`. */
export function callbackRow(
  taskId: string,
  organizationId: string,
  url: string,
  nowMs: number,
  deps: { sealer: Pick<Sealer, 'seal'>; fingerprints: Pick<Fingerprints, 'of'> }
): CallbackRow {
  const id = `msg_${randomBase62(22)}`
  // Paths of one origin hang together. A URL that cannot be parsed gets a row too, and fails when it is sent.
  const receiver = `${organizationId}\n${URL.parse(url)?.origin ?? url}`
  return {
    id,
    task_id: taskId,
    organization_id: organizationId,
    url: deps.sealer.seal(Buffer.from(url), { purpose: 'callback', organizationId, id }),
    receiver: deps.fingerprints.of('callback receiver', receiver),
    state: 'pending',
    attempts: 0,
    next_at_ms: nowMs,
    created_at_ms: nowMs
  }
}
