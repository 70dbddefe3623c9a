import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { create, type MessageInitShape } from '@bufbuild/protobuf'
import { ErrorReasonSchema } from '../../gen/atelier/v1/error_pb.ts'
import { ImageOutcome, ResponseFormat } from '../../gen/atelier/v1/image_pb.ts'
import { type GenerateImagesRequest, GenerateImagesRequestSchema } from '../../gen/atelier/v1/image_service_pb.ts'
import { StoredRequestSchema } from '../../gen/atelier/v1/stored_pb.ts'
import { createDelivery } from '../../src/delivery/deliver.ts'
import { createTranscoder } from '../../src/delivery/transcode.ts'
import { type GenerationEvent, isImageBody } from '../../src/events.ts'
import { readWhole } from '../../src/images/image-body.ts'
import { noBudgets } from '../../src/ledger/budgets.ts'
import { createLog } from '../../src/log.ts'
import type { Provider } from '../../src/providers/provider.ts'
import type { Credentials } from '../../src/routing/credentials.ts'
import { splitWork } from '../../src/routing/parts.ts'
import type { BlobStore } from '../../src/storage/blob-store.ts'
import { createDiskBlobStore } from '../../src/storage/blobs/disk-blob-store.ts'
import { openDatabase } from '../../src/storage/database.ts'
import { createFingerprints } from '../../src/storage/fingerprints.ts'
import { createLinks, type Links } from '../../src/storage/links.ts'
import { createScratchFiles } from '../../src/storage/scratch-files.ts'
import { createSealer } from '../../src/storage/seal.ts'
import { createSpool } from '../../src/storage/spool.ts'
import type { CheckpointStep } from '../../src/tasks/checkpoint.ts'
import type { PlannedRun, RunOrder } from '../../src/tasks/run-order.ts'
import { createTaskRunner, type TaskRunner } from '../../src/tasks/runner.ts'
import { createScheduler, type Scheduler } from '../../src/tasks/scheduler.ts'
import { createTaskStore } from '../../src/tasks/store/create-task-store.ts'
import { newTaskId, type TaskStore } from '../../src/tasks/task-store.ts'
import { createUntrustedUrlFetcher } from '../../src/upstream/untrusted-url.ts'
import { createCall } from './call.ts'
import { fixedCredentials } from './credentials.ts'
import { createFaultyDatabase } from './faulty-database.ts'
import { everyMirror, planOf } from './plan.ts'
import { imbalances, ledgerOf, testKey } from './task-stores.ts'
import { createTemporaryDirectory } from './temporary-directory.ts'

/** A data directory, and the processes that worked on it one after the other. A crash is a process that nobody uses any more. */
export interface TaskMachine extends AsyncDisposable {
  /** One more process, with its own connection to the database; takes everybody else for dead, and nobody before it takes anything on. */
  start(provider: Provider, options?: ProcessOptions): Promise<MachineProcess>
}

export interface ProcessOptions {
  checkpoint?: (step: CheckpointStep) => void
  /** Most calls that one task makes at a time; 4 unless told. */
  maxParallel?: number
  /** Whether no image can be stored. */
  failingStorage?: boolean
  /** Whose keys the provider is called with; the platform's unless told. */
  credentials?: Credentials
}

export interface MachineProcess {
  store: TaskStore
  runner: TaskRunner
  blobs: BlobStore
  links: Links
  database: ReturnType<typeof createFaultyDatabase>
  /** Begins to carry out what is queued or was left behind; no more than `maxRunning` at a time, 8 unless told. */
  schedule(options?: { maxRunning?: number }): Scheduler
  /** Records an order for the background. */
  submit(order: RunOrder): Promise<string>
}

/** What became of a task: its images, or why they are missing, and the state of each attempt with what was spent on it in micro-USD. */
export async function endOf(machine: MachineProcess, taskId: string) {
  const kept = await machine.store.waitFor(taskId, 'default', { signal: AbortSignal.timeout(10_000) })
  const { error } = kept?.task ?? {}
  return {
    state: kept?.state,
    error: error && {
      reason: ErrorReasonSchema.value[error.reason]?.localName,
      mayBeBilled: error.mayBeBilled,
      retryable: error.retryable
    },
    images: kept?.result?.images.map(({ outcome, message }) => (outcome === ImageOutcome.DELIVERED ? 'delivered' : message)) ?? [],
    attempts: (await ledgerOf(machine.database, taskId)).map(({ state, spent }) => `${state} ${spent}`),
    imbalances: await imbalances(machine.database)
  }
}

type Request = MessageInitShape<typeof GenerateImagesRequestSchema>

