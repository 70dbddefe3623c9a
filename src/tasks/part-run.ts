import { create } from '@bufbuild/protobuf'
import { ImageOutcome } from '../../gen/atelier/v1/image_pb.ts'
import { type StoredImage, StoredImageSchema, type StoredResult, StoredResultSchema } from '../../gen/atelier/v1/stored_pb.ts'
import type { Call, CredentialUse } from '../call.ts'
import type { Delivery } from '../delivery/deliver.ts'
import { GatewayError, gatewayError, type Outcome, toGatewayError } from '../errors.ts'
import { type ImageLink, isImageBody } from '../events.ts'
import type { ImageBody } from '../images/image-body.ts'
import { actualCost } from '../ledger/actual-cost.ts'
import { askedPixels } from '../ledger/asked-pixels.ts'
import { orderOf } from '../ledger/estimate.ts'
import { withCost } from '../ledger/with-cost.ts'
import type { ProviderEvent } from '../providers/provider.ts'
import { attempt, backendOf, type ConfiguredProvider, isKeyRefused } from '../routing/attempt.ts'
import type { Credentials } from '../routing/credentials.ts'
import type { Part } from '../routing/parts.ts'
import { type BlobMeta, type BlobStore, type IncomingBlob, NotAnImageError, type PendingBlob } from '../storage/blob-store.ts'
import { DatabaseError } from '../storage/database-error.ts'
import type { Links } from '../storage/links.ts'
import { type BegunAttempt, beginAttempt, interrupted } from './begin-attempt.ts'
import type { Checkpoint } from './checkpoint.ts'
import { withRevisedPrompts } from './revised-prompts.ts'
import type { PlannedRun } from './run-order.ts'
import { stopJob } from './stop-job.ts'
import { endingOf } from './stored-ending.ts'
import type { AttemptEnding, KnownAttempt, TaskJournal } from './task-store.ts'
import { withOutcome } from './with-outcome.ts'

/** A part of a task, and what is known of it from before. */
export interface PartRun {
  part: Part
  /** Its place among the parts. */
  position: number
  /** Its latest attempt, of an earlier process. */
  known: KnownAttempt | undefined
  /** What becomes of it where nothing was begun: it is begun, or fails as never started. */
  mayBegin: boolean
  /** Whether it may be bought again when its outcome was lost. */
  mayRetry: boolean
  /** Whether a caller takes the images. Where nobody does, one that cannot be stored is lost. */
  hasCaller: boolean
  /** Whether its images are of use before they are whole. */
  isLive: boolean
  /** Whether its end may wait for that of the task. */
  isOnly: boolean
  /** Hears of every image that is there. */
  kept(image: StoredImage): void
  /** Hears that the provider may be called from now on, with this key. */
  intended(credential: CredentialUse): void
  /** Hears that a call may have been billed of which nothing is there. */
  lost(): void
}

export interface PartRunDeps {
  providers: ReadonlyMap<string, ConfiguredProvider>
  credentials: Pick<Credentials, 'choose' | 'find' | 'recordUse'>
  delivery: Delivery
  blobs: BlobStore
  links: Links
  checkpoint: Checkpoint
  /** Aborts when the process has no time left. */
  closing: AbortSignal
}

/**
 * Carries out one part of a task: records the intent, calls the provider, stores what comes while it passes, and records the outcome; where
 * the provider refuses the key, all of that again with the next one that may be used. Yields what the provider gave in the form that the
 * caller wishes. What an earlier process has begun is gone on with where its provider allows.
 */
