import { freeChunk } from '../../images/free-chunk.ts'
import { type ImageBody, imageFromBase64, imageFromBytes } from '../../images/image-body.ts'
import { afterPayment, diskFailed, storageFailed } from '../storage-failed.ts'
import type { AppendedFile } from './appended-file.ts'

export interface UnreadImageOptions {
  /** What is taken in: its reader gets what this one gives. */
  image: Pick<ImageBody, 'mediaType' | 'form' | 'givesChunksAway'>
  /** Where the bytes of the image are written. */
  file: Pick<AppendedFile, 'progress' | 'readAt'>
  /** Called when nobody wants the rest any more. */
  left(): void
}

/** What has been taken in of an image and was not read yet: its end in memory, and what does not fit there in the file. */
export interface UnreadImage {
  readonly body: ImageBody
  /** Whether somebody reads it, or may still. */
  isWanted(): boolean
  /** The next chunk, in the source's own form. */
  push(chunk: Uint8Array): void
  /** Lets go of what the file can give by now, but for a window. */
  trim(): void
  /** Nothing more comes; because of an error, if there is one. */
  end(error?: unknown): void
  /** Nobody will read it who has not begun. */
  leave(): void
  /**
   * Says, after the end, that nothing more will be written, and how to read the image anew where it is stored. Resolves when the file is
   * needed no more.
   */
  settle(openStored?: () => AsyncIterable<Uint8Array>): Promise<void>
}

export function createUnreadImage({ image, file, left }: UnreadImageOptions): UnreadImage {
  const { mediaType, form, givesChunksAway = false } = image
  const chunks: Uint8Array[] = []
  let chunksBytes = 0
  /** Where the chunks begin; what the reader lacks before that is in the file. Both are counted as the source counts. */
  let front = 0
  let position = 0
  let hasBegun = false
  let isWanted = true
  let ending: { error: unknown } | undefined
  /** Why the rest of the image can be given to nobody. */
  let loss: { error: unknown } | undefined
  let isSettled = false
  let kept: Buffer | undefined
  let stored: AsyncIterator<Uint8Array> | undefined
  let wake: (() => void) | undefined
  let caughtUp: (() => void) | undefined

  function shift(): Uint8Array | undefined {
    const chunk = chunks.shift()
    chunksBytes -= chunk?.length ?? 0
    front += chunk?.length ?? 0
    return chunk
  }

  function leave(): void {
    if (!isWanted) return
    isWanted = false
    drop()
    left()
  }

  function lose(error: unknown): void {
    loss = { error }
    drop()
    left()
  }

  function drop(): void {
    chunks.length = 0
    chunksBytes = 0
    kept = undefined
    caughtUp?.()
    announce()
  }

  function announce(): void {
    wake?.()
    wake = undefined
  }

  const reader: AsyncIterableIterator<Uint8Array> = {
    async next() {
      hasBegun = true
      if (stored) return stored.next()
      try {
        const value = await nextChunk()
        if (value) return { done: false, value }
      } catch (error) {
        leave()
        throw error
      }
      leave()
      return { done: true, value: undefined }
    },
    async return() {
      hasBegun = true
      leave()
      await stored?.return?.()
      return { done: true, value: undefined }
    },
    [Symbol.asyncIterator]: () => reader
  }

  async function nextChunk(): Promise<Uint8Array | undefined> {
    while (isWanted) {
      if (loss) throw loss.error
      const chunk = position < front ? await readBehind() : shift()
      position += chunk?.length ?? 0
      if (position === front) caughtUp?.()
      if (chunk) return chunk
      if (ending?.error !== undefined) throw ending.error
      if (ending) return undefined
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    }
    return undefined
  }

  /** From the file; as base64, which may begin and end inside a group of characters that the file has whole. */
  async function readBehind(): Promise<Uint8Array> {
    const length = front - position
    if (form === 'bytes') return readAt(position, Math.min(readBytes, length))
    const start = Math.floor(position / 4) * 3
    const bytes = await readAt(start, Math.min(readBytes, bytesUpTo(front) - start))
    const skipped = position % 4
    return Buffer.from(bytes.toString('base64'), 'latin1').subarray(skipped, skipped + length)
  }

  async function readAt(start: number, length: number): Promise<Buffer> {
    if (kept) return kept.subarray(start, start + length)
    try {
      return await file.readAt(start, length)
    } catch (error) {
      throw afterPayment(diskFailed(error))
    }
  }

  /** How many bytes hold everything up to a position in what the source gives. */
  function bytesUpTo(given: number): number {
    return form === 'base64' ? Math.ceil(given / 4) * 3 : given
  }

  return {
    body: form === 'bytes' ? imageFromBytes(reader, mediaType) : imageFromBase64(reader, mediaType, { givesChunksAway }),
    isWanted: () => isWanted && !loss,
    push(chunk) {
      if (!isWanted || loss || chunk.length === 0) return
      chunks.push(chunk)
      chunksBytes += chunk.length
      if (file.progress.failure && chunksBytes > maxMemoryBytes) lose(tooLarge())
      else announce()
    },
    trim() {
      if (isSettled) return
      for (let first = chunks[0]; first && (chunksBytes > windowBytes || chunks.length > windowChunks); first = chunks[0]) {
        if (bytesUpTo(front + first.length) > file.progress.writtenBytes) break
        shift()
        if (givesChunksAway) freeChunk(first)
      }
    },
    end(error) {
      ending ??= { error }
      announce()
    },
    leave() {
      if (!hasBegun) leave()
    },
    async settle(openStored) {
      isSettled = true
      if (!isWanted || loss || position === front) return
      if (hasBegun) {
        return await new Promise<void>((resolve) => {
          caughtUp = resolve
        })
      }
      if (openStored) {
        stored = imageFromBytes(openStored(), mediaType).read(form)[Symbol.asyncIterator]()
        return drop()
      }
      // Nobody may ever come for it; memory is cleared away then, an open file is not.
      const length = bytesUpTo(front)
      if (length + chunksBytes > maxMemoryBytes) return lose(tooLarge())
      kept = await readAt(0, length).catch((error) => {
        lose(error)
        return undefined
      })
    }
  }
}

/** What a reader may lag behind before it is sent to the file. */
const windowBytes = 256 * 1024
const windowChunks = 1024
/** What may be in memory of an image that cannot be stored. */
const maxMemoryBytes = 32 * 1024 * 1024
/** A multiple of 3, so that base64 ends with whole groups. */
const readBytes = 196_608

function tooLarge(): unknown {
  return afterPayment(storageFailed('it is too large to be passed on without being stored'))
}
