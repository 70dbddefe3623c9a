import { readDimensions } from '../../images/dimensions.ts'
import { sniffMediaType } from '../../images/media-type.ts'
import { NotAnImageError } from '../blob-store.ts'

/** Tells an image from what is none by its first bytes. */
export interface ImageRecognition {
  /** The next bytes. Throws `NotAnImageError` as soon as they have shown to be no image, later ones are not looked at. */
  add(bytes: Uint8Array): void
  /** The media type, when there are no more bytes: as recognised, or as stated where that is an image type of a kind that is not. Throws `NotAnImageError`. */
  end(): string
  /** Width by height, where the first bytes say so. */
  pixels(): number | undefined
}

export function createImageRecognition(statedMediaType: string): ImageRecognition {
  const head = new Uint8Array(headBytes)
  let length = 0
  let mediaType: string | undefined
  return {
    add(bytes) {
      if (mediaType !== undefined) return
      const part = bytes.subarray(0, headBytes - length)
      head.set(part, length)
      length += part.byteLength
      // A long answer that is no image is not worth the rest of the disk.
      if (length === headBytes) mediaType = recognise(head, statedMediaType)
    },
    end: () => mediaType ?? recognise(head.subarray(0, length), statedMediaType),
    pixels() {
      const size = readDimensions(head.subarray(0, length))
      return size && size.width * size.height
    }
  }
}

/** Enough to recognise every format; an SVG image may begin with a long comment. */
const headBytes = 4096

function recognise(head: Uint8Array, statedMediaType: string): string {
  const recognised = sniffMediaType(head)
  if (recognised !== undefined) return recognised
  const stated = statedMediaType.split(';')[0]?.trim().toLowerCase() ?? ''
  // What is stated to be of a recognisable type and is not recognised is something else: mostly an error page.
  if (head.byteLength === 0 || !/^image\/[a-z0-9][a-z0-9.+-]{0,60}$/.test(stated) || recognisable.includes(stated)) {
    throw new NotAnImageError(statedMediaType.slice(0, 100))
  }
  return stated
}

const recognisable = ['image/png', 'image/jpeg', 'image/jpg', 'image/webp', 'image/gif', 'image/svg+xml', 'image/avif']
