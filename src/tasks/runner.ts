import { OnInterrupt } from '../../gen/atelier/v1/image_service_pb.ts'
import type { StoredRequest } from '../../gen/atelier/v1/stored_pb.ts'
import type { Call } from '../call.ts'
import { gatewayError, toGatewayError } from '../errors.ts'
import { openEvents, startingWith, untilOver } from '../events/event-iterators.ts'
import type { GenerationEvent } from '../events.ts'
import type { BlobStore } from '../storage/blob-store.ts'
import type { Fingerprints } from '../storage/fingerprints.ts'
import type { Links } from '../storage/links.ts'
import { type Execution, type ExecutionDeps, execute } from './execution.ts'
import { createFeed } from './feed.ts'
import { fingerprintBytes } from './fingerprint.ts'
import { replay } from './replay.ts'
import type { PlannedRun, RunOrder } from './run-order.ts'
import { withCaller } from './stored-caller.ts'
import { withChoice } from './stored-choice.ts'
import { type Admission, type ClaimedTask, type NewTask, newTaskId, type TaskStore } from './task-store.ts'

/** Carries out what was planned. */
export interface Runner {
  /**
   * Carries an order out for a caller that waits, or repeats to it what the same order yielded before. Takes the order over. Never throws
   * itself, so that whoever waits for the end of the events hears of every refusal: they fail with REQUEST_ID_REUSED, DATABASE_UNAVAILABLE,
   * what providers throw, and IDEMPOTENCY_UNAVAILABLE where no tasks are kept.
   */
  run(order: RunOrder, call: Call): AsyncIterable<GenerationEvent>
}

/** A runner that keeps every request as a task. */
export interface TaskRunner extends Runner {
  /**
   * Records an order to be carried out in the background. Takes the order over. Returns the id of its task, or of the one that was made of
   * the same order, under the same request id, before.
   */
  submit(order: RunOrder, record: SubmittedRecord, call: Call): Promise<string>
  /** Carries out, or goes on with, a task that this process has claimed. */
  resume(task: ClaimedTask, planned: PlannedRun, call: Call): Execution
  /** How far a task is that this process works on; 0 for any other. */
  progressOf(taskId: string): number
  /** Stops a task that this process works on. */
  cancel(taskId: string): void
  /** Resolves when everything that was begun is over. */
  idle(): Promise<void>
}

/** How a background order is recorded. */
export interface SubmittedRecord {
  /** Id for its task. */
  id: string
  /** What its fingerprint is made of: the order with its inputs as they were given. */
  recognisedBy: StoredRequest
  /** What was stored for it. */
  blobs: NewTask['blobs']
}

export interface RunnerOptions {
  /** Most calls that one request makes at a time; 4 unless told. */
  maxParallel?: number
  /** Seconds for which a result is kept after its caller got it. */
  keepResultsSeconds: number
  /** Seconds for which every other result is kept. */
  keepTasksSeconds: number
}

export interface RunnerDeps extends ExecutionDeps {
  store: TaskStore
  blobs: BlobStore
  links: Links
  fingerprints: Fingerprints
}

/** As long as a request id is remembered. */
const keyedSeconds = 86_400

