import { isUtf8 } from 'node:buffer'
import type { JsonValue } from '@bufbuild/protobuf'
import { asBuffer } from './as-buffer.ts'
import { JsonError } from './json-error.ts'
import { createJsonScanner, type JsonPattern, type JsonScanner } from './json-scanner.ts'
import { createJsonSource } from './json-source.ts'
import { liftString } from './lifted-string.ts'

export { JsonError } from './json-error.ts'

export interface JsonLimits {
  /** Containers inside each other; 32 unless told. */
  maxDepth: number
  /** Keys of all objects together; 10,000 unless told. */
  maxKeys: number
  /** Of the document without its lifted strings; 1 MiB unless told. */
  maxBytes: number
}

export interface LiftOptions extends Partial<JsonLimits> {
  /** Strings to hand out as streams, as `data[].b64_json`: keys joined by dots, `[]` for every element of an array. */
  lift: readonly string[]
  /** Objects and arrays to hand out as soon as they close, written like `lift`. */
  emit?: readonly string[]
  /** Of one lifted string; 256 MiB unless told. */
  maxLiftedBytes?: number
  /** Refuses the keys that `parseJson` refuses. */
  refusePrototypeKeys?: boolean
}

export type JsonPart =
  /**
   * A string at a lifted path. `chars` are its characters as they stand in the document, printable ASCII escapes (`\/`, `\u002B`) resolved;
   * as no quote, backslash or control character may be escaped in it, they can stand between the quotes of another document. Control
   * characters that are not escaped and UTF-8 are the reader's to check. `chars` is read, or left unread, before the next part is asked for;
   * breaking off its iteration releases the source and ends the parts.
   */
  | { kind: 'lifted'; path: readonly (string | number)[]; chars: AsyncIterable<Uint8Array> }
  /** An emitted object or array when it closes, and last the whole document with the path `[]`. Lifted strings stand as ''. */
  | { kind: 'value'; path: readonly (string | number)[]; value: JsonValue }

/**
 * Reads one JSON document with bounded memory. Outside the lifted strings it means exactly what it means to `JSON.parse`, and is refused
 * exactly when that refuses it, or when it is no UTF-8 or beyond a limit. Throws JsonErrors and what the source throws; as parts are
 * handed out while the document still arrives, only the last one says that it was sound. Leaving early releases the source.
 */
export async function* readJson(source: AsyncIterable<Uint8Array>, options: LiftOptions): AsyncGenerator<JsonPart, void, undefined> {
  const scanner = scannerFor(options)
  const document = createJsonSource(source)
  try {
    while (document.accept(await document.chunks.next())) {
      for (let stop = scanner.scan(document); stop !== 'chunk_end'; stop = scanner.scan(document)) {
        const path = scanner.path()
        if (stop === 'value') {
          yield { kind: 'value', path, value: scanner.value() }
        } else {
          const chars = liftString(document, scanner.position(), options.maxLiftedBytes ?? 268_435_456)
          yield { kind: 'lifted', path, chars }
          scanner.lifted(await chars.skip())
        }
      }
    }
    yield { kind: 'value', path: [], value: scanner.document() }
  } finally {
    await document.release()
  }
}

/**
 * What `readJson` hands out of a document that is all in one chunk, at once; undefined where it has a string to lift, and where it is not
 * sound, so that only `readJson` can tell what comes before that.
 */
export function readWholeJson(bytes: Uint8Array, options: LiftOptions): ValuePart[] | undefined {
  return readPlainJson(asBuffer(bytes), options) ?? scanWholeJson(asBuffer(bytes), options)
}

type ValuePart = Extract<JsonPart, { kind: 'value' }>

function scanWholeJson(bytes: Buffer, options: LiftOptions): ValuePart[] | undefined {
  const scanner = scannerFor(options)
  const document = { chunk: bytes, offset: 0 }
  const parts: ValuePart[] = []
  try {
    for (let stop = scanner.scan(document); stop !== 'chunk_end'; stop = scanner.scan(document)) {
      if (stop === 'lift') return undefined
      parts.push({ kind: 'value', path: scanner.path(), value: scanner.value() })
    }
    parts.push({ kind: 'value', path: [], value: scanner.document() })
    return parts
  } catch (error) {
    if (error instanceof JsonError) return undefined
    throw error
  }
}

