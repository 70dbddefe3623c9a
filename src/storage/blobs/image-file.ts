import { createReadStream } from 'node:fs'
import type { ByteRange } from '../blob-store.ts'
import { diskFailed } from '../storage-failed.ts'

/** Reads a file of the stated size, or a range of it; opens it with the first chunk. Throws RangeError or `STORAGE_FAILED`. */
export async function* readImageFile(path: string, sizeBytes: number, range?: ByteRange): AsyncIterable<Uint8Array> {
  const { start, end } = checkRange(sizeBytes, range)
  const stream = createReadStream(path, { start, end, highWaterMark: readChunkBytes })
  try {
    yield* stream
  } catch (error) {
    throw diskFailed(error)
  }
}

/** The range, or all of it. Throws a RangeError for one that is not within the image. */
export function checkRange(sizeBytes: number, range?: ByteRange): ByteRange {
  const { start, end } = range ?? { start: 0, end: sizeBytes - 1 }
  if (!Number.isSafeInteger(start) || !Number.isSafeInteger(end) || start < 0 || start > end || end >= sizeBytes) {
    throw new RangeError(`the range from ${start} to ${end} is not within the ${sizeBytes} bytes of the image`)
  }
  return { start, end }
}

const readChunkBytes = 256 * 1024
