import type { JsonObject } from '@bufbuild/protobuf'
import type { CredentialKind } from '../gen/atelier/v1/credential_pb.ts'
import type { Cost, ImageOutcome, ResolvedParameters, Usage, Warning } from '../gen/atelier/v1/image_pb.ts'
import type { ImageBody } from './images/image-body.ts'

/** An image that somebody else serves: the provider, or this server's own store. */
export interface ImageLink {
  readonly url: string
  /** Empty where it is not known. */
  readonly mediaType: string
  /** Of an image in this server's own store. */
  readonly imageId?: string
}

/**
 * What every operation yields, in this order: `accepted` once, then for each image its `image` (or `no_image`) and at most one
 * `image_details`, then `completed` once. `progress` (0 to 1, of the whole request) and an image's `preview`s may come before that image,
 * where the request asks for partial images. A failure is thrown. An `ImageBody` must be read, or left, before the next event is asked for.
 */
export type GenerationEvent =
  | {
      kind: 'accepted'
      /** Empty where no tasks are kept. */
      taskId: string
      /** Unix seconds; `created` in answers, the same in every repetition of one. */
      createdAt: number
      /** Whether this is the result of an earlier execution, read again. */
      isReplay: boolean
      provider: string
      model: string
      warnings: readonly Warning[]
    }
  | { kind: 'progress'; fraction: number }
  | { kind: 'preview'; index: number; previewIndex: number; image: ImageBody }
  | { kind: 'image'; index: number; image: ImageBody | ImageLink }
  /** What the provider said about an image; it may only be known after the image's last byte. */
  | { kind: 'image_details'; index: number; revisedPrompt?: string; providerFields?: JsonObject }
  | { kind: 'no_image'; index: number; outcome: ImageOutcome; message: string }
  | {
      kind: 'completed'
      usage?: Usage
      resolved?: ResolvedParameters
      cost?: Cost
      warnings?: readonly Warning[]
      providerFields?: JsonObject
      /** Whose keys the provider was called with; a provider does not say so. */
      credentials?: CredentialKind[]
    }

export function isImageBody(image: ImageBody | ImageLink): image is ImageBody {
  return 'read' in image
}
