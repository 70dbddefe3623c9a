import { noBudgets } from '../../src/ledger/budgets.ts'
import { createLog } from '../../src/log.ts'
import type { Database } from '../../src/storage/database.ts'
import type { DerivedKeys } from '../../src/storage/derived-keys.ts'
import { createFingerprints } from '../../src/storage/fingerprints.ts'
import { createSealer, type Sealer } from '../../src/storage/seal.ts'
import { createCallbackSecrets } from '../../src/tasks/callbacks/callback-secrets.ts'
import { createTaskStore } from '../../src/tasks/store/create-task-store.ts'
import { claimOf, intent, newTask, resultOf, succeeded, testKey } from './task-stores.ts'

/** A process whose master keys can be changed. */
export interface KeyHolder {
  readonly masterKey: { ids(): readonly [string, ...string[]] }
  readonly sealer: Sealer
  readonly credentialSealer: Sealer
  /** From now on it has these master keys, told by numbers, the current one first. */
  use(...seeds: readonly [number, ...number[]]): void
}

export function createKeyHolder(...seeds: readonly [number, ...number[]]): KeyHolder {
  let keys = keysOf(seeds)
  return {
    masterKey: { ids: () => keys.ids },
    sealer: createSealer({ keys: () => keys.requests }),
    credentialSealer: createSealer({ keys: () => keys.credentials }),
    use(...others) {
      keys = keysOf(others)
    }
  }
}

function keysOf([current, ...previous]: readonly [number, ...number[]]) {
  const derived = (offset: number): DerivedKeys => [derivedKey(current, offset), ...previous.map((seed) => derivedKey(seed, offset))]
  const ids = [testKey(current).keyId, ...previous.map((seed) => testKey(seed).keyId)] as const
  return { ids, requests: derived(0), credentials: derived(100) }
}

/** Another key for each purpose, all of them with the id of one master key. */
function derivedKey(seed: number, offset: number) {
  return { keyId: testKey(seed).keyId, key: new Uint8Array(32).fill(seed + offset) }
}

/** Fills every column of sealed values, for so many tasks; the secrets are of one more organization each time. */
export async function addSealedRows(database: Database, holder: KeyHolder, organizationId: string, tasks = 1): Promise<void> {
  const { sealer, credentialSealer } = holder
  const { query } = database
  await query.insertInto('organizations').values({ id: organizationId, name: organizationId, created_at_ms: 0 }).execute()
  const fingerprints = createFingerprints({ keys: [testKey(1)] })
  const log = createLog({ level: 'silent' })
  await using store = await createTaskStore(
    { maxQueuedTasks: 100_000, keepTasksSeconds: 3_600 },
    { database, sealer, fingerprints, log, budgets: noBudgets }
  )
  for (let count = 0; count < tasks; count++) {
    const caller = { organizationId, apiKeyId: 'key', scopes: [] }
    const task = newTask({ caller }, { callbackUrl: 'https://example.com/hook' })
    await using journal = store.journal(claimOf(await store.admit(task)))
    const attempt = await journal.intend(intent())
    await journal.submitted(attempt, 'job')
    await journal.close(attempt, { outcome: 'succeeded', result: resultOf(1n), blobs: [] })
    await journal.finish(succeeded())
  }
  await createCallbackSecrets({ database, sealer }).current(organizationId)
  const seal = (text: string, purpose: 'credential' | 'moderation key') =>
    credentialSealer.seal(Buffer.from(text), { purpose, organizationId, id: `of ${organizationId}` })
  await query
    .insertInto('credentials')
    .values({
      id: `of ${organizationId}`,
      organization_id: organizationId,
      provider: 'openai',
      name: 'openai',
      weight: 1,
      secret: seal('sk-credential', 'credential'),
      hint: '',
      created_at_ms: 1,
      set_at_ms: 1,
      last_used_at_ms: null
    })
    .execute()
  await query
    .insertInto('content_policies')
    .values({
      id: `of ${organizationId}`,
      organization_id: organizationId,
      blocked_patterns: '',
      moderation_url: 'https://example.com/v1/moderations',
      moderation_model: '',
      moderation_key: seal('sk-moderation', 'moderation key'),
      moderation_key_hint: '',
      moderation_timeout_ms: 5_000,
      moderation_failure: 'refuse',
      created_at_ms: 1,
      updated_at_ms: 1
    })
    .execute()
}
