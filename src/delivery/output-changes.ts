import { OutputFormat } from '../../gen/atelier/v1/image_pb.ts'
import type { PixelSize } from '../images/dimensions.ts'
import type { ImageMediaType } from '../images/media-type.ts'
import type { WishedOutput } from '../routing/plan.ts'

/** The file formats between which images are converted. */
export type RasterFormat = 'png' | 'jpeg' | 'webp'

/** What the header of a file says. */
export interface FoundImage {
  /** Undefined where the first bytes are none of a known image. */
  mediaType: ImageMediaType | undefined
  /** Undefined for every file that is not decoded here, animated ones among them. */
  format: RasterFormat | undefined
  /** Undefined where the header does not say. */
  size: PixelSize | undefined
}

/** The parameters of a request that a file can be at odds with. */
export type OutputParam = 'output_format' | 'output_compression' | 'size'

/** The parameters that a file does not meet as it is; none where it can go through untouched. */
export function outputChanges(found: FoundImage, wish: WishedOutput): OutputParam[] {
  const format = wishedFormat(wish) ?? found.format
  const changes: OutputParam[] = []
  if (format !== found.format) changes.push('output_format')
  // How strongly a file was compressed cannot be told from it. 100 asks for nothing.
  if (wish.compression !== undefined && wish.compression < 100 && format !== 'png') changes.push('output_compression')
  if (wish.size && !(found.size && wish.size.width === found.size.width && wish.size.height === found.size.height)) changes.push('size')
  return changes
}

/** The format that is asked for; undefined where none is, or one into which nothing is converted. */
export function wishedFormat({ format }: WishedOutput): RasterFormat | undefined {
  return format === undefined ? undefined : rasterFormats[format]
}

/** The format of a media type among those that are converted. */
export function formatOf(mediaType: ImageMediaType | undefined): RasterFormat | undefined {
  return mediaType === 'image/png' ? 'png' : mediaType === 'image/jpeg' ? 'jpeg' : mediaType === 'image/webp' ? 'webp' : undefined
}

/** Whether a wish asks for nothing that is done here. */
export function isEmptyWish(wish: WishedOutput): boolean {
  return wishedFormat(wish) === undefined && wish.compression === undefined && wish.size === undefined
}

const rasterFormats: Readonly<Partial<Record<OutputFormat, RasterFormat>>> = {
  [OutputFormat.PNG]: 'png',
  [OutputFormat.JPEG]: 'jpeg',
  [OutputFormat.WEBP]: 'webp'
}

/** More than the 4096x4096 of the largest model; two at a time take at most 1.3 GB while they are written as WebP. */
export const maxPixels = 20_000_000

/** The longest sides that the formats' encoders take. */
const maxSides: Readonly<Record<RasterFormat, number>> = { png: Number.POSITIVE_INFINITY, jpeg: 65_500, webp: 16_383 }

/** Why an image is not converted although it is at odds with the wish; undefined where it is. */
export function hindranceOf(found: FoundImage, wish: WishedOutput): string | undefined {
  if (!found.format) return 'only still png, jpeg and webp images are converted'
  const to = wishedFormat(wish) ?? found.format
  const size = wish.size ?? found.size
  if (!size) return undefined
  if (size.width * size.height > maxPixels && wish.size) return `images of at most ${maxPixels} pixels are made`
  if (Math.max(size.width, size.height) > maxSides[to]) return `${to} images have sides of at most ${maxSides[to]} pixels`
  return undefined
}
