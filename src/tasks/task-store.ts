import type { StoredRequest, StoredResult } from '../../gen/atelier/v1/stored_pb.ts'
import type { Task } from '../../gen/atelier/v1/task_pb.ts'
import type { Caller, CredentialUse } from '../call.ts'
import type { PendingBlob } from '../storage/blob-store.ts'
import { orderedId } from '../storage/random-id.ts'
import type { AttemptRow, TaskRow, TaskStateText } from '../storage/schema.ts'

/** A fresh, unguessable id. */
export function newTaskId(): string {
  return `task_${orderedId()}`
}

/** A request on its way into the store. */
export interface NewTask {
  /** From `newTaskId`. */
  id: string
  caller: Caller
  operation: TaskRow['operation']
  mode: TaskRow['mode']
  request: StoredRequest
  /** Fingerprints of the normalized request, the current one first. */
  fingerprints: readonly string[]
  traceId: string
  onInterrupt: TaskRow['on_interrupt']
  /** The caller's own id for it; empty where it gave none. */
  requestId: string
  provider: string
  model: string
  /** Unix milliseconds; what its caller is told as `created`. */
  createdAtMs: number
  /** Rows of what was stored for it, such as input images. */
  blobs: readonly PendingBlob[]
}

export type Admission =
  /** An attached task, owned by this process, or a queued one. */
  | { kind: 'created'; claim: Claim }
  /** The same request came before, under the same key. */
  | { kind: 'existing'; taskId: string }

/** The right to write a task: refused as soon as somebody else has taken it over. Its journal must be disposed of. */
export interface Claim {
  taskId: string
  fence: number
}

/** A task that this process has taken on. */
export interface ClaimedTask extends Claim {
  row: Omit<TaskRow, 'request' | 'result'>
  request: StoredRequest
  /** What was begun for it, in the order of part and ordinal. */
  attempts: readonly KnownAttempt[]
}

export interface KnownAttempt {
  id: string
  part: number
  ordinal: number
  provider: string
  state: AttemptRow['state']
  /** Whose key the provider was called with. */
  credential: CredentialUse
  jobId?: string
  result?: StoredResult
}

/** The decision to call a provider. */
export interface Intent {
  part: number
  ordinal: number
  provider: string
  model: string
  /** What it may cost at most; undefined where no price is known. */
  reserveMicros: number | undefined
  /** Whose key the provider is called with. */
  credential: CredentialUse
}

/** How a call to a provider ended. */
export type AttemptEnding =
  /** What it delivered, and the rows of the images that were stored for it. */
  | {
      outcome: 'succeeded'
      result: StoredResult
      blobs: readonly PendingBlob[]
      /** Pixels of each image as it was asked for, where that says so. */
      askedPixels?: number
    }
  /** `not_sent` and `rejected` release what was reserved; `unknown` settles it as spent. */
  | { outcome: 'not_sent' | 'rejected' | 'unknown' }

/** How a task ended. */
export interface TaskEnding {
  state: Extract<TaskStateText, 'succeeded' | 'failed' | 'cancelled' | 'interrupted'>
  result: StoredResult
  /** What its failure means for its request id: only what may have been billed consumes it. */
  consumesRequestId: boolean
  /** Seconds for which it is kept from now on, and those of its images whose rows came without an end. */
  keepSeconds: number
  /** Rows of images that no attempt's ending has brought. */
  blobs?: readonly PendingBlob[]
}

/**
 * The journal of one execution of a task. Every promise resolves when the disk has it. Methods throw `ClaimLostError` when another process
 * has taken the task over; `close` and `finish` book what is known of the money before they do. What failed because the database could not
 * be reached may be called again with the same arguments, also where it had been written all the same; only a failed intent is over, and
 * `finish` or `requeue` sees to it that nothing stays reserved for it.
 *
 * Disposing it lets go of the task: one that is neither final nor queued by then is handed out again by `claimAbandoned`.
 */
export interface TaskJournal extends AsyncDisposable {
  readonly claim: Claim
  /** Records the decision, its reservation and their booking in one commit; only then may a socket be opened. Returns the attempt's id. */
  intend(intent: Intent): Promise<string>
  /** Records the provider's name for its job. */
  submitted(attemptId: string, jobId: string): Promise<void>
  /** Records how an attempt ended and settles its money. `withEnding` keeps it back for the commit of `finish` or `requeue`. */
  close(attemptId: string, ending: AttemptEnding, options?: { withEnding?: boolean }): Promise<void>
  /** Makes the task final, with its callback's row in the same commit. */
  finish(ending: TaskEnding): Promise<void>
  /** Puts a task that nothing was sent for, or that may be sent again, back into the queue. */
  requeue(): Promise<void>
}

