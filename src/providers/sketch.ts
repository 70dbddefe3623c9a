import { createHash } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { create } from '@bufbuild/protobuf'
import { Background, CostSchema, ResolvedParametersSchema } from '../../gen/atelier/v1/image_pb.ts'
import { deadlineExceeded, type ErrorOptions, GatewayError, gatewayError } from '../errors.ts'
import { imageFromBytes } from '../images/image-body.ts'
import { createSketcher } from '../images/sketch/sketcher.ts'
import type { AttemptContext, Provider, ProviderEvent, Work } from './provider.ts'
import { type Failure, readSketchOrder, type SketchOrder, sketchOptions } from './sketch-order.ts'

export interface SketchOptions {
  /** Name of the provider in errors. */
  name: string
}

/**
 * A local renderer that needs no key and no network: posters with the prompt's words, drawn from shapes and colours that the prompt and
 * the seed choose. It is no AI model. The same prompt, seed, size, style, background and format always give the same bytes; without a
 * seed the prompt gives one, and each further image of a call counts it up by one. An edit is drawn on the first image, inside the mask or,
 * translucent, all over it. Partial images are the same drawing with only its first marks. `provider_options`: `delay_ms` and `fail`.
 */
export function createSketchProvider(options: SketchOptions): Provider {
  // Two drawings at 4096x4096 take about 300 MB; more would not be faster on the four threads of the pool.
  const sketcher = createSketcher({ maxConcurrent: 2 })

  async function* run(work: Work, attempt: AttemptContext): AsyncIterable<ProviderEvent> {
    const order = readSketchOrder(work)
    using limit = limitTime(attempt)
    // Previews share the delay, so that they come one by one.
    const stepMs = order.delayMs / (order.previews + 1)
    await pauseFor(stepMs, limit.signal)
    if (order.fail !== undefined && order.fail !== 'cut_off') throw rehearsed(order.fail, options.name)
    for (let index = 0; index < work.n; index++) {
      for (let previewIndex = 0; previewIndex < order.previews; previewIndex++) {
        const share = (previewIndex + 1) / (order.previews + 1)
        const bytes = await draw(order, index, limit.signal, share)
        yield { kind: 'preview', index, previewIndex, image: imageFromBytes(bytes, order.mediaType) }
        if (index === 0) await pauseFor(stepMs, limit.signal)
      }
      const bytes = await draw(order, index, limit.signal)
      if (order.fail === 'cut_off') {
        yield { kind: 'image', index, image: imageFromBytes(firstHalf(bytes, options.name), order.mediaType) }
        throw brokenOff(options.name)
      }
      yield { kind: 'image', index, image: imageFromBytes(bytes, order.mediaType) }
      yield { kind: 'image_details', index }
    }
    yield { kind: 'completed', resolved: resolve(order), cost: create(CostSchema, { totalMicros: 0n, estimated: false }) }
  }

  async function draw(order: SketchOrder, index: number, signal: AbortSignal, share = 1): Promise<Uint8Array> {
    const seed = ((order.seed ?? seedOf(order.sketch.prompt)) + index) % 2 ** 32
    try {
      return await sketcher.draw({ ...order.sketch, seed, share }, signal)
    } catch (error) {
      if (error instanceof GatewayError) throw error
      throw gatewayError(
        'PROVIDER_FAILED',
        { provider: options.name, problem: 'the drawing failed' },
        { outcome: 'rejected', cause: error }
      )
    }
  }

  return { recovery: 'idempotent', cancelsFree: true, understands: sketchOptions, trustedOrigins: [], run }
}

/** A signal that aborts with the GatewayError to throw: when the attempt's aborts, or its time is over. */
function limitTime({ signal, timeoutMs }: AttemptContext): { signal: AbortSignal } & Disposable {
  const limited = new AbortController()
  const onAbort = () => limited.abort(cancelled(signal.reason))
  const onTimeout = () => limited.abort(deadlineExceeded(timeoutMs, nothingMade))
  // Timers beyond 2^31 - 1 ms fire at once.
  const timer = setTimeout(onTimeout, Math.min(timeoutMs, 2_147_483_647))
  if (signal.aborted) onAbort()
  else signal.addEventListener('abort', onAbort, { once: true })
  return {
    signal: limited.signal,
    [Symbol.dispose]() {
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
    }
  }
}

const nothingMade = { outcome: 'rejected' } as const satisfies ErrorOptions

function cancelled(reason: unknown): GatewayError {
  if (reason instanceof GatewayError) return new GatewayError(reason.reason, reason.fields, { ...nothingMade, cause: reason })
  return gatewayError('CANCELLED', {}, nothingMade)
}

async function pauseFor(delayMs: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted()
  if (delayMs === 0) return
  try {
    await pause(delayMs, undefined, { signal })
  } catch (error) {
    throw signal.aborted ? signal.reason : error
  }
}

function rehearsed(failure: Exclude<Failure, 'cut_off'>, provider: string): GatewayError {
  const problem = 'this failure was asked for with `fail`'
  switch (failure) {
    case 'moderation':
      return gatewayError(
        'CONTENT_POLICY_VIOLATION',
        { problem: 'Your request was rejected as a result of our safety system.' },
        { outcome: 'rejected', param: 'prompt', moderation: { stage: 'input', categories: [] } }
      )
    case 'rate_limit':
      return gatewayError('PROVIDER_RATE_LIMITED', { provider, problem }, { outcome: 'rejected', retryAfterMs: 1000 })
    case 'provider_error':
      return gatewayError('PROVIDER_FAILED', { provider, problem }, { outcome: 'unknown' })
  }
}

async function* firstHalf(bytes: Uint8Array, provider: string): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes.subarray(0, Math.ceil(bytes.length / 2))
  throw brokenOff(provider)
}

function brokenOff(provider: string): GatewayError {
  return gatewayError('OUTCOME_UNKNOWN', { provider, problem: 'the image broke off, as `fail` asked for' }, { outcome: 'unknown' })
}

/** The first 32 bits of the prompt's hash. */
function seedOf(prompt: string): number {
  return createHash('sha256').update(prompt).digest().readUInt32BE(0)
}

function resolve({ sketch, outputFormat }: SketchOrder) {
  return create(ResolvedParametersSchema, {
    size: { width: sketch.width, height: sketch.height },
    outputFormat,
    background: sketch.transparent ? Background.TRANSPARENT : Background.OPAQUE
  })
}
