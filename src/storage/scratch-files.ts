import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import { type FileHandle, open, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { randomBase62 } from './random-id.ts'
import { ignoreMissing, onDisk } from './storage-failed.ts'

/** Files that nobody needs after the work for which they were made. All methods throw STORAGE_FAILED where the disk fails. */
export interface ScratchFiles {
  create(): Promise<ScratchFile>
}

/** One file; disposing it removes it. */
export interface ScratchFile extends AsyncDisposable {
  /** For others that write or read it; the name has no extension. */
  readonly path: string
  /** Writes a stream behind what is there. Throws a RangeError, and releases the stream, beyond `maxBytes`; passes on what the stream throws. */
  append(chunks: AsyncIterable<Uint8Array>, maxBytes: number): Promise<void>
  /** Bytes from a position on, fewer at the end. */
  readAt(position: number, length: number): Promise<Buffer>
  /** The whole content, chunk by chunk. */
  chunks(): AsyncGenerator<Uint8Array, void, undefined>
}

export interface ScratchFilesOptions {
  /** Directory for the files, of this alone; created, closed to others, where it is missing. */
  directory: string
}

/** What an earlier process left behind is removed at once; throws where the directory cannot be used. */
export function createScratchFiles({ directory }: ScratchFilesOptions): ScratchFiles {
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  for (const name of readdirSync(directory)) rmSync(join(directory, name), { recursive: true })
  return {
    async create() {
      const path = join(directory, randomBase62(22))
      return createScratchFile(path, await onDisk(open(path, 'wx+', 0o600)))
    }
  }
}

/** A multiple of 3, so that base64 carries nothing from chunk to chunk. */
const chunkBytes = 196_608

function createScratchFile(path: string, handle: FileHandle): ScratchFile {
  async function readAt(position: number, length: number): Promise<Buffer> {
    const buffer = Buffer.allocUnsafe(length)
    let filled = 0
    while (filled < length) {
      const { bytesRead } = await onDisk(handle.read(buffer, filled, length - filled, position + filled))
      if (bytesRead === 0) break
      filled += bytesRead
    }
    return buffer.subarray(0, filled)
  }

  return {
    path,
    readAt,
    async append(chunks, maxBytes) {
      let sizeBytes = 0
      for await (const chunk of chunks) {
        sizeBytes += chunk.byteLength
        if (sizeBytes > maxBytes) throw new RangeError(`the file would become larger than ${maxBytes} bytes`)
        for (let at = 0; at < chunk.byteLength; ) at += (await onDisk(handle.write(chunk, at))).bytesWritten
      }
    },
    async *chunks() {
      let position = 0
      for (let chunk = await readAt(0, chunkBytes); chunk.length > 0; chunk = await readAt(position, chunkBytes)) {
        position += chunk.length
        yield chunk
      }
    },
    async [Symbol.asyncDispose]() {
      await handle.close()
      await onDisk(ignoreMissing(unlink(path)))
    }
  }
}
