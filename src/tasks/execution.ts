import { create } from '@bufbuild/protobuf'
import { ImageOutcome } from '../../gen/atelier/v1/image_pb.ts'
import { OnDisconnect } from '../../gen/atelier/v1/image_service_pb.ts'
import { type StoredImage, StoredImageSchema, type StoredResult, StoredResultSchema } from '../../gen/atelier/v1/stored_pb.ts'
import { type Call, type Caller, type CredentialUse, ownerOf, type ProviderChoice } from '../call.ts'
import { type GatewayError, gatewayError, toGatewayError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { ProviderEvent } from '../providers/provider.ts'
import type { BlobMeta } from '../storage/blob-store.ts'
import type { Spool } from '../storage/spool.ts'
import { createCredentialNotes } from './credential-notes.ts'
import type { Feed } from './feed.ts'
import { type PartRunDeps, runPart } from './part-run.ts'
import type { PlannedRun } from './run-order.ts'
import { runParts } from './run-parts.ts'
import { credentialText } from './store/credential-text.ts'
import { toGatewayErrorAgain, toStoredError } from './store/stored-error.ts'
import { ClaimLostError, type KnownAttempt, type TaskEnding, type TaskJournal } from './task-store.ts'
import { untilRecorded } from './until-recorded.ts'

/** A task that this process carries out. */
export interface ExecutableTask {
  id: string
  caller: Caller
  /** The provider that it was asked to be served by, and with whose key. */
  choice?: ProviderChoice | undefined
  /** Hears whose keys the provider is called with. */
  calledWith?: Call['calledWith'] | undefined
  /** What an earlier process has begun. */
  known: readonly KnownAttempt[]
  /** Whether parts that nothing was begun of are begun: not of an attached task whose caller went down with its process. */
  mayBegin: boolean
  mayRetry: boolean
  /** Seconds for which the result is kept. */
  keepSeconds: number
  /** Seconds for which the record of a failure is kept. */
  keepFailureSeconds: number
  log: Log
}

export interface ExecutionOptions {
  /** Most calls that one task makes at a time. */
  maxParallel: number
}

export interface ExecutionDeps extends PartRunDeps {
  spool: Spool
}

export interface Execution {
  /** How far the provider is, 0 to 1. */
  progress(): number
  /** Stops it because somebody asked for that. */
  cancel(): void
  /**
   * Tells that nobody waits any more. What was not sent yet, or costs nothing to cancel, is stopped; the rest goes on, and the feed fails with
   * the reason.
   */
  leave(reason: GatewayError): void
  /** Resolves, and never rejects, when the task is final or somebody else's. */
  readonly over: Promise<void>
}

/** Carries a task out to its end, whatever becomes of its caller, and feeds the caller with what comes. */
export function execute(
  task: ExecutableTask,
  planned: PlannedRun,
  options: ExecutionOptions,
  journal: TaskJournal,
  deps: ExecutionDeps,
  feed?: Feed
): Execution {
  const { plan } = planned
  const { provider, model } = plan.candidate
  const stopping = new AbortController()
  const call: Call = {
    id: task.id,
    caller: task.caller,
    signal: stopping.signal,
    deadlineMs: Number.POSITIVE_INFINITY,
    ...(task.choice && { choice: task.choice }),
    log: task.log
  }
  const credentials = createCredentialNotes(task.calledWith)
  const images = new Map<number, StoredImage>()
  let isIntended = task.known.length > 0
  let mayBeBilled = false
  let isCancelled = false
  let isOver = false
  let progress = 0

  return {
    progress: () => progress,
    cancel() {
      isCancelled = true
      stopping.abort(gatewayError('CANCELLED', {}))
    },
    leave(reason) {
      if (isOver) return
      if (!isIntended || stopsWhenLeft()) stopping.abort(reason)
      else feed?.fail(reason)
    },
    // Not at once, so that whoever begins it can still say that it is cancelled or left already.
    over: Promise.resolve()
      .then(run)
      .catch((err: unknown) => task.log.error({ err, task: task.id }, 'a task could not be brought to its end'))
  }

  function stopsWhenLeft(): boolean {
    const { onDisconnect } = planned.request
    if (onDisconnect === OnDisconnect.UNSPECIFIED) return deps.providers.get(provider)?.backend.cancelsFree ?? false
    return onDisconnect === OnDisconnect.CANCEL
  }

  async function run(): Promise<void> {
    await using _ = planned
    await using _claim = journal
    let ending: Extract<ProviderEvent, { kind: 'completed' }> = { kind: 'completed' }
    try {
      for await (const event of partEvents()) {
        if (event.kind === 'completed') ending = event
        else await pass(event)
      }
    } catch (thrown) {
      if (deliveredCount() === 0) return await fail(thrown)
      const error = toGatewayError(thrown)
      noteMissing(error)
      const isWhole = deliveredCount() === plan.work.n
      const what = isWhole ? 'an answer broke off behind its last image' : 'a task ends with fewer images than were asked for'
      task.log.warn({ reason: error.reason, task: task.id }, what)
    }
    const cost = planned.charge(ending.cost, deliveredCount())
    const completed = { ...ending, ...(cost && { cost }), credentials: credentials.kinds() }
    const { kind: _kind, warnings = [], ...rest } = completed
    const result = resultOf({ ...rest, warnings: [...warnings] })
    const isRecorded = await finish({ state: 'succeeded', result, consumesRequestId: true, keepSeconds: task.keepSeconds }, () => {
      feed?.push(completed)
      feed?.end()
    })
    if (!isRecorded) feed?.fail(interruptedElsewhere())
  }

  function partEvents(): AsyncIterable<ProviderEvent> {
    const { parts } = plan
    const isOnly = parts.length === 1
    const blobMeta: BlobMeta = {
      organizationId: ownerOf(task.caller),
      taskId: task.id,
      // Without an end here, the end of the task is theirs.
      lifetimeSeconds:
        planned.permanentLinks || !feed ? Number.POSITIVE_INFINITY : Math.max(task.keepSeconds, planned.wish.linkLifetimeSeconds),
      isPublic: planned.permanentLinks
    }
    const attempt = (position: number, partCall: Call) => {
      const part = parts[position]
      if (!part) throw new RangeError(`there is no part ${position}`)
      const known = task.known.filter((each) => each.part === position).at(-1)
      if (known?.state === 'succeeded') credentials.note(position, known.credential)
      const events = {
        hasCaller: feed !== undefined,
        isLive: isOnly && feed !== undefined,
        isOnly,
        kept: (image: StoredImage) => void images.set(image.index, image),
        intended: (credential: CredentialUse) => {
          isIntended = true
          credentials.note(position, credential)
        },
        lost: () => {
          mayBeBilled = true
        }
      }
      const { mayBegin, mayRetry } = task
      return runPart({ part, position, known, mayBegin, mayRetry, ...events }, planned, blobMeta, partCall, journal, deps)
    }
    if (isOnly) return attempt(0, call)
    return runParts(parts, { maxParallel: options.maxParallel, provider }, call, {
      spool: alreadyKept,
      attempt: (part, partCall) => attempt(parts.indexOf(part), partCall)
    })
  }

  async function pass(event: Exclude<ProviderEvent, { kind: 'completed' }>): Promise<void> {
    if (event.kind === 'progress') progress = event.fraction
    if (event.kind === 'no_image') {
      const { index, outcome, message } = event
      images.set(index, create(StoredImageSchema, { index, outcome, message }))
    }
    if (event.kind !== 'preview') feed?.push(event)
    else if (feed?.isRead) {
      const spooled = deps.spool.take(event.image)
      feed.push({ ...event, image: spooled.body }, () => void spooled[Symbol.asyncDispose]())
      // The provider goes on only when its preview has been taken.
      await spooled.taken
    } else await event.image.read(event.image.form)[Symbol.asyncIterator]().return?.()
  }

  async function fail(thrown: unknown): Promise<void> {
    if (thrown instanceof ClaimLostError) return feed?.fail(interruptedElsewhere())
    const error = toGatewayError(thrown)
    const mayBeBegunAgain = task.mayBegin && !feed && !mayBeBilled && !isCancelled
    if (mayBeBegunAgain && error.reason === 'DATABASE_UNAVAILABLE') return await requeue()
    const isUnknown = mayBeBilled || (isIntended && (error.outcome ?? 'unknown') === 'unknown')
    const told = isUnknown && error.outcome !== undefined && error.outcome !== 'unknown' ? partlyUnknown(error) : thrown
    const state = isCancelled ? 'cancelled' : isUnknown && task.known.length > 0 && !feed ? 'interrupted' : 'failed'
    const result = resultOf({ error: toStoredError(toGatewayError(told)) })
    const keepSeconds = task.keepFailureSeconds
    await finish({ state, result, consumesRequestId: isUnknown, keepSeconds }, () => feed?.fail(told))
    feed?.fail(told)
  }

  /** Nothing was sent, and nobody waits who could be told to ask again. */
  async function requeue(): Promise<void> {
    isOver = true
    try {
      await untilRecorded(() => journal.requeue(), recordingFailed, deps.closing)
    } catch (error) {
      if (!(error instanceof ClaimLostError)) throw error
    }
  }

  /**
   * Makes the task final. A database that fails must not cost a caller what is there: `release` lets it go, and the commit is tried on. False
   * where the task is somebody else's by now.
   */
  async function finish(ending: TaskEnding, release: () => void): Promise<boolean> {
    isOver = true
    deps.checkpoint('closing')
    try {
      await untilRecorded(
        () => journal.finish(ending),
        (err) => {
          recordingFailed(err)
          release()
        },
        deps.closing
      )
    } catch (error) {
      if (error instanceof ClaimLostError) return false
      throw error
    }
    deps.checkpoint('finished')
    // What somebody waits for is logged as a request.
    if (!feed) logEnd(ending)
    release()
    return true
  }

  function logEnd({ state, result }: TaskEnding): void {
    const outcome = result.error ? toGatewayErrorAgain(result.error).reason : 'ok'
    const { organizationId: organization, apiKeyId: key } = task.caller
    const credential = credentials.uses().map(credentialText).join(', ') || undefined
    task.log.info({ task: task.id, state, outcome, organization, key, provider, model, credential, images: deliveredCount() }, 'task')
  }

  function recordingFailed(err: unknown): void {
    task.log.error({ err, task: task.id }, 'the end of a task could not be recorded yet')
  }

  /** One call of the request came to nothing, another one may have been carried out. */
  function partlyUnknown(cause: GatewayError): GatewayError {
    if (isCancelled) return gatewayError('CANCELLED', {}, { outcome: 'unknown', cause })
    return gatewayError('OUTCOME_UNKNOWN', { provider, problem: 'a part of the request was lost' }, { outcome: 'unknown', cause })
  }

  function resultOf(known: Partial<StoredResult>): StoredResult {
    const result = create(StoredResultSchema, { provider, model, acceptedWarnings: plan.warnings, asLinks: planned.wish.form === 'url' })
    const stored = [...images.values()].sort((one, other) => one.index - other.index)
    return Object.assign(result, { images: stored }, known)
  }

  function deliveredCount(): number {
    return images.values().reduce((count, { outcome }) => count + (outcome === ImageOutcome.DELIVERED ? 1 : 0), 0)
  }

  function noteMissing({ message }: GatewayError): void {
    for (let index = 0; index < plan.work.n; index += 1) {
      if (images.has(index)) continue
      images.set(index, create(StoredImageSchema, { index, outcome: ImageOutcome.FAILED, message }))
      feed?.push({ kind: 'no_image', index, outcome: ImageOutcome.FAILED, message })
    }
  }

  function interruptedElsewhere(): GatewayError {
    return gatewayError(
      'OUTCOME_UNKNOWN',
      { provider, problem: 'another process took the request over, because this one could not reach the database in time' },
      { outcome: 'unknown' }
    )
  }
}

/** Every image comes from the store, so that nothing needs to be spooled until its part is due. */
const alreadyKept: Spool = {
  take: (image) => ({ body: image, taken: Promise.resolve(undefined), failure: undefined, [Symbol.asyncDispose]: async () => undefined })
}
