import { asBuffer } from './as-buffer.ts'
import type { ImageBody } from './image-body.ts'

export interface PeekedImage {
  /** The first bytes, decoded; the whole image where it is shorter. */
  head: Buffer
  /** The whole image from its first byte, in the form of the body that was peeked into; must be read, or left by `return`. */
  chunks: AsyncIterableIterator<Uint8Array> & { return(): Promise<IteratorResult<Uint8Array>> }
}

/**
 * Reads the first bytes of an image, until they are enough or `maxBytes` and a chunk are there, and puts them back: what follows costs
 * nothing per chunk. Throws what the source throws.
 */
export async function peekImage(body: ImageBody, maxBytes: number, areEnough: (head: Buffer) => boolean): Promise<PeekedImage> {
  const rest = body.read(body.form)[Symbol.asyncIterator]()
  const maxLength = body.form === 'bytes' ? maxBytes : Math.ceil((maxBytes * 4) / 3)
  const chunks: Uint8Array[] = []
  let head: Buffer = Buffer.alloc(0)
  let length = 0
  let lookAt = 1
  while (length < maxLength) {
    const { done, value } = await rest.next()
    if (!done) {
      chunks.push(value)
      length += value.length
    }
    if (length >= lookAt || done) {
      head = decodedHead(chunks, body.form, maxLength)
      if (done || areEnough(head)) break
      // Tiny chunks must not make it look at every byte anew.
      lookAt = length < eagerBytes ? length + 1 : Math.min(maxLength, length * 1.25)
    }
  }
  return { head, chunks: replay(chunks, rest) }
}

/** So far every chunk counts: most images show in it what they are. */
const eagerBytes = 4096

function decodedHead(chunks: readonly Uint8Array[], form: ImageBody['form'], maxLength: number): Buffer {
  const [first, ...others] = chunks
  const taken = first && others.length === 0 ? asBuffer(first) : Buffer.concat(chunks)
  const head = taken.subarray(0, maxLength)
  return form === 'bytes' ? head : Buffer.from(head.toString('latin1'), 'base64')
}

/** The chunks taken, then the rest. Written out because a generator would add a step to every chunk, and would not pass on an early `return`. */
function replay(chunks: Uint8Array[], rest: AsyncIterator<Uint8Array>): PeekedImage['chunks'] {
  return {
    [Symbol.asyncIterator]() {
      return this
    },
    next() {
      const value = chunks.shift()
      return value === undefined ? rest.next() : Promise.resolve({ done: false, value })
    },
    async return() {
      chunks.length = 0
      await rest.return?.()
      return { done: true, value: undefined }
    }
  }
}
