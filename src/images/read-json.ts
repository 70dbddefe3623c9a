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
export function readWholeJson(bytes: Uint8Array, options: LiftOptions): Extract<JsonPart, { kind: 'value' }>[] | undefined {
  const scanner = scannerFor(options)
  const document = { chunk: asBuffer(bytes), offset: 0 }
  const parts: Extract<JsonPart, { kind: 'value' }>[] = []
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
function parsePlain(bytes: Buffer, { maxDepth, maxKeys, maxBytes }: JsonLimits): JsonValue | undefined {
  if (bytes.length > plainBytes || bytes.length > maxBytes || bytes.length / 4 > maxKeys || !isUtf8(bytes)) return undefined
  const text = bytes.toString('utf8')
  if (/\\|__proto__|prototype/.test(text) || text.split(/[[{]/, maxDepth + 2).length > maxDepth + 1) return undefined
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
