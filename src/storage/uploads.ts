import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import { type FileHandle, open, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { gatewayError } from '../errors.ts'
import { imageFromBytes, type StoredImage } from '../images/image-body.ts'
import { sniffMediaType } from '../images/media-type.ts'
import { readImageFile } from './blobs/image-file.ts'
import { randomBase62 } from './random-id.ts'
import { onDisk } from './storage-failed.ts'

/** Keeps the files that a request brings along on the disk for as long as the request lasts. */
export interface Uploads {
  /**
   * Writes a file as it arrives. Throws INVALID_PARAMETER, naming `param` and the limit, for a file that is empty or too large,
   * TOO_MANY_UPLOADS where the caller's files take up too much together, STORAGE_FAILED, and what the source throws; the source is then
   * released and nothing of the file is kept.
   */
  take(source: AsyncIterable<Uint8Array>, options: TakeOptions): Promise<Upload>
}

export interface TakeOptions {
  /** What the file is in the request, for errors: "image", "images[2].image_url". */
  param: string
  /** For this file, if that is less than for any file. */
  maxBytes?: number
  /** Whose disk space it is: the organization. */
  callerId: string
}

/**
 * A file on the disk, to be opened any number of times. Disposing it removes it, unless it was shared; what is being read then may break
 * off.
 */
export interface Upload extends StoredImage, AsyncDisposable {
  /** As the first bytes show it; empty for what is no image that is known here. */
  readonly mediaType: string
  /** SHA-256 of the file. */
  readonly digest: Uint8Array
  /** Keeps the file until the share is disposed of too. */
  share(): AsyncDisposable
}

export interface UploadsOptions {
  /** Directory for the files, of this alone; created, closed to others, where it is missing. */
  directory: string
  /** Largest file; 50 MB (52,428,800 bytes) unless told. */
  maxBytesPerFile?: number
  /** What all files of one caller may take up at a time; 4 GiB unless told. */
  maxBytesPerCaller?: number
}

/** What an earlier process left behind is removed at once; throws where the directory cannot be used. */
export function createUploads({ directory, ...options }: UploadsOptions): Uploads {
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  for (const name of readdirSync(directory)) rmSync(join(directory, name), { recursive: true })
  const { maxBytesPerFile = 52_428_800, maxBytesPerCaller = 4_294_967_296 } = options
  const space = createSpace(maxBytesPerCaller)

  return {
    async take(source, { param, maxBytes, callerId }) {
      const path = join(directory, randomBase62(22))
      const used = space.of(callerId)
      const limit = Math.min(maxBytes ?? maxBytesPerFile, maxBytesPerFile)
      let owners = 1
      const remove = async () => {
        await unlink(path).catch(() => undefined)
        used.release()
      }
      const own = (): AsyncDisposable => {
        let disowned: Promise<void> | undefined
        const disown = async () => {
          owners -= 1
          if (owners === 0) await remove()
        }
        return {
          [Symbol.asyncDispose]() {
            disowned ??= disown()
            return disowned
          }
        }
      }
      try {
        const { sizeBytes, mediaType, digest } = await write(source, path, (chunkBytes, sizeBytes) => {
          if (sizeBytes > limit) throw gatewayError('INVALID_PARAMETER', { param, problem: `must be no larger than ${limit} bytes` })
          used.add(chunkBytes)
        })
        if (sizeBytes === 0) throw gatewayError('INVALID_PARAMETER', { param, problem: 'is an empty file' })
        return {
          mediaType,
          sizeBytes,
          digest,
          open: () => imageFromBytes(readImageFile(path, sizeBytes), mediaType),
          share() {
            owners += 1
            return own()
          },
          ...own()
        }
      } catch (error) {
        await remove()
        throw error
      }
    }
  }
}

/** Enough to recognise every format; an SVG image may begin with a long comment. */
const headBytes = 4096

/** Writes a new file; `count` may refuse a chunk. */
async function write(
  source: AsyncIterable<Uint8Array>,
  path: string,
  count: (chunkBytes: number, sizeBytes: number) => void
): Promise<{ sizeBytes: number; mediaType: string; digest: Uint8Array }> {
  let file: FileHandle | undefined
  const hash = createHash('sha256')
  const head = Buffer.alloc(headBytes)
  let sizeBytes = 0
  try {
    for await (const chunk of source) {
      count(chunk.length, sizeBytes + chunk.length)
      if (sizeBytes < headBytes) head.set(chunk.subarray(0, headBytes - sizeBytes), sizeBytes)
      sizeBytes += chunk.length
      hash.update(chunk)
      file ??= await onDisk(open(path, 'wx', 0o600))
      for (let at = 0; at < chunk.length; ) at += (await onDisk(file.write(chunk, at))).bytesWritten
    }
  } finally {
    await file?.close().catch(() => undefined)
  }
  return { sizeBytes, mediaType: sniffMediaType(head.subarray(0, sizeBytes)) ?? '', digest: hash.digest() }
}

/** Counts what each caller's files take up. */
function createSpace(maxBytesPerCaller: number) {
  const bytesByCaller = new Map<string, number>()
  return {
    of(callerId: string) {
      let ownBytes = 0
      const total = () => bytesByCaller.get(callerId) ?? 0
      return {
        add(bytes: number): void {
          if (total() + bytes > maxBytesPerCaller) {
            throw gatewayError('TOO_MANY_UPLOADS', { limitBytes: maxBytesPerCaller }, { retryAfterMs: 5000, outcome: 'not_sent' })
          }
          ownBytes += bytes
          bytesByCaller.set(callerId, total() + bytes)
        },
        /** Later calls do nothing. */
        release(): void {
          const left = total() - ownBytes
          ownBytes = 0
          if (left > 0) bytesByCaller.set(callerId, left)
          else bytesByCaller.delete(callerId)
        }
      }
    }
  }
}