/** The same, parsed once, of a plain document in which nothing can be lifted and the keys that lead to what is emitted stand once at most. */
function readPlainJson(bytes: Buffer, options: LiftOptions): ValuePart[] | undefined {
  const text = plainText(bytes, limitsOf(options))
  const [pattern, ...others] = options.emit ? patternsOf(options.emit) : []
  if (text === undefined || others.length > 0) return undefined
  const mayLift = patternsOf(options.lift).some((each) => each.every((step) => step === undefined || text.includes(`"${step}"`)))
  const isRepeated = pattern?.some((step) => step !== undefined && text.indexOf(`"${step}"`) !== text.lastIndexOf(`"${step}"`))
  if (mayLift || isRepeated) return undefined
  const value = parseOrNothing(text)
  if (value === undefined) return undefined
  const parts: ValuePart[] = []
  if (pattern) emitInto(parts, value, pattern, [])
  parts.push({ kind: 'value', path: [], value })
  return parts
}

/** The containers to which the rest of a pattern leads from a value. */
function emitInto(parts: ValuePart[], value: JsonValue, pattern: JsonPattern, path: readonly (string | number)[]): void {
  if (typeof value !== 'object' || value === null) return
  if (path.length === pattern.length) {
    parts.push({ kind: 'value', path, value })
    return
  }
  const step = pattern[path.length]
  if (Array.isArray(value)) {
    if (step === undefined) for (const [index, item] of value.entries()) emitInto(parts, item, pattern, [...path, index])
  } else if (step !== undefined && Object.hasOwn(value, step)) {
    emitInto(parts, value[step] ?? null, pattern, [...path, step])
  }
}

/**
 * Reads a whole JSON document that is already here, under the same limits. Beyond what `JSON.parse` refuses, it refuses the keys `__proto__`
 * and, below `constructor`, `prototype`: they are only ever sent to attack code that merges objects. Throws JsonErrors.
 */
export function parseJson(bytes: Uint8Array, limits: Partial<JsonLimits> = {}): JsonValue {
  const plain = parsePlain(asBuffer(bytes), limitsOf(limits))
  if (plain !== undefined) return plain
  const scanner = createJsonScanner({ ...limitsOf(limits), lift: [], emit: [], refusePrototypeKeys: true })
  scanner.scan({ chunk: asBuffer(bytes), offset: 0 })
  return scanner.document()
}

function scannerFor(options: LiftOptions): JsonScanner {
  return createJsonScanner({
    ...limitsOf(options),
    lift: patternsOf(options.lift),
    emit: options.emit ? patternsOf(options.emit) : [],
    refusePrototypeKeys: options.refusePrototypeKeys ?? false
  })
}

/** Most bytes of a document that is looked at as a whole. Each key takes four of them at least. */
const plainBytes = 16_384

/** A small document that cannot be beyond a limit, and holds no forbidden key, however it is made; undefined for any other one. */
function parsePlain(bytes: Buffer, limits: JsonLimits): JsonValue | undefined {
  const text = plainText(bytes, limits)
  return text === undefined ? undefined : parseOrNothing(text)
}

function plainText(bytes: Buffer, { maxDepth, maxKeys, maxBytes }: JsonLimits): string | undefined {
  if (bytes.length > plainBytes || bytes.length > maxBytes || bytes.length / 4 > maxKeys || !isUtf8(bytes)) return undefined
  const text = bytes.toString('utf8')
  // Both forbidden keys hold the word.
  if (text.includes('\\') || text.includes('proto') || holdsMore(text, maxDepth)) return undefined
  return text
}

/** Whether a text holds more brackets than so many that open something, inside of strings or not. */
function holdsMore(text: string, count: number): boolean {
  let left = count
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if ((code === openBrace || code === openBracket) && --left < 0) return true
  }
  return false
}

const openBracket = 0x5b
const openBrace = 0x7b

function parseOrNothing(text: string): JsonValue | undefined {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function limitsOf(limits: Partial<JsonLimits>): JsonLimits {
  return { maxDepth: limits.maxDepth ?? 32, maxKeys: limits.maxKeys ?? 10_000, maxBytes: limits.maxBytes ?? 1_048_576 }
}

/** By the list of paths: most readers have one that they use for every document. */
const patterns = new WeakMap<readonly string[], readonly JsonPattern[]>()

function patternsOf(paths: readonly string[]): readonly JsonPattern[] {
  const known = patterns.get(paths)
  if (known) return known
  const made = paths.map(toPattern)
  patterns.set(paths, made)
  return made
}

function toPattern(path: string): JsonPattern {
  return path.split(/\.|(?=\[\])/).map((step) => (step === '[]' ? undefined : step))
}