export function createTaskRunner(options: RunnerOptions, deps: RunnerDeps): TaskRunner {
  const { store } = deps
  const executionOptions = { maxParallel: options.maxParallel ?? 4 }
  const running = new Map<string, Execution>()
  /** Tasks that were cancelled after they were claimed and before they were begun. */
  const cancelledBefore = new Set<string>()
  const stopListening = store.onCancel((taskId) => {
    const execution = running.get(taskId)
    if (execution) execution.cancel()
    else cancelledBefore.add(taskId)
  })
  deps.closing.addEventListener('abort', stopListening, { once: true })

  async function begin(order: RunOrder, call: Call): Promise<AsyncIterable<GenerationEvent>> {
    await using cleanup = new AsyncDisposableStack()
    cleanup.use(order)
    const fingerprints = fingerprintsOf(order.stored, call)
    const earlier = order.isRepetition && order.request.requestId === '' ? await store.rejoin(call.caller, fingerprints) : undefined
    if (earlier !== undefined) return replay(earlier, call, deps)
    const createdAtMs = Date.now()
    const admission = await admit(order, 'attached', fingerprints, { id: newTaskId(), createdAtMs, blobs: [] }, call)
    if (admission.kind === 'existing') return replay(admission.taskId, call, deps)
    deps.checkpoint('admitted')
    cleanup.move()
    return attend(order, admission, createdAtMs, call)
  }

  /** Carries a task out and passes on what comes while the caller is there. */
  function attend(
    order: RunOrder,
    { claim }: Extract<Admission, { kind: 'created' }>,
    createdAtMs: number,
    call: Call
  ): AsyncIterable<GenerationEvent> {
    const { taskId } = claim
    const { plan, request } = order
    const isKeyed = request.requestId !== ''
    const feed = createFeed()
    const task = {
      id: taskId,
      caller: call.caller,
      known: [],
      mayBegin: true,
      mayRetry: false,
      keepSeconds: options.keepTasksSeconds,
      keepFailureSeconds: isKeyed ? keyedSeconds : options.keepResultsSeconds,
      choice: call.choice,
      calledWith: call.calledWith,
      log: call.log
    }
    const execution = track(taskId, execute(task, order, executionOptions, store.journal(claim), deps, feed))
    const leave = () => execution.leave(toGatewayError(call.signal.reason ?? gatewayError('CANCELLED', {})))
    if (call.signal.aborted) leave()
    call.signal.addEventListener('abort', leave, { once: true })
    const { provider, model } = plan.candidate
    const createdAt = Math.floor(createdAtMs / 1000)
    const accepted = { kind: 'accepted', taskId, createdAt, isReplay: false, provider, model, warnings: plan.warnings } as const
    return untilOver(
      () => startingWith<GenerationEvent>(accepted, () => feed),
      (isThrough) => {
        call.signal.removeEventListener('abort', leave)
        if (!isThrough) leave()
        const keepSeconds = isKeyed
          ? keyedSeconds
          : Math.max(options.keepResultsSeconds, plan.form === 'url' ? order.wish.linkLifetimeSeconds : 0)
        void (call.answered?.() ?? Promise.resolve(isThrough)).then((isWhole) =>
          isWhole ? isThrough && store.delivered(taskId, keepSeconds) : store.lost(taskId)
        )
      }
    )
  }

  function admit(
    order: RunOrder,
    mode: NewTask['mode'],
    fingerprints: readonly string[],
    record: Pick<NewTask, 'id' | 'createdAtMs' | 'blobs'>,
    call: Call
  ): Promise<Admission> {
    const { operation, stored, request, traceId, plan } = order
    return store.admit({
      id: record.id,
      createdAtMs: record.createdAtMs,
      caller: call.caller,
      operation,
      mode,
      request: withCaller(
        withChoice(call.metadata === undefined ? stored : { ...stored, metadata: call.metadata }, call.choice),
        call.caller
      ),
      fingerprints,
      traceId,
      onInterrupt: request.onInterrupt === OnInterrupt.RETRY ? 'retry' : 'fail',
      requestId: request.requestId,
      provider: plan.candidate.provider,
      model: plan.candidate.model,
      blobs: record.blobs
    })
  }

  function fingerprintsOf(request: StoredRequest, { choice }: Call): string[] {
    return deps.fingerprints.all('request', fingerprintBytes(withChoice(request, choice)))
  }

  function track(taskId: string, execution: Execution): Execution {
    running.set(taskId, execution)
    if (cancelledBefore.delete(taskId)) execution.cancel()
    void execution.over.then(() => {
      if (running.get(taskId) === execution) running.delete(taskId)
    })
    return execution
  }

  return {
    run: (order, call) => openEvents(() => begin(order, call)),
    async submit(order, record, call) {
      await using _ = order
      const admission = await admit(
        order,
        'detached',
        fingerprintsOf(record.recognisedBy, call),
        { ...record, createdAtMs: Date.now() },
        call
      )
      if (admission.kind === 'existing') return admission.taskId
      deps.checkpoint('acknowledged')
      return admission.claim.taskId
    },
    resume(claimed, planned, call) {
      const isDetached = claimed.row.mode === 'detached'
      const task = {
        id: claimed.taskId,
        caller: call.caller,
        known: claimed.attempts,
        mayBegin: isDetached || claimed.row.on_interrupt === 'retry',
        mayRetry: claimed.row.on_interrupt === 'retry',
        keepSeconds: options.keepTasksSeconds,
        keepFailureSeconds: options.keepTasksSeconds,
        choice: call.choice,
        log: call.log
      }
      const execution = execute(task, planned, executionOptions, store.journal(claimed), deps)
      if (claimed.row.cancel_requested_at_ms !== null) execution.cancel()
      return track(claimed.taskId, execution)
    },
    progressOf: (taskId) => running.get(taskId)?.progress() ?? 0,
    cancel: (taskId) => running.get(taskId)?.cancel(),
    async idle() {
      while (running.size > 0) await Promise.all([...running.values()].map(({ over }) => over))
    }
  }
}
