/** A run of bytes in the pieces in which it came, which nobody has copied together. */
export type Pieces = readonly Uint8Array[]

/** Bytes of all pieces together. */
export function sizeOf(pieces: Pieces): number {
  return pieces.reduce((sum, { length }) => sum + length, 0)
}

/** The first bytes, fewer where there are no more. */
export function headOf(pieces: Pieces, maxBytes: number): Uint8Array {
  const [first = new Uint8Array()] = pieces
  if (first.length >= maxBytes || pieces.length === 1) return first.subarray(0, maxBytes)
  return Buffer.concat(pieces).subarray(0, maxBytes)
}

/** Collects what a source gives. Small pieces are copied together: each one that is kept costs more than a copy. */
export interface Gathering {
  readonly sizeBytes: number
  add(bytes: Uint8Array): void
  /** What was collected since the last time. */
  take(): Pieces
}

export function createGathering(): Gathering {
  let pieces: Uint8Array[] = []
  let sizeBytes = 0
  /** The last piece, where it has room for more. */
  let block: Buffer | undefined
  let blockLength = 0

  function closeBlock(): void {
    if (block) pieces.push(block.subarray(0, blockLength))
    block = undefined
    blockLength = 0
  }

  return {
    get sizeBytes() {
      return sizeBytes
    },
    add(bytes) {
      sizeBytes += bytes.length
      if (blockLength + bytes.length > blockBytes) closeBlock()
      if (bytes.length > smallBytes) {
        closeBlock()
        pieces.push(bytes)
        return
      }
      block ??= Buffer.allocUnsafeSlow(blockBytes)
      block.set(bytes, blockLength)
      blockLength += bytes.length
    },
    take() {
      closeBlock()
      const taken = pieces
      pieces = []
      sizeBytes = 0
      return taken
    }
  }
}

const smallBytes = 8 * 1024
const blockBytes = 64 * 1024
