import { create, type MessageInitShape } from '@bufbuild/protobuf'
import { ImageOutcome } from '../../gen/atelier/v1/image_pb.ts'
import { StoredRequestSchema, type StoredResult, StoredResultSchema } from '../../gen/atelier/v1/stored_pb.ts'
import type { Caller } from '../../src/call.ts'
import { gatewayError } from '../../src/errors.ts'
import { type Budgets, noBudgets } from '../../src/ledger/budgets.ts'
import { createLog } from '../../src/log.ts'
import type { PendingBlob } from '../../src/storage/blob-store.ts'
import { type Database, openDatabase } from '../../src/storage/database.ts'
import { createFingerprints, type Fingerprints } from '../../src/storage/fingerprints.ts'
import { randomBase62 } from '../../src/storage/random-id.ts'
import { neverMs } from '../../src/storage/schema.ts'
import { createSealer, type Sealer } from '../../src/storage/seal.ts'
import { createTaskStore, type TaskStoreOptions } from '../../src/tasks/store/create-task-store.ts'
import { toStoredError } from '../../src/tasks/store/stored-error.ts'
import {
  type Admission,
  type AttemptEnding,
  type Claim,
  type Intent,
  type NewTask,
  newTaskId,
  type TaskEnding,
  type TaskStore
} from '../../src/tasks/task-store.ts'
import { createTemporaryDirectory } from './temporary-directory.ts'

/** A database that any number of stores use, as any number of processes would. */
export interface TaskStores extends AsyncDisposable {
  readonly database: Database
  readonly sealer: Sealer
  /** One more process. */
  open(
    options?: Partial<TaskStoreOptions>,
    keys?: { fingerprints?: Fingerprints; database?: Database; budgets?: Budgets }
  ): Promise<OpenStore>
}

export type OpenStore = TaskStore & AsyncDisposable & { database: Database }

/** On SQLite the processes share one connection: another one could not use the file. */
export async function openSqliteStores(): Promise<TaskStores> {
  const directory = await createTemporaryDirectory()
  const database = await openDatabase({ dataDir: directory.path })
  const stores = createStores(database, () => Promise.resolve(database))
  return {
    ...stores,
    async [Symbol.asyncDispose]() {
      await stores[Symbol.asyncDispose]()
      await database[Symbol.asyncDispose]()
      await directory[Symbol.asyncDispose]()
    }
  }
}

/** Each process has its own connections. */
export async function openPostgresStores(databaseUrl: string): Promise<TaskStores> {
  const database = await openDatabase({ dataDir: '/nowhere', databaseUrl })
  const databases = [database]
  const stores = createStores(database, async () => {
    const opened = await openDatabase({ dataDir: '/nowhere', databaseUrl })
    databases.push(opened)
    return opened
  })
  return {
    ...stores,
    async [Symbol.asyncDispose]() {
      await stores[Symbol.asyncDispose]()
      for (const each of databases) await each[Symbol.asyncDispose]()
    }
  }
}

function createStores(database: Database, connect: () => Promise<Database>): TaskStores {
  const keys = [testKey(1)] as const
  const sealer = createSealer({ keys })
  const opened: OpenStore[] = []
  return {
    database,
    sealer,
    async open(options = {}, { fingerprints = createFingerprints({ keys }), database: given, budgets = noBudgets } = {}) {
      const own = given ?? (await connect())
      const log = createLog({ level: 'silent' })
      const store = await createTaskStore(
        { maxQueuedTasks: 100_000, keepTasksSeconds: 604_800, ...options },
        { database: own, sealer, fingerprints, budgets, log }
      )
      const open = { ...store, database: own }
      opened.push(open)
      return open
    },
    async [Symbol.asyncDispose]() {
      for (const store of opened) await store[Symbol.asyncDispose]()
    }
  }
}

export function testKey(seed: number): { keyId: string; key: Uint8Array } {
  return { keyId: seed.toString(16).padStart(8, '0'), key: new Uint8Array(32).fill(seed) }
}

export const caller: Caller = { organizationId: 'default', apiKeyId: 'key-1', scopes: ['generate'] }

