import { createDecodingMemory } from '../../images/decode-groups.ts'

/** Memory for files on the way to the disk, used again and again. */
export interface StepBuffers {
  /** Whether so many files are on the way that each of them has to make do with little. */
  readonly isScarce: boolean
  /** Memory at an address that direct writing takes, a multiple of every block size long; with whatever is in it. */
  take(): Uint8Array
  /** Nobody may touch the buffer from now on. */
  giveBack(buffer: Uint8Array): void
  /** At least so much memory until the end of the present turn of the event loop. */
  scratch(sizeBytes: number): Uint8Array
}

/** Few enough steps for an image. */
export const stepBytes = 1024 * 1024
/** Little enough memory for a thousand images at a time. */
export const scarceStepBytes = 64 * 1024

export function createStepBuffers(): StepBuffers {
  const pages = createDecodingMemory(plentyBytes)
  let usedPages = 0
  const free = new Map<number, Uint8Array[]>([
    [stepBytes, []],
    [scarceStepBytes, []]
  ])
  let takenBytes = 0
  let scratch = Buffer.allocUnsafeSlow(64 * 1024)

  /** The kernel gives this memory when it is first used; none of it is ever given back, so it is for the large steps, of which few are taken. */
  function takePages(sizeBytes: number): Uint8Array | undefined {
    if (!pages || sizeBytes !== stepBytes || usedPages + sizeBytes > pages.length) return undefined
    usedPages += sizeBytes
    return pages.subarray(usedPages - sizeBytes, usedPages)
  }

  return {
    get isScarce() {
      return takenBytes > plentyBytes
    },
    take() {
      const sizeBytes = takenBytes > plentyBytes ? scarceStepBytes : stepBytes
      takenBytes += sizeBytes
      return free.get(sizeBytes)?.pop() ?? takePages(sizeBytes) ?? allocatePages(sizeBytes)
    },
    giveBack(buffer) {
      takenBytes -= buffer.length
      const kept = free.get(buffer.length)
      if (kept && (buffer.buffer === pages?.buffer || kept.length * buffer.length < maxFreeBytes)) kept.push(buffer)
    },
    scratch(sizeBytes) {
      if (sizeBytes > maxScratchBytes) return Buffer.allocUnsafe(sizeBytes)
      if (scratch.length < sizeBytes) scratch = Buffer.allocUnsafeSlow(sizeBytes)
      return scratch
    }
  }
}

const plentyBytes = 32 * 1024 * 1024
const maxFreeBytes = 16 * 1024 * 1024
const maxScratchBytes = 1024 * 1024

/**
 * What can be resized is given whole pages of memory, which begin at a multiple of their size. Not a Buffer: V8 makes a new hidden class for
 * each one in such memory, and then all code that is handed a Buffer is slower for good.
 */
function allocatePages(sizeBytes: number): Uint8Array {
  return new Uint8Array(new ArrayBuffer(sizeBytes, { maxByteLength: sizeBytes }))
}