/** Another process has taken the task over, or it is final. */
export class ClaimLostError extends Error {
  constructor(taskId: string) {
    super(`the task ${taskId} is not this process's any more`)
    this.name = 'ClaimLostError'
  }
}

/** A task as it is kept. */
export interface KeptTask {
  /** What callers may see of it, without its result and its parameters. */
  task: Task
  state: TaskStateText
  mode: TaskRow['mode']
  apiKeyId: string
  organizationId: string
  operation: TaskRow['operation']
  createdAtMs: number
  finishedAtMs: number | undefined
  expiresAtMs: number
  /** Undefined until it is final. Opened when it is asked for. */
  readonly result: StoredResult | undefined
  /** Opened when it is asked for. */
  readonly request: StoredRequest
}

export interface ListTasksFilter {
  organizationId: string
  limit: number
  /** Only tasks older than this one. */
  before?: { createdAtMs: number; id: string }
  /** Unset: any. An empty list: none. */
  ids?: readonly string[]
  traceIds?: readonly string[]
  states?: readonly TaskStateText[]
  operations?: readonly TaskRow['operation'][]
  /** Both included. */
  createdFromMs?: number
  createdToMs?: number
  /** How many of the newest to leave out. */
  offset?: number
}

/**
 * Keeps tasks. Methods that change something resolve when the disk has it. A database that cannot be reached is
 * DATABASE_UNAVAILABLE with the outcome `not_sent`, except in a journal after an intent, where it is thrown as it comes.
 */
export interface TaskStore {
  /** Name of this process among those that share the database. */
  readonly processId: string
  /**
   * Records a request. Throws REQUEST_ID_REUSED where its id was used for another request, and QUEUE_FULL for a detached one too many. An
   * attached task without a request id is recorded together with its first intent, and not at all if there is none.
   */
  admit(task: NewTask): Promise<Admission>
  /** The journal of a task that this process has claimed. */
  journal(claim: Claim): TaskJournal
  /** Takes queued tasks on, oldest first. */
  claimQueued(limit: number): Promise<ClaimedTask[]>
  /** Takes over running tasks whose process has ended or lost its lease. */
  claimAbandoned(limit: number): Promise<ClaimedTask[]>
  /** Lets go at once of all that this process works on, so that others need not wait for its lease. It admits nothing any more. */
  resign(): Promise<void>
  /** A task of the organization that has not expired; undefined for any other id. */
  find(id: string, organizationId: string): Promise<KeptTask | undefined>
  list(filter: ListTasksFilter): Promise<KeptTask[]>
  /** Resolves with the task when it is final or beyond the revision, or with its present state when the signal aborts. */
  waitFor(id: string, organizationId: string, until: { afterRevision?: number; signal: AbortSignal }): Promise<KeptTask | undefined>
  /** Makes a queued task cancelled, or asks the process that runs it to do so. Undefined where `find` finds nothing. */
  cancel(id: string, organizationId: string): Promise<KeptTask | undefined>
  /**
   * Calls the listener once with the id of each task that this process runs and that somebody wants cancelled. One of which that was known
   * when it was claimed says so in its row. Returns what stops it.
   */
  onCancel(listener: (taskId: string) => void): () => void
  /**
   * Notes, soon and not at once, that the answer of a finished task reached its caller whole: the result and its images may go after
   * `keepSeconds`, but not before its request id does, nor what lies behind permanent links.
   */
  delivered(taskId: string, keepSeconds: number): void
  /** Notes that the connection of the caller broke before the answer was through. */
  lost(taskId: string): void
  /**
   * A task of the same API key and with one of the fingerprints whose caller was lost in the last ten minutes, given out once; undefined
   * where there is none. One that ended and certainly cost nothing is better begun anew, and is not given out.
   */
  rejoin(caller: Caller, fingerprints: readonly string[]): Promise<string | undefined>
  /**
   * Deletes the tasks that have expired and whose callbacks are through, with their attempts, callbacks and request ids. Bookings stay.
   * Returns the number of tasks.
   */
  sweep(nowMs: number): Promise<number>
}
