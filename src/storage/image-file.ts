import { createReadStream } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import type { ImageBody } from '../images/image-body.ts'
import { sniffMediaType } from '../images/media-type.ts'
import { type ByteRange, NotAnImageError } from './blob-store.ts'
import { diskFailed, onDisk } from './storage-failed.ts'

/**
 * Writes an image to a new file, chunk by chunk, and has it on the disk when it returns. Throws `NotAnImageError`, `STORAGE_FAILED`, or
 * what the source throws; the file is then left as it is.
 */
export async function writeImageFile(path: string, image: ImageBody): Promise<{ sizeBytes: number; mediaType: string }> {
  const handle = await onDisk(open(path, 'wx', 0o600))
  try {
    const head = createHead()
    let sizeBytes = 0
    let mediaType: string | undefined
    for await (const chunk of image.read('bytes')) {
      head.add(chunk)
      // A long answer that is no image is not worth the rest of the disk.
      if (head.isFull()) mediaType ??= recognise(head.bytes(), image.mediaType)
      sizeBytes += chunk.byteLength
      await onDisk(writeAll(handle, chunk))
    }
    mediaType ??= recognise(head.bytes(), image.mediaType)
    await onDisk(handle.sync())
    return { sizeBytes, mediaType }
  } finally {
    await handle.close().catch(() => undefined)
  }
}

/** Reads a file of the stated size, or a range of it; opens it with the first chunk. Throws RangeError or `STORAGE_FAILED`. */
export async function* readImageFile(path: string, sizeBytes: number, range?: ByteRange): AsyncIterable<Uint8Array> {
  const { start, end } = range ?? { start: 0, end: sizeBytes - 1 }
  if (!Number.isSafeInteger(start) || !Number.isSafeInteger(end) || start < 0 || start > end || end >= sizeBytes) {
    throw new RangeError(`the range from ${start} to ${end} is not within the ${sizeBytes} bytes of the image`)
  }
  const stream = createReadStream(path, { start, end, highWaterMark: readChunkBytes })
  try {
    yield* stream
  } catch (error) {
    throw diskFailed(error)
  }
}

/** Enough to recognise every format; an SVG image may begin with a long comment. */
const headBytes = 4096
const readChunkBytes = 256 * 1024

function createHead() {
  const bytes = new Uint8Array(headBytes)
  let length = 0
  return {
    add(chunk: Uint8Array): void {
      const part = chunk.subarray(0, headBytes - length)
      bytes.set(part, length)
      length += part.byteLength
    },
    isFull: () => length === headBytes,
    bytes: () => bytes.subarray(0, length)
  }
}

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

async function writeAll(handle: FileHandle, chunk: Uint8Array): Promise<void> {
  for (let at = 0; at < chunk.byteLength; ) at += (await handle.write(chunk, at)).bytesWritten
}
