import { createHash } from 'node:crypto'
import { createBase64Decoder, decodingRoom } from '../../images/base64.ts'
import type { ImageBody } from '../../images/image-body.ts'
import { diskFailed, onDisk } from '../storage-failed.ts'
import { type AppendedFile, createAppendedFile } from './appended-file.ts'
import { createImageRecognition } from './image-recognition.ts'
import type { StepBuffers } from './step-buffers.ts'
import { createUnreadImage } from './unread-image.ts'

export interface IncomingFileOptions {
  /** Name of the file on the way; it must not exist. */
  path: string
  /** Whether the file needs no name once it is open. */
  isNameless: boolean
  isHashed: boolean
  /** Puts the file, when it is whole, where it will stay. */
  place(file: WholeFile): Promise<void>
  /** Takes back what `place` has done or tried to do. Never rejects. */
  displace(): Promise<void>
  /** Reads the image from where it was placed. */
  openPlaced(sizeBytes: number): AsyncIterable<Uint8Array>
}

export interface WholeFile {
  sizeBytes: number
  /** As recognised in the content; as stated by the source where it is an image type of a kind that is not recognised. */
  mediaType: string
  /** In hexadecimal; undefined where it was not asked for. */
  sha256: string | undefined
  sync: AppendedFile['sync']
  readAt: AppendedFile['readAt']
}

export interface PlacedFile extends Pick<WholeFile, 'sizeBytes' | 'mediaType'> {
  /** Width by height, where the first bytes say so. */
  pixels: number | undefined
}

/** An image on its way into a file. */
export interface IncomingFile {
  /** Follows the image as `IncomingBlob.body` promises. */
  readonly body: ImageBody
  /** Rejects, when nothing of it is left, with `NotAnImageError`, `SyntaxError`, `STORAGE_FAILED`, or what the source or `stop` gave. */
  readonly placed: Promise<PlacedFile>
  /** Stores no further. */
  stop(error: unknown): void
  /** Says that nobody will read it who has not begun. */
  leave(): void
}

/** Takes an image in as fast as its source gives it, as bytes, into a file, followed by a reader of its own pace. */
export function takeIntoFile(image: ImageBody, options: IncomingFileOptions, deps: { buffers: StepBuffers }): IncomingFile {
  const source = image.read(image.form)[Symbol.asyncIterator]()
  const decoder = image.form === 'base64' ? createBase64Decoder() : undefined
  const recognition = createImageRecognition(image.mediaType)
  const hash = options.isHashed ? createHash('sha256') : undefined
  let sizeBytes = 0
  let stopped: { error: unknown } | undefined
  const stopping = Promise.withResolvers<void>()
  let proceed: (() => void) | undefined
  const file = createAppendedFile({ path: options.path, isNameless: options.isNameless, changed: fileChanged }, deps)
  const unread = createUnreadImage({ image, file, left: releaseUnwanted })
  const taken = takeIn()
  const placed = store()
  placed.catch(() => undefined)
  void cleanUp()

  async function takeIn(): Promise<void> {
    try {
      for (let next = await source.next(); !next.done; next = await source.next()) {
        if (!stopped) keep(next.value)
        unread.push(next.value)
        unread.trim()
        while (file.progress.waitingBytes > (deps.buffers.isScarce ? 0 : maxWaitingBytes))
          await new Promise<void>((resolve) => (proceed = resolve))
      }
      unread.end()
    } catch (error) {
      stop(error)
      unread.end(error)
    }
  }

  function keep(chunk: Uint8Array): void {
    try {
      const bytes = decoder ? decoder.decode(chunk, file.room(decodingRoom(chunk.length))) : chunk
      recognition.add(bytes)
      sizeBytes += bytes.length
      hash?.update(bytes)
      file.append(bytes)
    } catch (error) {
      stop(error)
    }
  }

  function fileChanged(): void {
    if (file.progress.failure) stop(diskFailed(file.progress.failure.error))
    unread.trim()
    proceed?.()
    proceed = undefined
  }

  /** Returns the error that stopped it first. */
  function stop(error: unknown): unknown {
    if (stopped) return stopped.error
    stopped = { error }
    stopping.resolve()
    void file.abandon()
    releaseUnwanted()
    return error
  }

  function throwIfStopped(): void {
    if (stopped) throw stopped.error
  }

  /** A source that neither the store nor a reader wants. */
  function releaseUnwanted(): void {
    if (stopped && !unread.isWanted()) Promise.resolve(source.return?.()).catch(() => undefined)
  }

  async function store(): Promise<PlacedFile> {
    await Promise.race([taken, stopping.promise])
    let isPlacing = false
    try {
      throwIfStopped()
      decoder?.end()
      const mediaType = recognition.end()
      await onDisk(file.flush())
      isPlacing = true
      await options.place({ sizeBytes, mediaType, sha256: hash?.digest('hex'), sync: file.sync, readAt: file.readAt })
      throwIfStopped()
      return { sizeBytes, mediaType, pixels: recognition.pixels() }
    } catch (error) {
      const first = stop(error)
      await file.abandon()
      if (isPlacing) await options.displace()
      throw first
    }
  }

  async function cleanUp(): Promise<void> {
    await Promise.allSettled([taken, placed])
    await unread.settle(stopped ? undefined : () => options.openPlaced(sizeBytes))
    await file.close()
  }

  return { body: unread.body, placed, stop, leave: unread.leave }
}

/** What may wait for the disk before the source has to. */
const maxWaitingBytes = 4 * 1024 * 1024
