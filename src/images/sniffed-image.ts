import { type ImageBody, imageFromBase64, imageFromBytes } from './image-body.ts'
import { sniffMediaType } from './media-type.ts'

/** Enough to recognise every format; an SVG image may begin with a long comment. */
const headBytes = 4096

/**
 * The same image with the media type that its first bytes show: what the source states counts only where it is an image type of a kind that
 * cannot be recognised, and what is no image has an empty one. The source has been opened: the result must be read, or left, by iterating it.
 */
export async function withSniffedMediaType(body: ImageBody): Promise<ImageBody> {
  const rest = body.read(body.form)[Symbol.asyncIterator]()
  const chunks: Uint8Array[] = []
  let head = Buffer.alloc(0)
  let mediaType: string | undefined
  while (mediaType === undefined && head.length < headBytes) {
    const { done, value } = await rest.next()
    if (done) break
    chunks.push(value)
    head = Buffer.concat([head, value.subarray(0, (headBytes * 4) / 3)])
    mediaType = sniffMediaType(body.form === 'bytes' ? head : Buffer.from(head.toString('latin1'), 'base64'))
  }
  mediaType ??= head.length === 0 ? '' : unrecognisableType(body.mediaType)
  const source = replay(chunks, rest)
  return body.form === 'bytes' ? imageFromBytes(source, mediaType) : imageFromBase64(source, mediaType)
}

/** What is stated to be of a recognisable type and is not recognised is something else: mostly an error page. */
function unrecognisableType(statedMediaType: string): string {
  const stated = statedMediaType.split(';', 1).join().trim().toLowerCase()
  return /^image\/[a-z0-9][a-z0-9.+-]{0,60}$/.test(stated) && !recognisable.includes(stated) ? stated : ''
}

const recognisable = ['image/png', 'image/jpeg', 'image/jpg', 'image/webp', 'image/gif', 'image/svg+xml', 'image/avif']

/** The chunks taken, then the rest. Written out because a generator would add a step to every chunk, and would not pass on an early `return`. */
function replay(chunks: Uint8Array[], rest: AsyncIterator<Uint8Array>): AsyncIterableIterator<Uint8Array> {
  return {
    [Symbol.asyncIterator]() {
      return this
    },
    next() {
      const value = chunks.shift()
      return value === undefined ? rest.next() : Promise.resolve({ done: false, value })
    },
    async return() {
      chunks.length = 0
      await rest.return?.()
      return { done: true, value: undefined }
    }
  }
}
