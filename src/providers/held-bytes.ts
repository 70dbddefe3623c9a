/** Bytes that are kept until they are needed, in memory. */
export interface HeldBytes {
  readonly sizeBytes: number
  /** The first bytes, up to 192 KiB. */
  head(): Uint8Array
  /** The bytes, each block of them let go as it is taken; they can be taken once. */
  take(): AsyncIterable<Uint8Array>
}

/**
 * Reads a source to its end and keeps it in blocks, however small its chunks are. Throws the error that `tooLarge` makes, and leaves the
 * source, as soon as there are more than `maxBytes`.
 */
export async function holdBytes(source: AsyncIterable<Uint8Array>, maxBytes: number, tooLarge: () => Error): Promise<HeldBytes> {
  const blocks: Buffer[] = []
  let sizeBytes = 0
  for await (const chunk of source) {
    if (sizeBytes + chunk.length > maxBytes) throw tooLarge()
    for (let offset = 0; offset < chunk.length; ) {
      const filled = sizeBytes % blockBytes
      if (filled === 0) blocks.push(Buffer.allocUnsafeSlow(blockBytes))
      const part = chunk.subarray(offset, offset + blockBytes - filled)
      blocks.at(-1)?.set(part, filled)
      offset += part.length
      sizeBytes += part.length
    }
  }
  const last = blocks.pop()
  if (last) blocks.push(last.subarray(0, sizeBytes - blocks.length * blockBytes))
  return {
    sizeBytes,
    head: () => blocks[0] ?? Buffer.alloc(0),
    async *take() {
      for (let block = blocks.shift(); block; block = blocks.shift()) yield block
    }
  }
}

/** A multiple of 3, so that base64 carries nothing from block to block. */
const blockBytes = 196_608
