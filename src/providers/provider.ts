import type { InputFidelity } from '../../gen/atelier/v1/image_pb.ts'
import type { GenerateImagesRequest } from '../../gen/atelier/v1/image_service_pb.ts'
import type { GenerationEvent } from '../events.ts'
import type { StoredImage } from '../images/image-body.ts'
import type { Log } from '../log.ts'

/** A provider backend: one adapter bound to one base URL. */
export interface Provider {
  /**
   * What can be done about an attempt whose answer was lost. `idempotent`: send it again with the same key; `resumable`: poll the job;
   * `opaque`: nothing, it may have been made and billed.
   */
  readonly recovery: 'idempotent' | 'resumable' | 'opaque'
  /** Whether a call that is left is not billed. Unset: it may be, so that a call which nobody waits for any more is better finished. */
  readonly cancelsFree?: boolean
  /** Which `provider_options` it understands; a function where that depends on the provider's name for the model. */
  readonly understands: 'any option' | readonly string[] | ((upstreamModel: string) => readonly string[])
  /** Whether it passes `user` and `safety_identifier` on to its vendor, besides one that understands any option. */
  readonly passesUser?: boolean
  /** Origins whose URLs in its answers may be fetched although they are private. */
  readonly trustedOrigins: readonly string[]
  /**
   * Makes one upstream call and yields what it gives, without `accepted`. Throws GatewayErrors that state their `outcome`. Leaving the
   * iteration early stops the call.
   */
  run(work: Work, attempt: AttemptContext): AsyncIterable<ProviderEvent>
  /** Asks for the result of a job that `submitted` named, in an earlier process perhaps. Only of `resumable` providers. */
  resume?(jobId: string, work: Work, attempt: AttemptContext): AsyncIterable<ProviderEvent>
  /** Stops a job that `submitted` named. Only of `resumable` providers. */
  cancel?(jobId: string, attempt: AttemptContext): Promise<'cancelled' | 'too_late'>
}

export type ProviderEvent = Exclude<GenerationEvent, { kind: 'accepted' }>

/** One call to a provider: everything in it is legal for the model. */
export interface Work {
  /** The request in the serving model's own terms: what it cannot honour has been taken out or translated. */
  request: GenerateImagesRequest
  /** The provider's name for the model. */
  upstreamModel: string
  /** Images to ask for in this call. */
  n: number
  /** The images to work on; unset where images are made from the prompt alone. */
  inputs?: EditInputs
}

/** What an edit works on. Every file has been checked: its type by its first bytes, its size by its header. */
export interface EditInputs {
  /** At least one; no more than the model takes. */
  images: readonly InputImage[]
  /** A PNG of the first image's size; fully transparent pixels are to be painted over. Only for models that take a mask. */
  mask?: InputImage
  inputFidelity: InputFidelity
}

/** An image that was uploaded, fetched or kept, and can be read any number of times until the request ends. */
export interface InputImage extends StoredImage {
  width: number
  height: number
}

export interface AttemptContext {
  /** The key to call the provider with; empty where it asks for none. */
  credential: string
  /** Whether the key is somebody else's than the operator's, whose account it must not be sent along with. Unset: it is the operator's. */
  isForeignKey?: boolean
  signal: AbortSignal
  /** Longest time for the whole call, its body included. */
  timeoutMs: number
  log: Log
  /**
   * Names the job; the call may go on only when the promise has resolved. Providers that are `resumable` call it once, as soon as they know.
   * Unset where nothing is recorded.
   */
  submitted?(jobId: string): Promise<void>
  /** The same for every try of one attempt, for providers that are `idempotent`. Unset where nothing is recorded. */
  idempotencyKey?: string
}
