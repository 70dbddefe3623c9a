import type { JsonObject } from '@bufbuild/protobuf'
import { gatewayError } from '../errors.ts'
import type { InputSource } from '../services/take-inputs.ts'
import type { Upload } from '../storage/uploads.ts'

/** What the body of an edit says, whichever form it has. */
export interface EditBody {
  /** The fields beside the images, as JSON would have them. */
  fields: JsonObject
  /** At least one. */
  images: InputSource[]
  mask: InputSource | undefined
}

/** Keeps a file; throws as `Uploads.take` does. */
export type TakeUpload = (source: AsyncIterable<Uint8Array>, param: string) => Promise<Upload>

export const maxImages = 16

export function tooManyImages(param: string): Error {
  return gatewayError('INVALID_PARAMETER', { param, problem: `must be at most ${maxImages} images` })
}
