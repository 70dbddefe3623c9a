import { asBuffer } from './as-buffer.ts'

/** Reads a stream in pieces of a given length. Disposing it releases the stream. */
export interface ByteReader extends AsyncDisposable {
  /** Bytes taken or skipped so far. */
  readonly position: number
  /** The next bytes; undefined where the stream ends before. */
  take(length: number): Promise<Buffer | undefined>
  /** The next bytes, fewer at the end, without going on. */
  peek(length: number): Promise<Buffer>
  /** Whether there were as many bytes. */
  skip(length: number): Promise<boolean>
  /**
   * The code of the next JPEG marker: at once, or `behindScan`, behind the compressed data that stands before it. Undefined where there is
   * none.
   */
  nextMarker(behindScan: boolean): Promise<number | undefined>
  /** Reads the rest. */
  drain(): Promise<void>
}

/** `look` sees each chunk of the stream as it comes. */
export function createByteReader(chunks: AsyncIterable<Uint8Array>, look: (chunk: Buffer) => void): ByteReader {
  const source = chunks[Symbol.asyncIterator]()
  let held: Buffer = Buffer.alloc(0)
  let position = 0

  async function more(): Promise<boolean> {
    const { done, value } = await source.next()
    if (done) return false
    look(asBuffer(value))
    held = held.length === 0 ? asBuffer(value) : Buffer.concat([held, value])
    return true
  }

  function advance(length: number): void {
    held = held.subarray(length)
    position += length
  }

  async function peek(length: number): Promise<Buffer> {
    while (held.length < length && (await more()));
    return held.subarray(0, length)
  }

  async function take(length: number): Promise<Buffer | undefined> {
    const taken = await peek(length)
    if (taken.length < length) return undefined
    advance(length)
    return taken
  }

  async function skip(length: number): Promise<boolean> {
    let left = length
    while (left > held.length) {
      left -= held.length
      advance(held.length)
      if (!(await more())) return false
    }
    advance(left)
    return true
  }

  async function nextMarker(behindScan: boolean): Promise<number | undefined> {
    for (;;) {
      if (held.length < 2 && (await peek(2)).length < 2) return undefined
      const start = held.indexOf(0xff)
      if (start !== 0 && !behindScan) return undefined
      if (start === -1) {
        advance(held.length)
        continue
      }
      const found = codeBehind(held, start, behindScan)
      advance(found.at)
      if (found.code !== undefined) return found.code
      if (held.length < 2 && !(await more())) return undefined
    }
  }

  return {
    get position() {
      return position
    },
    take,
    peek,
    skip,
    nextMarker,
    async drain() {
      do advance(held.length)
      while (await more())
    },
    async [Symbol.asyncDispose]() {
      await source.return?.()
    }
  }
}

/** Looks through what is there at one go, so that compressed data does not cost a step for each 0xff in it. */
function codeBehind(bytes: Buffer, start: number, behindScan: boolean): { at: number; code?: number } {
  for (let at = start; at !== -1; at = bytes.indexOf(0xff, at + 1)) {
    const code = bytes[at + 1]
    if (code === undefined) return { at }
    if (code === 0xff) continue
    // A stuffed 0xff and restart markers are part of the compressed data.
    const isData = code === 0 || (code >= 0xd0 && code <= 0xd7)
    if (!isData) return { at: at + 2, code }
    if (!behindScan) return { at: at + 2, code: 0xd8 }
  }
  return { at: bytes.length }
}
