import type { Logger } from '../../log.ts'
import type { Database } from '../../storage/database.ts'
import type { CallbackRow } from '../../storage/schema.ts'
import type { Sealer } from '../../storage/seal.ts'
import type { UntrustedUrlFetcher } from '../../upstream/untrusted-url.ts'
import type { Checkpoint } from '../checkpoint.ts'
import { type CallbackTry, createCallbackQueue } from './callback-queue.ts'
import { callbackWaitMs } from './callback-schedule.ts'
import type { CallbackSecrets } from './callback-secrets.ts'
import { type CallbackAnswer, createCallbackSender } from './callback-sender.ts'
import { createCallbackSlots } from './callback-slots.ts'
import { type Clock, systemClock } from './clock.ts'

/**
 * Delivers what is due, at least once, from its creation on. Disposing it takes nothing new on, lets what is being sent finish within the
 * drain time, and leaves the rest to whoever comes next.
 */
export interface CallbackDispatcher extends AsyncDisposable {
  /** Sends the callback of the task again, with all its tries before it. False where the organization has no such task with a callback. */
  redeliver(taskId: string, organizationId: string): Promise<boolean>
}

export interface CallbackDispatcherOptions {
  /** Of this program, for the `user-agent`. */
  version: string
  /** Most deliveries at a time; 64 unless told. */
  maxConcurrent?: number
  /** Most of them to one receiver; 4 unless told. */
  maxPerReceiver?: number
  /** For one try, from the look-up to the answer; 20 s unless told. */
  timeoutMs?: number
  /** How long disposing waits for what is being sent; 2 s unless told. */
  drainMs?: number
}

export interface CallbackDispatcherDeps {
  database: Database
  sealer: Sealer
  fetcher: Pick<UntrustedUrlFetcher, 'post'>
  secrets: Pick<CallbackSecrets, 'signing'>
  /** What to tell of a task that is final; undefined where it is no longer kept. */
  body: (taskId: string, organizationId: string) => Promise<string | undefined>
  log: Logger
  checkpoint?: Checkpoint
  clock?: Clock
  /** From 0 to 1, for the jitter. */
  random?: () => number
}

/** What a try came to; `expired` where there is nothing left to tell. */
type Outcome = Omit<CallbackAnswer, 'verdict'> & { verdict: CallbackAnswer['verdict'] | 'expired' }

/** Longer than a try and everything around it can take; what a crash left is sent again when it is over. */
const leaseMs = 60_000
/** For what no announcement tells of, and while the database does not answer. */
const pollMs = 5_000
/** While other processes are faster at what is due. */
const retryMs = 500

export function createCallbackDispatcher(options: CallbackDispatcherOptions, deps: CallbackDispatcherDeps): CallbackDispatcher {
  const { database, sealer, log, clock = systemClock } = deps
  const queue = createCallbackQueue(deps)
  const send = createCallbackSender(options, deps)
  const slots = createCallbackSlots({ total: options.maxConcurrent ?? 64, perReceiver: options.maxPerReceiver ?? 4 })
  const abandoned = new AbortController()
  let pumping: Promise<void> | undefined
  let isWanted = false
  let isEnding = false
  let cancelTimer = () => {}

  const stopListening = database.onAnnouncement((topic) => {
    if (topic === 'callbacks' || topic === undefined) wake()
  })
  wake()

  return {
    redeliver: (taskId, organizationId) => queue.redeliver(taskId, organizationId, clock.now()),
    async [Symbol.asyncDispose]() {
      isEnding = true
      stopListening()
      cancelTimer()
      await pumping
      const stopWaiting = systemClock.after(options.drainMs ?? 2_000, () => abandoned.abort(new Error('the server is shutting down')))
      await slots.empty()
      stopWaiting()
    }
  }

  function wake(): void {
    isWanted = true
    if (!isEnding) pumping ??= pump()
  }

  async function pump(): Promise<void> {
    // Nothing may be awaited between the last look at `isWanted` and the moment from which the next wake starts another pump.
    await undefined
    while (isWanted && !isEnding) {
      isWanted = false
      cancelTimer()
      const waitMs = await takeOn().catch((err: unknown) => {
        log.error({ err }, 'due callbacks could not be read')
        return pollMs
      })
      if (!isEnding) cancelTimer = clock.after(waitMs, wake)
    }
    pumping = undefined
  }

  /** Begins what is due and fits in. Returns after how many milliseconds to look again, unless something is over or announced before. */
  async function takeOn(): Promise<number> {
    while (slots.free() > 0 && !isEnding) {
      const nowMs = clock.now()
      const { seen, claimed } = await queue.claim({
        nowMs,
        leaseUntilMs: nowMs + leaseMs,
        limit: slots.free(),
        without: slots.fullReceivers(),
        pick: (due) => (isEnding ? [] : slots.pick(due))
      })
      for (const callback of claimed) begin(callback)
      if (seen === 0) break
      if (claimed.length === 0) return retryMs
    }
    const nextMs = slots.free() === 0 ? undefined : await queue.nextDueMs(slots.fullReceivers())
    return nextMs === undefined ? pollMs : Math.min(Math.max(nextMs - clock.now(), 0), pollMs)
  }

  function begin(callback: CallbackRow): void {
    const release = slots.hold(callback.receiver)
    void deliver(callback)
      .catch((err: unknown) => log.error({ err, callbackId: callback.id }, 'the delivery of a callback could not be recorded'))
      .finally(() => {
        release()
        wake()
      })
  }

  async function deliver(callback: CallbackRow): Promise<void> {
    const atMs = clock.now()
    const outcome = await attempt(callback, atMs)
    if (outcome === undefined) return
    if (outcome.verdict === 'delivered') deps.checkpoint?.('called')
    const { status, problem } = outcome
    const next = nextOf(callback, outcome)
    await queue.record(callback, { atMs, durationMs: Math.max(0, clock.now() - atMs), status, problem, next })
    const { id: callbackId, task_id: taskId, attempts } = callback
    if (next.state !== 'delivered')
      log.warn({ callbackId, taskId, attempts, status, problem, state: next.state }, 'a callback was not delivered')
  }

  /** Undefined where it was given up with the server: whoever holds the lease next sends it again. */
  async function attempt(callback: CallbackRow, atMs: number): Promise<Outcome | undefined> {
    const { id, task_id: taskId, organization_id: organizationId } = callback
    try {
      const body = await deps.body(taskId, organizationId)
      if (body === undefined) return { verdict: 'expired', status: 0, problem: 'the task is no longer kept' }
      const url = Buffer.from(sealer.open(callback.url, { purpose: 'callback', organizationId, id })).toString()
      return await send({ id, organizationId, url, body, atMs }, abandoned.signal)
    } catch (err) {
      if (abandoned.signal.aborted) return undefined
      log.error({ err, callbackId: id, taskId }, 'a callback could not be made')
      return { verdict: 'failed', status: 0, problem: 'the server could not make the callback; its log says why' }
    }
  }

  function nextOf({ attempts }: CallbackRow, { verdict, retryAfterMs }: Outcome): CallbackTry['next'] {
    if (verdict === 'expired') return { state: 'failed' }
    if (verdict !== 'failed') return { state: verdict }
    const waitMs = callbackWaitMs(attempts, retryAfterMs, deps.random)
    return waitMs === undefined ? { state: 'failed' } : { state: 'pending', atMs: clock.now() + waitMs }
  }
}
