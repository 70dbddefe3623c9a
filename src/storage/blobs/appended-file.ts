import { closeSync, constants, fdatasync, open, openSync, read, unlink, write } from 'node:fs'
import { promisify } from 'node:util'
import type { StepBuffers } from './step-buffers.ts'

export interface AppendedFileOptions {
  path: string
  /** Whether the file loses its name as soon as it is open, so that nothing is left of it when the process ends, however it ends. */
  isNameless: boolean
  /** Called when more has been written, and when writing has failed. */
  changed(): void
}

/** How far an appended file is; one object that changes, because V8 has no fast way to getters of objects that are made anew each time. */
export interface AppendedProgress {
  /** How much of its front can be read. */
  readonly writtenBytes: number
  /** How much is being written, or will be before `changed` is called for the last time; it is in memory. */
  readonly waitingBytes: number
  /** What writing failed with; from then on nothing is written. */
  readonly failure: { error: unknown } | undefined
}

/** A new file that is written from front to back, in few large steps, and can be read meanwhile. Errors are those of the file system. */
export interface AppendedFile {
  readonly progress: AppendedProgress
  /** Memory for the next bytes, at least as many, to be filled and appended at once. */
  room(sizeBytes: number): Uint8Array
  /** Takes a copy of the bytes, unless they are at the beginning of the `room`. */
  append(bytes: Uint8Array): void
  /** Resolves when everything is written. */
  flush(): Promise<void>
  /** Resolves when what was written outlasts a power cut; its name may not. */
  sync(): Promise<void>
  /** Bytes that have been written, exactly as many. */
  readAt(position: number, length: number): Promise<Buffer>
  /** Drops what is not written yet, and removes the name, if it has that name still. Never rejects. */
  abandon(): Promise<void>
  /** Never rejects. */
  close(): Promise<void>
}

