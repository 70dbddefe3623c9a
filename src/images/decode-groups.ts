/**
 * Decodes base64 text of whole groups of four characters, none of them padded, into `target`, which must be large enough. Returns how many
 * bytes that makes: none where a character is not of the standard alphabet, or where the machine cannot do it.
 *
 * Every other way leads through a string on V8's heap, and the strings of a few images fill its young generation: clearing that costs more
 * than to decode them.
 */
export function decodeGroups(text: Buffer, target: Uint8Array): number {
  if (!desk) return 0
  const { length: deskBytes } = desk
  let written = 0
  for (let start = 0; start < text.length; start += deskBytes) {
    const length = text.copy(desk, 0, start, start + deskBytes)
    if (decodeAt(desk, length) === 0) return 0
    written += desk.copy(target, written, 0, (length / 4) * 3)
  }
  return written
}

/**
 * As `decodeGroups`, of a text in two parts, into decoding memory: copies nothing but the text. None, too, where the target is other memory
 * or smaller than the text and `stepChars` more.
 */
export function decodeInPlace(first: Uint8Array, others: Uint8Array, target: Uint8Array): number {
  const length = first.length + others.length
  if (length === 0 || target.length < length + stepChars || !machines.has(target.buffer)) return 0
  target.set(first)
  target.set(others, first.length)
  return decodeAt(target, length)
}

/** Memory that begins at a multiple of every page size and can be decoded into in place. Undefined where the machine cannot do it. */
export function createDecodingMemory(sizeBytes: number): Buffer | undefined {
  const pages = Math.ceil(sizeBytes / pageBytes)
  try {
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages })
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(assemble()), { '': { '': memory } })
    machines.set(memory.buffer, exports as unknown as Machine)
    return Buffer.from(memory.buffer)
  } catch {
    return undefined
  }
}

/** Decodes the text at the beginning of decoding memory, which is as long as whole steps of it. Returns how many bytes that makes. */
function decodeAt(target: Uint8Array, length: number): number {
  const end = Math.ceil(length / stepChars) * stepChars
  target.fill(filler, length, end)
  const isForeign = machines.get(target.buffer)?.decode(target.byteOffset, target.byteOffset + end) !== 0
  return isForeign ? 0 : (length / 4) * 3
}

/** How many characters become bytes at once. */
export const stepChars = 16
const pageBytes = 65_536
const filler = 'A'.charCodeAt(0)

interface Machine {
  /** Decodes what stands between two places in the memory, whole steps, to the first one. Returns 1 where a character is foreign. */
  decode(start: number, end: number): number
}

/** The instructions of WebAssembly that it takes; those without a prefix are of 32 bits, the others of 16 bytes at once. */
const get = (local: number) => [0x20, local]
const set = (local: number) => [0x21, local]
const setAndGet = (local: number) => [0x22, local]
const number = (below64: number) => [0x41, below64]
const repeatWhile = (...body: number[]) => [0x03, 0x40, ...body, 0x0d, 0, 0x0b]
const isLess = [0x49]
const plus = [0x6a]
const load = [0xfd, 0x00, 0, 0]
const store = [0xfd, 0x0b, 0, 0]
const vector = (bytes: readonly number[]) => [0xfd, 0x0c, ...Uint8Array.from({ length: 16 }, (_, at) => bytes[at % bytes.length] ?? 0)]
const and = [0xfd, 0x4e]
const or = [0xfd, 0x50]
const isAnySet = [0xfd, 0x53]
const equalBytes = [0xfd, 0x23]
const shiftBytesRight = [0xfd, 0x6d]
const addBytes = [0xfd, 0x6e]
/** Of the first vector those bytes whose places are in the second one. */
const pick = [0xfd, 0x80, 0x02]
/** Each two neighbours of the first vector times those of the second one, added up. */
const dotBytes = [0xfd, 0x92, 0x02]
const dotShorts = [0xfd, 0xba, 0x01]

/** The parameters and the local variables. */
const [from, end, to, chars, high, foreign, ...constants] = Array.from({ length: 14 }, (_, local) => local) as [
  ...[number, number, number, number, number, number],
  ...[number, number, number, number, number, number, number, number]
]
const [nibble, slash, lowBits, highBits, offsets, pairs, quads, order] = constants

/**
 * Sixteen characters at a time become twelve bytes, which never overtake them. A character is foreign where what `lowBits` has for its low
 * four bits and what `highBits` has for its high ones have a bit in common. Adding what `offsets` has for its high bits, or for the place
 * before if it is a slash, makes it six bits; of these two make twelve, and four make 24, which then stand in the wrong order. Constants are
 * kept in variables because V8 would make them anew in each round.
 */
const code = [
  ...[...get(from), ...set(to)],
  ...[...vector([0x0f]), ...set(nibble)],
  ...[...vector([0x2f]), ...set(slash)],
  ...[...vector([21, 17, 17, 17, 17, 17, 17, 17, 17, 17, 19, 26, 27, 27, 27, 26]), ...set(lowBits)],
  ...[...vector([16, 16, 1, 2, 4, 8, 4, 8, 16, 16, 16, 16, 16, 16, 16, 16]), ...set(highBits)],
  ...[...vector([0, 16, 19, 4, -65, -65, -71, -71, 0, 0, 0, 0, 0, 0, 0, 0]), ...set(offsets)],
  ...[...vector([64, 1]), ...set(pairs)],
  ...[...vector([0, 16, 1, 0]), ...set(quads)],
  ...[...vector([2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, 0, 0, 0, 0]), ...set(order)],
  ...repeatWhile(
    ...[...get(from), ...load, ...setAndGet(chars), ...number(4), ...shiftBytesRight, ...set(high)],
    ...[...get(lowBits), ...get(chars), ...get(nibble), ...and, ...pick, ...get(highBits), ...get(high), ...pick, ...and],
    ...[...get(foreign), ...or, ...set(foreign)],
    ...[...get(offsets), ...get(chars), ...get(slash), ...equalBytes, ...get(high), ...addBytes, ...pick],
    ...[...get(chars), ...addBytes, ...set(chars)],
    ...[...get(to), ...get(pairs), ...get(chars), ...dotBytes, ...get(quads), ...dotShorts, ...get(order), ...pick, ...store],
    ...[...get(to), ...number(12), ...plus, ...set(to)],
    ...[...get(from), ...number(stepChars), ...plus, ...setAndGet(from), ...get(end), ...isLess]
  ),
  ...[...get(foreign), ...isAnySet]
]

function assemble(): Uint8Array<ArrayBuffer> {
  const [integer, bytes] = [0x7f, 0x7b]
  const body = [2, 1, integer, 3 + constants.length, bytes, ...code, 0x0b]
  const name = (text: string) => [text.length, ...Buffer.from(text)]
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [1, 0x60, 2, integer, integer, 1, integer]),
    ...section(2, [1, ...name(''), ...name(''), 2, 0, 0]),
    ...section(3, [1, 0]),
    ...section(7, [1, ...name('decode'), 0, 0]),
    ...section(10, [1, ...size(body.length), ...body])
  ])
}

function section(id: number, content: readonly number[]): number[] {
  return [id, ...size(content.length), ...content]
}

function size(value: number): number[] {
  return value < 128 ? [value] : [(value & 127) | 128, ...size(value >> 7)]
}

const machines = new WeakMap<ArrayBufferLike, Machine>()
/** Where text is decoded that is to go to other memory. */
const desk = createDecodingMemory(2 * pageBytes)
