import { ImageOutcome } from '../../gen/atelier/v1/image_pb.ts'
import type { Call } from '../call.ts'
import { GatewayError, gatewayError, toGatewayError } from '../errors.ts'
import type { ProviderEvent } from '../providers/provider.ts'
import type { Part } from '../routing/parts.ts'
import type { Spool } from '../storage/spool.ts'
import { mergeEndings } from './merge-endings.ts'
import { type RunningPart, startPart } from './running-part.ts'

export interface RunPartsOptions {
  /** Most parts that run at a time. */
  maxParallel: number
  /** Name of the provider, for errors. */
  provider: string
}

export interface RunPartsDeps {
  spool: Spool
  /** Makes the call of a part. */
  attempt(part: Part, call: Call): AsyncIterable<ProviderEvent>
}

type NoImage = Extract<ProviderEvent, { kind: 'no_image' }>

/**
 * Runs the parts of a request in parallel and yields what one call for all images would have yielded, images in order. An image that a
 * part failed to give is `no_image`; an error is thrown only where there is no image at all, or the caller is gone. Leaving the
 * iteration stops every part.
 */
export async function* runParts(
  parts: readonly Part[],
  options: RunPartsOptions,
  call: Call,
  deps: RunPartsDeps
): AsyncGenerator<ProviderEvent, void, undefined> {
  await using running = startInTurn(parts, options, call, deps)
  const endings: Extract<ProviderEvent, { kind: 'completed' }>[] = []
  const failures: unknown[] = []
  const held: NoImage[] = []
  let images = 0
  for (const [position, part] of parts.entries()) {
    const missing = new Set(Array.from({ length: part.work.n }, (_, index) => part.firstIndex + index))
    let failure: unknown
    try {
      for await (const event of running.at(position).events()) {
        if (event.kind === 'completed') {
          endings.push(event)
          continue
        }
        if (event.kind === 'progress') {
          yield { ...event, fraction: (position + event.fraction) / parts.length }
          continue
        }
        const placed = { ...event, index: event.index + part.firstIndex }
        if (placed.kind === 'image') images += 1
        if (placed.kind !== 'preview') missing.delete(placed.index)
        if (images > 0) yield* held.splice(0)
        if (placed.kind === 'no_image' && images === 0) held.push(placed)
        else yield placed
      }
    } catch (error) {
      if (call.signal.aborted) throw error
      failure = error
      failures.push(error)
      // Its message may quote the prompt, which must not be logged.
      call.log.warn({ reason: toGatewayError(error).reason, part: position }, 'a part of the request failed')
    }
    for (const index of missing) held.push(noImage(index, failure))
    if (images > 0) yield* held.splice(0)
  }
  if (images === 0) throw withoutImages(failures, held, options.provider)
  yield mergeEndings(endings, { isWhole: !failures.some(isUnknown) })
}

interface Parts extends AsyncDisposable {
  /** The part at this place; it has been started when all before it are over. */
  at(position: number): RunningPart
}

/** Starts the parts in order, the next one whenever the provider is through with one. */
function startInTurn(parts: readonly Part[], { maxParallel }: RunPartsOptions, call: Call, deps: RunPartsDeps): Parts {
  const stopping = new AbortController()
  const stoppable = { ...call, signal: AbortSignal.any([call.signal, stopping.signal]) }
  const started: RunningPart[] = []
  const startNext = () => {
    const part = parts[started.length]
    if (!part || stopping.signal.aborted) return
    const running = startPart(deps.attempt(part, stoppable), deps.spool)
    started.push(running)
    void running.over.then(startNext)
  }
  for (let place = 0; place < maxParallel; place += 1) startNext()
  return {
    at(position) {
      const part = started[position]
      if (!part) throw new Error(`part ${position} was not started although all before it are over`)
      return part
    },
    async [Symbol.asyncDispose]() {
      stopping.abort(gatewayError('CANCELLED', {}, { outcome: 'unknown' }))
      await Promise.all(started.map((part) => part[Symbol.asyncDispose]()))
    }
  }
}

function noImage(index: number, failure: unknown): NoImage {
  if (failure === undefined) return { kind: 'no_image', index, outcome: ImageOutcome.FAILED, message: 'the provider returned no image' }
  const { reason, message } = toGatewayError(failure)
  const outcome = reason === 'CONTENT_POLICY_VIOLATION' ? ImageOutcome.MODERATED : ImageOutcome.FAILED
  return { kind: 'no_image', index, outcome, message }
}

/** What may have been billed must show; apart from that the parts are alike, and the first one speaks for all. */
function withoutImages(failures: readonly unknown[], missing: readonly NoImage[], provider: string): unknown {
  const failure = failures.find(isUnknown) ?? failures[0]
  if (failure !== undefined) return failure
  const problem = missing[0]?.message ?? 'the provider returned no image'
  if (missing.some(({ outcome }) => outcome === ImageOutcome.MODERATED)) {
    return gatewayError('CONTENT_POLICY_VIOLATION', { problem }, { outcome: 'unknown', moderation: { stage: 'output', categories: [] } })
  }
  return gatewayError('PROVIDER_FAILED', { provider, problem }, { outcome: 'unknown' })
}

function isUnknown(failure: unknown): boolean {
  return !(failure instanceof GatewayError) || failure.outcome === 'unknown'
}