export function newTask(fields: Partial<NewTask> = {}, request: MessageInitShape<typeof StoredRequestSchema> = {}): NewTask {
  return {
    id: newTaskId(),
    caller,
    operation: 'generation',
    mode: 'attached',
    request: create(StoredRequestSchema, { operation: { case: 'generation', value: { prompt: 'a cat' } }, ...request }),
    fingerprints: ['fingerprint'],
    traceId: '',
    onInterrupt: 'fail',
    requestId: '',
    provider: 'openai',
    model: 'dall-e-3',
    createdAtMs: Date.now(),
    blobs: [],
    ...fields
  }
}

export function intent(fields: Partial<Intent> = {}): Intent {
  return {
    part: 0,
    ordinal: 0,
    provider: 'openai',
    model: 'dall-e-3',
    reserveMicros: 40_000,
    credential: { kind: 'platform', id: '' },
    ...fields
  }
}

/** A result of one image that cost so much; of no known cost where that is undefined. */
export function resultOf(totalMicros: bigint | undefined, imageId = 'image-1'): StoredResult {
  return create(StoredResultSchema, {
    provider: 'openai',
    model: 'dall-e-3',
    images: [{ index: 0, outcome: ImageOutcome.DELIVERED, source: { case: 'imageId', value: imageId }, mediaType: 'image/png' }],
    usage: { inputTokens: 5n, outputTokens: 7n, totalTokens: 12n },
    ...(totalMicros !== undefined && { cost: { totalMicros } })
  })
}

/** The ending of an attempt that delivered one image. */
export function delivery(totalMicros: bigint | undefined): Extract<AttemptEnding, { outcome: 'succeeded' }> {
  return { outcome: 'succeeded', result: resultOf(totalMicros), blobs: [] }
}

export function succeeded(fields: Partial<TaskEnding> = {}): TaskEnding {
  return { state: 'succeeded', result: resultOf(38_000n), consumesRequestId: true, keepSeconds: 3_600, ...fields }
}

export function failed(fields: Partial<TaskEnding> = {}): TaskEnding {
  const error = toStoredError(gatewayError('PROVIDER_REJECTED', { problem: 'no' }, { outcome: 'rejected' }))
  return { state: 'failed', result: create(StoredResultSchema, { error }), consumesRequestId: false, keepSeconds: 3_600, ...fields }
}

export function claimOf(admission: Admission): Claim {
  if (admission.kind !== 'created') throw new Error(`the request is that of ${admission.taskId}`)
  return admission.claim
}

/** A stored image whose row is to be committed. */
export function pendingBlob(database: Database, taskId: string, expiresAtMs: number, access: 'signed' | 'public' = 'signed'): PendingBlob {
  const id = randomBase62(22)
  const row = {
    id,
    organization_id: 'default',
    media_type: 'image/png',
    size_bytes: 4,
    access,
    task_id: taskId,
    created_at_ms: Date.now(),
    expires_at_ms: expiresAtMs
  }
  const expiresAt = expiresAtMs === neverMs ? Number.POSITIVE_INFINITY : expiresAtMs / 1000
  return {
    blob: { id, mediaType: 'image/png', sizeBytes: 4, expiresAt, isPublic: access === 'public' },
    row: { query: database.query.insertInto('blobs').values(row), expectRows: 1 }
  }
}

/** What is booked for each attempt, and what the attempt itself says. */
export async function ledgerOf(database: Database, taskId?: string) {
  const all = database.query.selectFrom('attempts').leftJoin('ledger_entries', 'ledger_entries.attempt_id', 'attempts.id')
  const rows = await (taskId === undefined ? all : all.where('attempts.task_id', '=', taskId))
    .groupBy(['attempts.id', 'attempts.state', 'attempts.reserved_micros', 'attempts.cost_micros'])
    .select(['attempts.id', 'attempts.state', 'attempts.reserved_micros', 'attempts.cost_micros'])
    .select(({ fn }) => [
      fn.sum<number | null>('ledger_entries.reserved_micros').as('reserved'),
      fn.sum<number | null>('ledger_entries.spent_micros').as('spent'),
      fn.sum<number | null>('ledger_entries.images').as('images')
    ])
    .execute()
  return rows
}

/** The attempts whose bookings do not say what they must. */
export async function imbalances(database: Database) {
  return (await ledgerOf(database)).filter(({ state, reserved_micros, cost_micros, reserved, spent }) => {
    const isOpen = state === 'intended' || state === 'submitted'
    return isOpen ? reserved !== (reserved_micros ?? 0) || spent !== 0 : reserved !== 0 || spent !== (cost_micros ?? 0)
  })
}
