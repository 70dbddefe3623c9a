import { decodeBase64, encodeBase64 } from './base64.ts'

/** One image on its way through. It is read once, chunk by chunk, in the form that the reader needs. */
export interface ImageBody {
  /** As the source states it; empty where it does not say. */
  readonly mediaType: string
  /** The form in which the source delivers: reading in that form converts nothing. */
  readonly form: 'bytes' | 'base64'
  /** Whether nobody else holds a chunk that was read, in either form, so that its reader may free it. */
  readonly givesChunksAway?: boolean
  /**
   * The image as bytes, or as base64 text in ASCII without line breaks. May be called once; a second call throws. Leaving the iteration
   * early releases the source.
   */
  read(as: 'bytes' | 'base64'): AsyncIterable<Uint8Array>
}

/** An image that is kept somewhere and can be read any number of times. */
export interface StoredImage {
  readonly mediaType: string
  readonly sizeBytes: number
  open(): ImageBody
}

/** An image from base64 text. Read as base64 it is passed on unchecked; read as bytes, text that is no strict base64 throws a SyntaxError. */
export function imageFromBase64(
  chars: AsyncIterable<Uint8Array>,
  mediaType: string,
  options: Pick<ImageBody, 'givesChunksAway'> = {}
): ImageBody {
  return createImageBody(chars, 'base64', mediaType, options)
}

/** An image from its bytes, as a stream or whole. */
export function imageFromBytes(bytes: AsyncIterable<Uint8Array> | Uint8Array, mediaType: string): ImageBody {
  return createImageBody(bytes instanceof Uint8Array ? slices(bytes) : bytes, 'bytes', mediaType)
}

/** Reads an image to its end. Throws a RangeError, and releases the image, as soon as it is larger than `maxBytes` in the form asked for. */
export async function readWhole(body: ImageBody, as: 'bytes' | 'base64', maxBytes: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  let sizeBytes = 0
  for await (const chunk of body.read(as)) {
    sizeBytes += chunk.length
    if (sizeBytes > maxBytes) throw new RangeError(`the image is larger than ${maxBytes} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks, sizeBytes)
}

function createImageBody(
  source: AsyncIterable<Uint8Array>,
  form: ImageBody['form'],
  mediaType: string,
  { givesChunksAway = false }: Pick<ImageBody, 'givesChunksAway'> = {}
): ImageBody {
  let wasRead = false
  return {
    mediaType,
    form,
    givesChunksAway,
    read(as) {
      if (wasRead) throw new Error('an image body can be read only once')
      wasRead = true
      if (as === form) return source
      return (as === 'bytes' ? decodeBase64 : encodeBase64)(source, { freesChunks: givesChunksAway })
    }
  }
}

/** A multiple of 3, so that base64 carries nothing from slice to slice. */
const sliceBytes = 196_608

async function* slices(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  for (let start = 0; start < bytes.length; start += sliceBytes) yield bytes.subarray(start, start + sliceBytes)
}
