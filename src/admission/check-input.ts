import { type GatewayError, gatewayError } from '../errors.ts'
import type { StoredImage } from '../images/image-body.ts'
import { readStructure } from '../images/image-structure.ts'
import type { InputImage } from '../providers/provider.ts'

/** An image that a provider may be given. */
export interface CheckedImage extends InputImage {
  /** Whether its pixels can be transparent. */
  hasAlpha: boolean
}

/** As for images that are converted: three times the largest that any model makes. */
const maxPixels = 50_000_000
const takenTypes: readonly string[] = ['image/png', 'image/jpeg', 'image/webp']

/**
 * Reads a file through without decoding it. Throws INVALID_PARAMETER, naming `param`, for what is no PNG, JPEG or WebP by its first bytes,
 * moves, breaks off, has more than 50 million pixels, or is something else besides.
 */
export async function checkInput(image: StoredImage, param: string): Promise<CheckedImage> {
  const { mediaType, sizeBytes } = image
  if (!takenTypes.includes(mediaType)) {
    throw refuse(
      param,
      `${mediaType === '' ? 'is no image that is known here' : `is of the type ${mediaType}`}: must be a png, jpeg or webp file`
    )
  }
  const { size, isWhole, isAnimated, hasAlpha, foreign } = await readStructure(image.open().read('bytes'), sizeBytes)
  const format = mediaType.slice('image/'.length)
  // What stands in the way of trusting the file at all goes first.
  if (foreign !== undefined) throw refuse(param, `is a ${format} file that also holds ${foreign}`)
  if (!isWhole || !size) throw refuse(param, `is a broken ${format} file: it breaks off or is not built as its format asks`)
  const { width, height } = size
  if (width * height > maxPixels) throw refuse(param, `has ${width}x${height} pixels: must have at most ${maxPixels} in all`)
  if (isAnimated) throw refuse(param, 'is animated: must be a still image')
  return { mediaType, sizeBytes, width, height, hasAlpha, open: () => image.open() }
}

/** Throws INVALID_PARAMETER, naming `param`, for what is no PNG with transparency of the first image's size. */
export function checkMask(mask: CheckedImage, first: CheckedImage, param: string): void {
  if (mask.mediaType !== 'image/png') throw refuse(param, `is of the type ${mask.mediaType}: must be a png file`)
  if (!mask.hasAlpha) throw refuse(param, 'has no alpha channel: its transparent places are those to be painted over')
  if (mask.width !== first.width || mask.height !== first.height) {
    throw refuse(
      param,
      `has ${mask.width}x${mask.height} pixels: must have the size of the first image, which is ${first.width}x${first.height}`
    )
  }
}

function refuse(param: string, problem: string): GatewayError {
  return gatewayError('INVALID_PARAMETER', { param, problem }, { outcome: 'not_sent' })
}
