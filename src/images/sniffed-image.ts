import { type ImageBody, imageFromBase64, imageFromBytes } from './image-body.ts'
import { sniffMediaType } from './media-type.ts'
import { peekImage } from './peek-image.ts'

/** Enough to recognise every format; an SVG image may begin with a long comment. */
const headBytes = 4096

/**
 * The same image with the media type that its first bytes show: what the source states counts only where it is an image type of a kind that
 * cannot be recognised, and what is no image has an empty one. The source has been opened: the result must be read, or left, by iterating it.
 */
export async function withSniffedMediaType(body: ImageBody): Promise<ImageBody> {
  const { head, chunks } = await peekImage(body, headBytes, (head) => sniffMediaType(head) !== undefined)
  const mediaType = sniffMediaType(head) ?? (head.length === 0 ? '' : unrecognisableType(body.mediaType))
  return body.form === 'bytes' ? imageFromBytes(chunks, mediaType) : imageFromBase64(chunks, mediaType)
}

/** What is stated to be of a recognisable type and is not recognised is something else: mostly an error page. */
function unrecognisableType(statedMediaType: string): string {
  const stated = statedMediaType.split(';', 1).join().trim().toLowerCase()
  return /^image\/[a-z0-9][a-z0-9.+-]{0,60}$/.test(stated) && !recognisable.includes(stated) ? stated : ''
}

const recognisable = ['image/png', 'image/jpeg', 'image/jpg', 'image/webp', 'image/gif', 'image/svg+xml', 'image/avif']