export async function* runPart(
  run: PartRun,
  planned: PlannedRun,
  blobMeta: BlobMeta,
  call: Call,
  journal: TaskJournal,
  deps: PartRunDeps
): AsyncGenerator<ProviderEvent, void, undefined> {
  const { known, part } = run
  if (known?.state === 'succeeded' && known.result) {
    for (const image of known.result.images) run.kept(image)
    yield* toEvents(known.result, part)
    return
  }
  let begun = await beginAttempt(run, planned, call, journal, deps)
  const { plan, wish } = planned
  const { provider } = plan.candidate
  const images: StoredImage[] = []
  const missing: StoredImage[] = []
  const blobs: PendingBlob[] = []
  /** What nothing will lead to unless it is noted. */
  const loose = new Set<IncomingBlob>()
  const result = create(StoredResultSchema, { provider, model: plan.candidate.model, asLinks: wish.form === 'url' })
  let isClosed = false

  for (let next: BegunAttempt | undefined = begun; next; ) {
    begun = next
    next = undefined
    isClosed = false
    try {
      call.signal.throwIfAborted()
      const upstream = withCost(attempt(plan, part, deps.providers, begun.credential, call, begun.record), (delivered, ending) =>
        actualCost(orderOf(plan.candidate, part.work), delivered, ending)
      )
      const delivered = deps.delivery.deliver(upstream, wish, call, host)
      const { promptAsRevised } = plan
      for await (const event of promptAsRevised === undefined ? delivered : withRevisedPrompts(delivered, promptAsRevised)) {
        if (event.kind === 'image') yield* keep(event.index, event.image)
        else if (event.kind === 'completed') {
          const { kind: _, warnings, ...ending } = event
          Object.assign(result, ending, { warnings: warnings ?? [] })
          await close()
          yield event
        } else {
          if (event.kind === 'image_details') {
            const { kind: _, index, ...details } = event
            Object.assign(images.find((image) => image.index === index + part.firstIndex) ?? {}, details)
          }
          if (event.kind === 'no_image') {
            const { index, outcome, message } = event
            missing.push(create(StoredImageSchema, { index: index + part.firstIndex, outcome, message }))
          }
          yield event
        }
      }
    } catch (error) {
      if (isClosed) throw error
      // What is there was made and is paid.
      if (images.length > 0) {
        await close()
        throw error
      }
      const outcome = await outcomeOf(error)
      const beginNext = isKeyRefused(error) && !call.signal.aborted ? begun.beginNext : undefined
      await giveUp(outcome, { goesOn: beginNext !== undefined })
      if (!beginNext) throw error instanceof GatewayError ? settledAs(error, outcome) : error
      next = await beginNext()
    } finally {
      if (!isClosed) await (images.length > 0 ? close() : leftOutcome().then((outcome) => giveUp(outcome)))
      for (const incoming of loose) void incoming.discard()
    }
  }

  async function* keep(index: number, image: ImageBody | ImageLink): AsyncGenerator<ProviderEvent, void, undefined> {
    if (!isImageBody(image)) {
      const { imageId, url, mediaType } = image
      note(index, { mediaType, source: imageId === undefined ? { case: 'url', value: url } : { case: 'imageId', value: imageId } })
      yield { kind: 'image', index, image }
      return
    }
    // The image of which a link could not be made: it goes out as it is.
    if (wish.form === 'url') {
      note(index, { mediaType: image.mediaType })
      yield { kind: 'image', index, image }
      return
    }
    const incoming = take(image)
    const event = { kind: 'image', index, image: incoming.body } as const
    if (run.isLive) yield event
    const pending = await incoming.stored.catch((error: unknown) => {
      if (!isUnkept(error)) throw error
      if (!run.hasCaller) throw asFailure(error)
      call.log.error({ err: error }, 'an image could not be kept; its caller gets it all the same')
      return undefined
    })
    deps.checkpoint('stored')
    loose.delete(incoming)
    if (pending) blobs.push(pending)
    note(index, {
      mediaType: pending?.blob.mediaType ?? image.mediaType,
      source: pending ? { case: 'imageId', value: pending.blob.id } : { case: undefined }
    })
    if (!run.isLive) yield event
  }

  async function host(image: ImageBody): Promise<ImageLink | ImageBody> {
    const incoming = take(image)
    try {
      const pending = await incoming.stored
      loose.delete(incoming)
      blobs.push(pending)
      const { blob } = pending
      const url = planned.permanentLinks ? deps.links.permanent(blob) : deps.links.sign(blob)
      return { url, mediaType: blob.mediaType, imageId: blob.id }
    } catch (error) {
      if (!run.hasCaller || !isStorageFailed(error)) throw asFailure(error)
      loose.delete(incoming)
      return incoming.body
    }
  }

  function take(image: ImageBody): IncomingBlob {
    const incoming = deps.blobs.take(image, blobMeta)
    loose.add(incoming)
    return incoming
  }

  /** What keeps an image from being stored, as its caller is told. */
  function asFailure(error: unknown): unknown {
    const fail = (problem: string) => gatewayError('PROVIDER_FAILED', { provider, problem }, { outcome: 'unknown', cause: error })
    if (error instanceof NotAnImageError) return fail(error.message)
    return error instanceof SyntaxError ? fail('its image is not valid base64') : error
  }

  function note(index: number, image: Pick<StoredImage, 'mediaType'> & Partial<Pick<StoredImage, 'source'>>): void {
    const stored = create(StoredImageSchema, { index: index + part.firstIndex, outcome: ImageOutcome.DELIVERED })
    Object.assign(stored, image)
    images.push(stored)
    run.kept(stored)
  }

  async function close(): Promise<void> {
    isClosed = true
    result.images = [...images, ...missing]
    const pixels = askedPixels(orderOf(plan.candidate, part.work))
    await record({ outcome: 'succeeded', result, blobs, ...(pixels !== undefined && { askedPixels: pixels }) })
  }

  async function giveUp(outcome: Outcome, { goesOn = false } = {}): Promise<void> {
    isClosed = true
    if (outcome === 'unknown') run.lost()
    await record({ outcome }, { goesOn })
  }

  /** What cannot be written now is written with the end of the task; a database that is away must not cost what is there. */
  async function record(ending: AttemptEnding, { goesOn = false } = {}): Promise<void> {
    try {
      await journal.close(begun.attemptId, ending, { withEnding: run.isOnly && !goesOn })
    } catch (err) {
      if (!(err instanceof DatabaseError)) throw err
      call.log.error({ err }, 'the end of a call to a provider could not be recorded yet')
    }
  }

  async function outcomeOf(error: unknown): Promise<Outcome> {
    const { outcome = 'unknown', retryable } = toGatewayError(error)
    // That a call could not be repeated, or a job not be asked for, or neither with this key any more, says nothing about the call that an
    // earlier process made.
    const saysNothing = begun.isInherited && (retryable || isKeyRefused(error))
    const isKnown = outcome === 'rejected' ? !saysNothing : outcome === 'not_sent' && !begun.isInherited
    if (isKnown) return outcome
    return call.signal.aborted ? leftOutcome() : 'unknown'
  }

  /** What becomes of a call that nobody waits for any more; a job goes on until it is stopped. */
  async function leftOutcome(): Promise<'rejected' | 'unknown'> {
    const configured = deps.providers.get(provider)
    const backend = configured && backendOf(configured, call.choice)
    if (begun.jobId !== undefined && backend?.cancel) return stopJob(begun.jobId, backend, begun.credential.secret, call.log)
    return backend?.cancelsFree ? 'rejected' : 'unknown'
  }

  function settledAs(error: GatewayError, outcome: Outcome): GatewayError {
    if ((error.outcome ?? 'unknown') === outcome) return error
    return outcome === 'unknown' ? interrupted(provider, error) : withOutcome(error, outcome)
  }
}

/** Whether the image reached, or will reach, its caller although it is not in the store. */
function isUnkept(error: unknown): boolean {
  return error instanceof NotAnImageError || error instanceof SyntaxError || isStorageFailed(error)
}

function isStorageFailed(error: unknown): boolean {
  return error instanceof GatewayError && error.reason === 'STORAGE_FAILED'
}

/** What an earlier process has recorded of a part, as events; nobody is there to read its images. */
function* toEvents(result: StoredResult, part: Part): Generator<ProviderEvent, void, undefined> {
  for (const { index, outcome, message, source, mediaType } of result.images) {
    const url = source.case === 'url' ? source.value : ''
    if (outcome !== ImageOutcome.DELIVERED) yield { kind: 'no_image', index: index - part.firstIndex, outcome, message }
    else yield { kind: 'image', index: index - part.firstIndex, image: { url, mediaType } }
  }
  yield endingOf(result)
}
