import type { DeleteImageRequest } from '../../gen/atelier/v1/image_service_pb.ts'
import { type Call, ownerOf } from '../call.ts'
import { gatewayError } from '../errors.ts'
import { type BlobStore, isBlobId } from '../storage/blob-store.ts'

/** Deletes an image of the caller's, which ends every link to it. Throws IMAGE_NOT_FOUND for any other id. */
export function createDeleteImage(deps: { blobs: BlobStore }) {
  return async ({ imageId }: DeleteImageRequest, call: Call): Promise<void> => {
    const isDeleted = isBlobId(imageId) && (await deps.blobs.delete(imageId, ownerOf(call.caller)))
    if (!isDeleted) throw gatewayError('IMAGE_NOT_FOUND', {}, { param: 'image_id' })
  }
}
