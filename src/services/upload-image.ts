import { create } from '@bufbuild/protobuf'
import { type UploadImageResponse, UploadImageResponseSchema } from '../../gen/atelier/v1/image_service_pb.ts'
import { checkInput } from '../admission/check-input.ts'
import { type Call, ownerOf } from '../call.ts'
import type { BlobStore } from '../storage/blob-store.ts'
import type { Uploads } from '../storage/uploads.ts'

const lifetimeSeconds = 3600

/** Keeps an image for an hour, for edits by the same organization. Throws as an edit would throw for the same file. */
export function createUploadImage(deps: { uploads: Uploads; blobs: BlobStore }) {
  return async (source: AsyncIterable<Uint8Array>, call: Call): Promise<UploadImageResponse> => {
    await using upload = await deps.uploads.take(source, { param: 'data', callerId: call.caller.organizationId })
    const { width, height } = await checkInput(upload, 'data')
    const blob = await deps.blobs.put(upload.open(), { organizationId: ownerOf(call.caller), lifetimeSeconds })
    return create(UploadImageResponseSchema, {
      imageId: blob.id,
      mediaType: blob.mediaType,
      sizeBytes: BigInt(blob.sizeBytes),
      dimensions: { width, height },
      expiresAt: BigInt(blob.expiresAt)
    })
  }
}
