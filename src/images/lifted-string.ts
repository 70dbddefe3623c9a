import { JsonError } from './json-error.ts'
import type { JsonSource } from './json-source.ts'

/** The characters of one string, taken from the source as slices of its chunks. */
export interface LiftedString extends AsyncIterableIterator<Uint8Array> {
  /** Passes what was not read and returns the bytes between the quotes; the source then stands at the closing quote. */
  skip(): Promise<number>
}

/** Lifts the string whose first character is next in the source; `place` is where that is in the document. */
export function liftString(source: JsonSource, place: number, maxBytes: number): LiftedString {
  let sizeBytes = 0
  let ended = false
  let brokenOff: unknown
  /** The beginning of an escape that continues in the next chunk. */
  let partialEscape: Buffer | undefined

  async function next(): Promise<IteratorResult<Uint8Array>> {
    try {
      while (!ended) {
        if (brokenOff) throw brokenOff
        if (source.offset === source.chunk.length && !source.accept(await source.chunks.next())) {
          throw new JsonError('truncated', `the document ends inside a string, at byte ${place + sizeBytes}`)
        }
        const value = take()
        if (value.length > 0) return { done: false, value }
      }
      return { done: true, value: undefined }
    } catch (error) {
      brokenOff = error
      await source.release()
      throw error
    }
  }

  /** The characters in the current chunk, or those before the first escape in it. */
  function take(): Uint8Array {
    const { chunk, offset } = source
    const quoteAt = chunk.indexOf(quote, offset)
    const end = quoteAt === -1 ? chunk.length : quoteAt
    const raw = chunk.subarray(offset, end)
    const escapeAt = partialEscape ? 0 : raw.indexOf(backslash)
    if (escapeAt > 0) return advance(offset + escapeAt, raw.subarray(0, escapeAt))
    const value = escapeAt === -1 ? raw : unescapeCharacters(raw, quoteAt !== -1)
    ended = quoteAt !== -1
    return advance(end, value)
  }

  function advance(offset: number, value: Uint8Array): Uint8Array {
    sizeBytes += offset - source.offset
    source.moveTo(offset)
    if (sizeBytes > maxBytes) throw new JsonError('limit', `the string at byte ${place} is longer than ${maxBytes} bytes`)
    return value
  }

  function unescapeCharacters(raw: Buffer, isLast: boolean): Buffer {
    const bytes = partialEscape ? Buffer.concat([partialEscape, raw]) : raw
    partialEscape = undefined
    const characters = Buffer.allocUnsafe(bytes.length)
    let length = 0
    let at = 0
    for (let escapeAt = bytes.indexOf(backslash); escapeAt !== -1; escapeAt = bytes.indexOf(backslash, at)) {
      length += bytes.copy(characters, length, at, escapeAt)
      at = escapeAt + (bytes[escapeAt + 1] === letterU ? 6 : 2)
      if (at > bytes.length && !isLast) {
        partialEscape = Buffer.from(bytes.subarray(escapeAt))
        return characters.subarray(0, length)
      }
      characters[length++] = unescapeCharacter(bytes, escapeAt, at)
    }
    length += bytes.copy(characters, length, at)
    return characters.subarray(0, length)
  }

  /** Only characters that need no escape anywhere: the string is data, and may be put into other documents as it is. */
  function unescapeCharacter(bytes: Buffer, start: number, end: number): number {
    const isSlash = end - start === 2 && bytes[start + 1] === slash
    const digits = isSlash ? '' : bytes.toString('latin1', start + 2, end)
    const code = isSlash ? slash : /^[0-9a-fA-F]{4}$/.test(digits) ? Number.parseInt(digits, 16) : 0
    if (code < 0x20 || code > 0x7e || code === quote || code === backslash) {
      throw new JsonError('malformed', `the string at byte ${place} holds an escape that data must not hold`)
    }
    return code
  }

  async function leave(): Promise<IteratorResult<Uint8Array>> {
    if (!ended) {
      brokenOff ??= new JsonError('truncated', `the document was left at byte ${place + sizeBytes}`)
      await source.release()
    }
    return { done: true, value: undefined }
  }

  async function skip(): Promise<number> {
    while (!(await next()).done);
    return sizeBytes
  }

  const string: LiftedString = { next, return: leave, skip, [Symbol.asyncIterator]: () => string }
  return string
}

const quote = 0x22
const slash = 0x2f
const backslash = 0x5c
const letterU = 0x75
