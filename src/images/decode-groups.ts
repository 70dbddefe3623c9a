/**
 * Decodes base64 text of whole groups of four characters, none of them padded, into `target`, which must be large enough. Returns how many
 * bytes that makes: none where a character is not of the standard alphabet, or where the machine cannot do it.
 *
 * Every other way leads through a string on V8's heap, and the strings of a few images fill its young generation: clearing that costs more
 * than to decode them.
 */
export function decodeGroups(text: Buffer, target: Buffer): number {
  if (!machine) return 0
  const { memory, decode } = machine
  let written = 0
  for (let start = 0; start < text.length; start += memoryBytes) {
    const length = text.copy(memory, 0, start, start + memoryBytes)
    const end = Math.ceil(length / stepChars) * stepChars
    memory.fill('A', length, end)
    if (decode(end) !== 0) return 0
    written += memory.copy(target, written, 0, (length / 4) * 3)
  }
  return written
}

const pages = 2
const memoryBytes = pages * 65_536
const stepChars = 16

interface Machine {
  memory: Buffer
  /** Decodes what stands before `end`, a multiple of `stepChars`, to the beginning of the memory. Returns 1 where a character is foreign. */
  decode(end: number): number
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

/** The parameter and the local variables. */
const [end, from, to, chars, high, foreign, ...constants] = Array.from({ length: 14 }, (_, local) => local) as [
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

const machine = createMachine()

/** Undefined where there is no WebAssembly, or none with these instructions. */
function createMachine(): Machine | undefined {
  try {
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(assemble()))
    const { memory, decode } = exports as { memory: WebAssembly.Memory } & Pick<Machine, 'decode'>
    return { memory: Buffer.from(memory.buffer), decode }
  } catch {
    return undefined
  }
}

function assemble(): Uint8Array<ArrayBuffer> {
  const [integer, bytes] = [0x7f, 0x7b]
  const body = [2, 2, integer, 3 + constants.length, bytes, ...code, 0x0b]
  const exported = (name: string, kind: number) => [name.length, ...Buffer.from(name), kind, 0]
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [1, 0x60, 1, integer, 1, integer]),
    ...section(3, [1, 0]),
    ...section(5, [1, 1, pages, pages]),
    ...section(7, [2, ...exported('memory', 2), ...exported('decode', 0)]),
    ...section(10, [1, ...size(body.length), ...body])
  ])
}

function section(id: number, content: readonly number[]): number[] {
  return [id, ...size(content.length), ...content]
}

function size(value: number): number[] {
  return value < 128 ? [value] : [(value & 127) | 128, ...size(value >> 7)]
}
