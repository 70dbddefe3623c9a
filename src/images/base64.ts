import { asBuffer } from './as-buffer.ts'
import { decodeGroups, decodeInPlace, stepChars } from './decode-groups.ts'
import { freeChunk } from './free-chunk.ts'

export interface ConversionOptions {
  /** Whether the source gives its chunks away: then each one is freed as soon as it is converted. */
  freesChunks?: boolean
}

/**
 * Base64 text as bytes, chunk by chunk. Takes the standard alphabet only, no line breaks, with padding, over chunk borders anywhere;
 * throws a SyntaxError at the first chunk that breaks this. Leaving early releases the source. The chunks are their reader's alone.
 */
export function decodeBase64(chars: AsyncIterable<Uint8Array>, options: ConversionOptions = {}): AsyncIterableIterator<Uint8Array> {
  const decoder = createBase64Decoder()
  return transform(chars, options, {
    convert: (chunk) => decoder.decode(chunk),
    finish() {
      decoder.end()
      return empty
    }
  })
}

/** As strict as `decodeBase64`, for who has the text piece by piece. */
export interface Base64Decoder {
  /**
   * The bytes of every group of four characters that is complete by now; may be empty. They are at the beginning of `target` where that is
   * given and large enough: `decodingRoom` says what always is. Memory behind them may be written to. Throws a SyntaxError.
   */
  decode(chars: Uint8Array, target?: Uint8Array): Uint8Array
  /** Throws a SyntaxError where the text ends inside a group. */
  end(): void
}

/** Room that is enough to decode so many characters, in the fastest way where the memory is for that. */
export function decodingRoom(charsLength: number): number {
  return charsLength + 2 * stepChars
}

export function createBase64Decoder(): Base64Decoder {
  const groups = createGrouping(4)
  let isPadded = false

  function decode(text: Buffer, target: Uint8Array): number {
    if (text.length === 0) return 0
    if (isPadded) throw new SyntaxError('invalid base64: characters behind the padding')
    isPadded = endsPadded(text)
    const padding = !isPadded ? 0 : text.at(-2) === paddingCharacter ? 2 : 1
    const done = text.length < leastFastChars ? 0 : decodeGroups(isPadded ? text.subarray(0, -4) : text, target)
    const length = (text.length / 4) * 3 - padding
    if (done === length) return length
    // Unlike Buffer's own decoder this one refuses foreign characters; white space, which it skips, shows in the number of bytes.
    const { written } = target.subarray(done).setFromBase64(text.toString('latin1', (done / 3) * 4))
    if (done + written !== length) throw new SyntaxError('invalid base64: white space')
    return length
  }

  return {
    decode(chars, target) {
      const { first, others } = groups.take(chars)
      const length = ((first.length + others.length) / 4) * 3
      // What is padded, or wrong, is for the way that can tell.
      const isPlain = target !== undefined && !isPadded && !endsPadded(first) && !endsPadded(others)
      if (isPlain && decodeInPlace(first, others, target) === length) return target.subarray(0, length)
      const bytes = target && target.length >= length ? target.subarray(0, length) : Buffer.allocUnsafe(length)
      const start = decode(first, bytes)
      return bytes.subarray(0, start + decode(others, bytes.subarray(start)))
    },
    end() {
      if (groups.rest().length > 0) throw new SyntaxError('invalid base64: the text ends inside a group of four characters')
    }
  }
}

/**
 * Bytes as base64 text without line breaks, chunk by chunk, padded at its end. Leaving early releases the source. The chunks are their
 * reader's alone.
 */
export function encodeBase64(bytes: AsyncIterable<Uint8Array>, options: ConversionOptions = {}): AsyncIterableIterator<Uint8Array> {
  const groups = createGrouping(3)
  return transform(bytes, options, {
    convert(chunk) {
      const { first, others } = groups.take(chunk)
      const chars = Buffer.allocUnsafe(((first.length + others.length) / 3) * 4)
      const start = chars.write(first.toString('base64'), 'latin1')
      chars.write(others.toString('base64'), start, 'latin1')
      return chars
    },
    finish: () => Buffer.from(groups.rest().toString('base64'), 'latin1')
  })
}

function endsPadded(text: Buffer): boolean {
  return text[text.length - 1] === paddingCharacter
}

const empty = Buffer.alloc(0)
const paddingCharacter = 0x3d
const leastFastChars = 256

interface Grouping {
  /** The group that the border before this chunk cuts through, and the whole groups in the chunk. */
  take(chunk: Uint8Array): { first: Buffer; others: Buffer }
  /** What has not become a group. */
  rest(): Buffer
}

/** Cuts chunks at multiples of `size` bytes of the stream without copying more than one group. */
function createGrouping(size: number): Grouping {
  let carried = empty
  return {
    take(chunk) {
      const bytes = asBuffer(chunk)
      const start = carried.length === 0 ? 0 : size - carried.length
      if (bytes.length < start) {
        carried = Buffer.concat([carried, bytes])
        return { first: empty, others: empty }
      }
      const first = start === 0 ? empty : Buffer.concat([carried, bytes.subarray(0, start)])
      const end = bytes.length - ((bytes.length - start) % size)
      carried = Buffer.from(bytes.subarray(end))
      return { first, others: bytes.subarray(start, end) }
    },
    rest: () => carried
  }
}

interface Conversion {
  convert(chunk: Uint8Array): Uint8Array
  finish(): Uint8Array
}

/** One step per chunk: a generator in its place costs several promises more. */
function transform(
  source: AsyncIterable<Uint8Array>,
  { freesChunks = false }: ConversionOptions,
  conversion: Conversion
): AsyncIterableIterator<Uint8Array> {
  const chunks = source[Symbol.asyncIterator]()
  let ended = false

  async function next(): Promise<IteratorResult<Uint8Array>> {
    while (!ended) {
      const result = await chunks.next()
      ended = result.done === true
      const value = result.done ? conversion.finish() : await convertOrRelease(result.value)
      if (value.length > 0) return { done: false, value }
    }
    return { done: true, value: undefined }
  }

  async function convertOrRelease(chunk: Uint8Array): Promise<Uint8Array> {
    try {
      const converted = conversion.convert(chunk)
      if (freesChunks) freeChunk(chunk)
      return converted
    } catch (error) {
      await leave()
      throw error
    }
  }

  async function leave(): Promise<IteratorResult<Uint8Array>> {
    if (!ended) {
      ended = true
      await chunks.return?.()
    }
    return { done: true, value: undefined }
  }

  const iterator: AsyncIterableIterator<Uint8Array> = { next, return: leave, [Symbol.asyncIterator]: () => iterator }
  return iterator
}
