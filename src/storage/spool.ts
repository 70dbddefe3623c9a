import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import { type FileHandle, open, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { GatewayError, gatewayError } from '../errors.ts'
import { type ImageBody, imageFromBase64, imageFromBytes } from '../images/image-body.ts'
import { randomBase62 } from './random-id.ts'
import { onDisk } from './storage-failed.ts'

export interface SpoolOptions {
  /** Directory for the files, of this spool alone; created, closed to others, where it is missing. */
  directory: string
  /** Up to this size an image stays in memory; 64 KiB unless told. */
  memoryBytes?: number
}

/** Keeps images, for as long as a request lasts, that arrive before anybody can take them. */
export interface Spool {
  /** Takes an image in as fast as its source gives it, whether or not it is read meanwhile. */
  take(image: ImageBody): SpooledImage
}

/** An image that is being taken in. Disposing it releases its source and removes its file, as does reading or leaving it. */
export interface SpooledImage extends AsyncDisposable {
  /** The image: its reader follows while it grows, and meets the error of the source, or `STORAGE_FAILED`, where that broke off. */
  readonly body: ImageBody
  /** Resolves, and never rejects, when nothing more comes: with the error where it broke off. */
  readonly taken: Promise<unknown>
  /** Whether it is known by now that the image broke off. */
  readonly failure: unknown
}

/** Spools into files. What an earlier process left behind is removed at once; throws where the directory cannot be used. */
export function createSpool({ directory, memoryBytes = 65_536 }: SpoolOptions): Spool {
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  for (const name of readdirSync(directory)) rmSync(join(directory, name))
  return { take: (image) => takeIn(image, join(directory, randomBase62(22)), memoryBytes) }
}

/** The beginning of an image stays in memory, and what does not fit there goes to the file. */
function takeIn(image: ImageBody, path: string, memoryBytes: number): SpooledImage {
  const source = image.read(image.form)[Symbol.asyncIterator]()
  const head: Uint8Array[] = []
  let headBytes = 0
  let file: FileHandle | undefined
  let fileBytes = 0
  let hasEnded = false
  let isLeft = false
  let failure: unknown
  let growth = Promise.withResolvers<void>()
  let leaving: Promise<void> | undefined
  const taken = fill()

  async function fill(): Promise<unknown> {
    try {
      for (let next = await source.next(); !next.done && !isLeft; next = await source.next()) {
        await keep(next.value)
        announce()
      }
    } catch (error) {
      failure = error
    }
    hasEnded = true
    if (isLeft || failure !== undefined) await release()
    announce()
    return failure
  }

  async function keep(chunk: Uint8Array): Promise<void> {
    if (!file && headBytes + chunk.length <= memoryBytes) {
      // A copy, because a chunk may be a small piece of a large buffer.
      head.push(Uint8Array.from(chunk))
      headBytes += chunk.length
      return
    }
    file ??= await orPaid(open(path, 'wx+', 0o600))
    for (let at = 0; at < chunk.length; ) at += (await orPaid(file.write(chunk, at, chunk.length - at, fileBytes + at))).bytesWritten
    fileBytes += chunk.length
  }

  function announce(): void {
    growth.resolve()
    growth = Promise.withResolvers()
  }

  async function release(): Promise<void> {
    await Promise.resolve(source.return?.()).catch(() => undefined)
  }

  async function* follow(): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      for (let at = 0; at < head.length || !(file || hasEnded); ) {
        const chunk = head[at]
        if (chunk) at += 1
        if (chunk) yield chunk
        else await growth.promise
      }
      for (let at = 0; at < fileBytes || !hasEnded; ) {
        if (at === fileBytes) await growth.promise
        else if (file) {
          const { buffer, bytesRead } = await orPaid(file.read(Buffer.allocUnsafe(Math.min(readBytes, fileBytes - at)), { position: at }))
          at += bytesRead
          yield buffer.subarray(0, bytesRead)
        }
      }
      if (failure !== undefined) throw failure
      if (isLeft) throw new Error('the spooled image was disposed of while it was read')
    } finally {
      // A source that is slow to let go must not hold up whoever goes away.
      const left = leave()
      if (hasEnded) await left
    }
  }

  function leave(): Promise<void> {
    leaving ??= (async () => {
      isLeft = !hasEnded
      if (isLeft) await release()
      await taken
      head.length = 0
      if (!file) return
      await file.close().catch(() => undefined)
      await unlink(path).catch(() => undefined)
    })()
    return leaving
  }

  return {
    body: image.form === 'bytes' ? imageFromBytes(follow(), image.mediaType) : imageFromBase64(follow(), image.mediaType),
    taken,
    get failure() {
      return failure
    },
    [Symbol.asyncDispose]: leave
  }
}

const readBytes = 256 * 1024

/** Whatever the disk does, the image was made and may be billed. */
async function orPaid<T>(promise: Promise<T>): Promise<T> {
  try {
    return await onDisk(promise)
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error
    throw gatewayError('STORAGE_FAILED', { problem: error.fields.problem ?? '' }, { outcome: 'unknown', cause: error.cause })
  }
}
