import { type Call, ownerOf } from '../call.ts'
import { GatewayError, gatewayError } from '../errors.ts'
import type { ImageLink } from '../events.ts'
import type { ImageBody } from '../images/image-body.ts'
import { type BlobStore, NotAnImageError } from '../storage/blob-store.ts'
import type { Links } from '../storage/links.ts'

export interface HostWish {
  /** Name of the provider that made the image, for errors. */
  provider: string
  /** How long the stored image and its link last. */
  linkLifetimeSeconds: number
}

/**
 * Stores an image and returns a link to it. The image was made and paid, so every failure has the outcome `unknown`: STORAGE_FAILED, or
 * PROVIDER_FAILED where what the provider gave is no image; an error of the source itself passes through.
 */
export async function host(image: ImageBody, wish: HostWish, call: Call, deps: { blobs: BlobStore; links: Links }): Promise<ImageLink> {
  const meta = { organizationId: ownerOf(call.caller), lifetimeSeconds: wish.linkLifetimeSeconds }
  const blob = await deps.blobs.put(image, meta).catch((error) => {
    throw toHostingError(error, wish.provider)
  })
  return { url: deps.links.sign(blob), mediaType: blob.mediaType }
}

function toHostingError(error: unknown, provider: string): unknown {
  if (error instanceof GatewayError && error.reason === 'STORAGE_FAILED') {
    return gatewayError('STORAGE_FAILED', { problem: error.fields.problem ?? '' }, { outcome: 'unknown', cause: error.cause })
  }
  if (error instanceof NotAnImageError) return gatewayError('PROVIDER_FAILED', { provider, problem: error.message }, { outcome: 'unknown' })
  if (error instanceof SyntaxError) {
    return gatewayError('PROVIDER_FAILED', { provider, problem: 'its image is not valid base64' }, { outcome: 'unknown', cause: error })
  }
  return error
}
