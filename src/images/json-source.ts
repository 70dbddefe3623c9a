import { asBuffer } from './as-buffer.ts'
import type { JsonInput } from './json-scanner.ts'

/** The chunks of a document, with the current one and the place in it; shared by all who take bytes from the document in turn. */
export interface JsonSource extends JsonInput {
  readonly chunks: AsyncIterator<Uint8Array>
  /** Makes what `chunks` gave the current chunk; false at the end. */
  accept(result: IteratorResult<Uint8Array>): boolean
  /** Goes on to a place in the current chunk. One that is used up is let go: who got bytes of it may have freed it. */
  moveTo(offset: number): void
  /** Lets the chunks go, unless they have ended. */
  release(): Promise<void>
}

export function createJsonSource(iterable: AsyncIterable<Uint8Array>): JsonSource {
  const chunks = iterable[Symbol.asyncIterator]()
  let ended = false
  return {
    chunks,
    chunk: empty,
    offset: 0,
    accept(result) {
      ended ||= result.done === true
      this.chunk = result.done ? empty : asBuffer(result.value)
      this.offset = 0
      return !result.done
    },
    moveTo(offset) {
      const isUsedUp = offset === this.chunk.length
      if (isUsedUp) this.chunk = empty
      this.offset = isUsedUp ? 0 : offset
    },
    async release() {
      if (ended) return
      ended = true
      await chunks.return?.()
    }
  }
}

const empty = Buffer.alloc(0)