export async function createTaskMachine(): Promise<TaskMachine> {
  const parts = new AsyncDisposableStack()
  const directory = parts.use(await createTemporaryDirectory())
  const fetcher = parts.use(createUntrustedUrlFetcher({ allow: [] }))
  const scratch = createScratchFiles({ directory: join(directory.path, 'scratch') })
  const transcoder = parts.use(createTranscoder({ maxConcurrent: 1 }, { scratch }))
  const keys = [testKey(1)] as const
  const links = createLinks({
    publicUrl: 'https://images.example',
    keys: [{ keyId: '00000002', key: new Uint8Array(32).fill(2) }],
    lifetimeSeconds: 3_600
  })
  const deps = { sealer: createSealer({ keys }), fingerprints: createFingerprints({ keys }), log: createLog({ level: 'silent' }), links }
  const schedulers: Scheduler[] = []
  let processes = 0
  /** What they have begun may never end. */
  const stopSchedulers = () => {
    for (const scheduler of schedulers.splice(0)) void scheduler.drain()
  }

  return {
    async start(backend, { checkpoint = () => undefined, maxParallel = 4, failingStorage = false, credentials = fixedCredentials() } = {}) {
      stopSchedulers()
      const database = createFaultyDatabase(parts.use(await openDatabase({ dataDir: directory.path })))
      const store = parts.use(
        await createTaskStore(
          { maxQueuedTasks: 1_000, keepTasksSeconds: 604_800, exclusive: true },
          { ...deps, database, budgets: noBudgets }
        )
      )
      const closing = new AbortController()
      parts.defer(() => closing.abort(new Error('the test is over')))
      const blobs = createDiskBlobStore({ directory: join(directory.path, 'images') }, { database })
      if (failingStorage) await rm(join(directory.path, 'images'), { recursive: true })
      const spool = createSpool({ directory: join(directory.path, `spool-${processes++}`) })
      const delivery = createDelivery({ fetcher, blobs, links, transcoder })
      const providers = new Map([['openai', { backend }]])
      const runner = createTaskRunner(
        { keepResultsSeconds: 600, keepTasksSeconds: 604_800, maxParallel },
        { ...deps, store, blobs, spool, delivery, providers, credentials, checkpoint, closing: closing.signal }
      )
      return {
        store,
        runner,
        blobs,
        links,
        database,
        schedule({ maxRunning = 8 } = {}) {
          const plan = async ({ request: { operation } }: { request: RunOrder['stored'] }) => {
            if (operation.case !== 'generation') throw new Error('only generations are planned here')
            return plannedRun(operation.value)
          }
          const scheduler = createScheduler(
            { maxRunning, pollMs: 50, keepTasksSeconds: 604_800 },
            { ...deps, store, runner, database, plan, closing: closing.signal }
          )
          schedulers.push(scheduler)
          return scheduler
        },
        submit: (order) => runner.submit(order, { id: newTaskId(), recognisedBy: order.stored, blobs: [] }, createCall())
      }
    },
    async [Symbol.asyncDispose]() {
      stopSchedulers()
      await parts.disposeAsync()
    }
  }
}

/** One image as bytes, from dall-e-3, whose price is 40,000 micro-USD; more of them are made one by one. */
export function orderOf(request: Request = {}, { isRepetition = false } = {}): RunOrder {
  const value = create(GenerateImagesRequestSchema, { prompt: 'a cat', responseFormat: ResponseFormat.B64_JSON, ...request })
  const stored = create(StoredRequestSchema, { operation: { case: 'generation', value } })
  return { ...plannedRun(value), stored, traceId: '', isRepetition }
}

function plannedRun(request: GenerateImagesRequest): PlannedRun {
  const form = request.responseFormat === ResponseFormat.URL ? 'url' : 'b64_json'
  const plan = planOf({ model: 'dall-e-3', prompt: request.prompt, response_format: form }, { providers: everyMirror })
  const work = { ...plan.work, n: request.n ?? 1 }
  return {
    operation: 'generation',
    request,
    plan: { ...plan, work, parts: splitWork(work, 1), promptAsRevised: undefined },
    wish: { form: plan.form, keepProviderUrls: false, linkLifetimeSeconds: 3_600, provider: 'openai', trustedOrigins: [] },
    permanentLinks: false,
    charge: (cost) => cost,
    [Symbol.asyncDispose]: async () => undefined
  }
}

/** What a caller got, images as their sizes in bytes; the reason of the error in its place where one was thrown. */
export async function received(events: AsyncIterable<GenerationEvent>): Promise<(number | string)[]> {
  const got: (number | string)[] = []
  try {
    for await (const event of events) {
      if (event.kind === 'preview') got.push(`preview ${(await readWhole(event.image, 'bytes', 10_000_000)).length}`)
      else if (event.kind === 'image')
        got.push(isImageBody(event.image) ? (await readWhole(event.image, 'bytes', 10_000_000)).length : 'link')
      else if (event.kind === 'no_image') got.push(`missing: ${event.message}`)
      else if (event.kind !== 'image_details') got.push(event.kind)
    }
  } catch (error) {
    got.push(reasonOf(error))
  }
  return got
}

function reasonOf(error: unknown): string {
  return error instanceof Error && 'reason' in error ? String(error.reason) : String(error)
}
