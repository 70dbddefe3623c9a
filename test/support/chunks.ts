import { asBuffer } from '../../src/images/as-buffer.ts'

/** A source of chunks that knows how it was left. */
export interface ChunkSource extends AsyncIterableIterator<Uint8Array> {
  /** How many chunks were taken. */
  readonly taken: number
  readonly released: boolean
}

export function chunkSource(chunks: Iterable<Uint8Array | string>): ChunkSource {
  const iterator = chunks[Symbol.iterator]()
  let taken = 0
  let released = false
  const source: ChunkSource = {
    get taken() {
      return taken
    },
    get released() {
      return released
    },
    async next() {
      const result = iterator.next()
      if (result.done || released) return { done: true, value: undefined }
      taken++
      return { done: false, value: typeof result.value === 'string' ? Buffer.from(result.value) : result.value }
    },
    async return() {
      released = true
      return { done: true, value: undefined }
    },
    [Symbol.asyncIterator]: () => source
  }
  return source
}

/** Cuts bytes at the given places, which may be in any order, repeated or outside. */
export function cutAt(bytes: Uint8Array, places: readonly number[]): Uint8Array[] {
  const borders = [0, ...places.map((place) => place % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]
  return borders.slice(1).map((end, index) => bytes.subarray(borders[index], end))
}

export async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const collected: Uint8Array[] = []
  for await (const chunk of chunks) collected.push(Buffer.from(chunk))
  return asBuffer(Buffer.concat(collected))
}