export function createAppendedFile(options: AppendedFileOptions, deps: { buffers: StepBuffers }): AppendedFile {
  const { path, isNameless, changed } = options
  const { buffers } = deps
  const full: Uint8Array[] = []
  let last: Uint8Array = empty
  let lastBytes = 0
  const progress: { -readonly [Key in keyof AppendedProgress]: AppendedProgress[Key] } = {
    writtenBytes: 0,
    waitingBytes: 0,
    failure: undefined
  }
  let isFlushing = false
  let writing: Promise<void> | undefined
  let reading: Promise<unknown> = Promise.resolve()
  let direct: number | undefined
  const opening = openNew()
  // Whoever writes meets the error; there may be nobody.
  opening.catch(fail)

  async function openNew(): Promise<number> {
    const descriptor = await openFile(path, 'wx+', 0o600)
    if (isNameless) await unlinkFile(path).catch(() => undefined)
    return descriptor
  }

  /** Past the page cache, which costs more than everything else that is done to an image; not every file system can. */
  function openDirect(): number | undefined {
    if (isNameless || constants.O_DIRECT === undefined) return undefined
    try {
      return openSync(path, constants.O_WRONLY | constants.O_DIRECT)
    } catch {
      return undefined
    }
  }

  async function write(): Promise<void> {
    try {
      const descriptor = await opening
      for (let step = full[0]; step && !progress.failure; step = full[0]) {
        await writeStep(descriptor, step)
        full.shift()
        if (!progress.failure) progress.waitingBytes -= step.length
        buffers.giveBack(step)
        changed()
      }
      if (isFlushing && lastBytes > 0 && !progress.failure) {
        await writeStep(descriptor, last.subarray(0, lastBytes))
        lastBytes = 0
      }
    } catch (error) {
      fail(error)
    } finally {
      writing = undefined
      if (progress.failure || isFlushing) giveBack()
    }
  }

  async function writeStep(descriptor: number, step: Uint8Array): Promise<void> {
    const blocks = step.subarray(0, step.length - (step.length % blockBytes))
    const isWorthIt = blocks.length >= leastDirectBytes
    const position = progress.writtenBytes
    if (isWorthIt && position === 0) direct = openDirect()
    const done = isWorthIt && direct !== undefined ? await writeDirect(direct, blocks, position) : 0
    await writeAll(descriptor, step, done, position)
    progress.writtenBytes += step.length
  }

  function fail(error: unknown): void {
    if (progress.failure) return
    progress.failure = { error }
    progress.waitingBytes = 0
    if (!writing) giveBack()
    changed()
  }

  function giveBack(): void {
    for (const buffer of full.splice(0)) buffers.giveBack(buffer)
    progress.waitingBytes = 0
    if (last.length > 0) buffers.giveBack(last)
    last = empty
    lastBytes = 0
  }

  return {
    progress,
    room(sizeBytes) {
      if (last.length === 0) last = buffers.take()
      return sizeBytes <= last.length - lastBytes ? last.subarray(lastBytes) : buffers.scratch(sizeBytes)
    },
    append(bytes) {
      for (let at = 0; at < bytes.length && !progress.failure; ) {
        if (last.length === 0) last = buffers.take()
        const part = bytes.subarray(at, at + last.length - lastBytes)
        const isThere = part.buffer === last.buffer && part.byteOffset === last.byteOffset + lastBytes
        if (!isThere) last.set(part, lastBytes)
        lastBytes += part.length
        at += part.length
        if (lastBytes < last.length) return
        full.push(last)
        progress.waitingBytes += last.length
        last = empty
        lastBytes = 0
        writing ??= write()
      }
    },
    async flush() {
      isFlushing = true
      while (writing) await writing
      writing ??= write()
      await writing
      if (progress.failure) throw progress.failure.error
    },
    sync: async () => syncData(await opening),
    readAt(position, length) {
      const bytes = opening.then((descriptor) => readExactly(descriptor, position, length))
      // Without the results, which would stay in memory.
      reading = Promise.allSettled([reading, bytes]).then(() => undefined)
      return bytes
    },
    async abandon() {
      fail(new Error('the file was abandoned'))
      await opening.catch(() => undefined)
      if (!isNameless) await unlinkFile(path).catch(() => undefined)
    },
    async close() {
      // Whoever gets the number of a descriptor next must not get what is under way.
      await Promise.all([writing, reading])
      const descriptor = await opening.catch(() => undefined)
      // Unlike most of what is done to files these never wait for a disk, and a round trip to another thread costs ten times as much.
      closeQuietly(descriptor)
      closeQuietly(direct)
    }
  }
}

const empty = new Uint8Array()

/** A multiple of every block size: past the page cache go whole blocks only. */
const blockBytes = 4096
const leastDirectBytes = 64 * 1024

const openFile = promisify(open)
const unlinkFile = promisify(unlink)
const syncData = promisify(fdatasync)
const readSome = promisify(read)
const writeSome = promisify(write)

function closeQuietly(descriptor: number | undefined): void {
  try {
    if (descriptor !== undefined) closeSync(descriptor)
  } catch {
    // What had to outlast it was synchronised before.
  }
}

async function readExactly(descriptor: number, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(length)
  for (let filled = 0; filled < length; ) {
    const { bytesRead } = await readSome(descriptor, buffer, filled, length - filled, position + filled)
    if (bytesRead === 0) throw Object.assign(new Error('the file is shorter than what was written to it'), { code: 'EIO' })
    filled += bytesRead
  }
  return buffer
}

/** Returns how much was written: nothing where the file system wants it otherwise. */
async function writeDirect(descriptor: number, blocks: Uint8Array, position: number): Promise<number> {
  try {
    return (await writeSome(descriptor, blocks, 0, blocks.length, position)).bytesWritten
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EINVAL') return 0
    throw error
  }
}

/** A disk that is nearly full, or a signal, cuts a write short. */
async function writeAll(descriptor: number, bytes: Uint8Array, from: number, position: number): Promise<void> {
  for (let done = from; done < bytes.length; ) {
    done += (await writeSome(descriptor, bytes, done, bytes.length - done, position + done)).bytesWritten
  }
}
