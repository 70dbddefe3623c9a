import { isUtf8 } from 'node:buffer'
import type { JsonValue } from '@bufbuild/protobuf'
import { JsonError, toJsonError } from './json-error.ts'

/**
 * Follows the structure of one JSON document through its chunks and stops where the reader has something to do. It keeps all bytes but
 * the lifted ones, and `JSON.parse` of those decides what the document means and whether it is one. So it only has to know where strings
 * begin and end and how containers nest.
 */
export interface JsonScanner {
  /**
   * Reads on from `input.offset` and leaves it behind the last byte that it took. `lift`: behind the opening quote of a string to lift;
   * its characters are the reader's, and scanning goes on at its closing quote. `value`: an object or array to emit has just closed.
   * `chunk_end`: the chunk is used up. Throws JsonErrors.
   */
  scan(input: JsonInput): 'lift' | 'value' | 'chunk_end'
  /** Counts bytes of a lifted string, so that messages name the right place. */
  lifted(sizeBytes: number): void
  /** Bytes of the document that were passed, lifted ones included. */
  position(): number
  /** Where the scanner stopped. */
  path(): (string | number)[]
  /** The object or array that has just closed. */
  value(): JsonValue
  /** The whole document, to be asked for at its end. */
  document(): JsonValue
}

export interface JsonInput {
  chunk: Buffer
  offset: number
}

/** From the root to a value; `undefined` stands for every element of an array. */
export type JsonPattern = readonly (string | undefined)[]

export interface JsonScannerOptions {
  maxDepth: number
  maxKeys: number
  /** Of what is kept. */
  maxBytes: number
  lift: readonly JsonPattern[]
  emit: readonly JsonPattern[]
  /** Refuses `__proto__`, and `prototype` below `constructor`. */
  refusePrototypeKeys: boolean
}

/** An open object or array: where it begins, and its current element or key (the bytes between the quotes), all as places in `kept`. */
interface Frame {
  isObject: boolean
  start: number
  index: number
  keyStart: number
  keyEnd: number
}

export function createJsonScanner(options: JsonScannerOptions): JsonScanner {
  const { maxDepth, maxKeys, maxBytes, lift, emit, refusePrototypeKeys } = options
  const frames: Frame[] = []
  let frame: Frame | undefined
  let closedStart = 0
  let rootClosed = false
  let keyCount = 0
  let inString = false
  let afterBackslash = false
  let inKey = false
  let expectsKey = false
  let kept = Buffer.allocUnsafe(windowBytes)
  let keptLength = 0
  let liftedBytes = 0
  /** Pairs: a place in `kept`, and how many lifted bytes stand before it. */
  const gaps: number[] = []

  function scan(input: JsonInput): 'lift' | 'value' | 'chunk_end' {
    while (input.offset < input.chunk.length) {
      const start = keptLength
      const reason = scanKept(start, keep(input))
      input.offset += keptLength - start
      if (reason) return reason
    }
    return 'chunk_end'
  }

  /** Copies the next bytes behind the kept ones, to be scanned there: the chunk may be large, and only a few of its bytes needed. */
  function keep(input: JsonInput): number {
    const end = keptLength + Math.min(windowBytes, input.chunk.length - input.offset, maxBytes - keptLength)
    if (end === keptLength) throw new JsonError('limit', `the document is larger than ${maxBytes} bytes`)
    if (end > kept.length) {
      const larger = Buffer.allocUnsafe(kept.length * 2)
      kept.copy(larger, 0, 0, keptLength)
      kept = larger
    }
    input.chunk.copy(kept, keptLength, input.offset, input.offset + end - keptLength)
    return end
  }

  /** Scans what `keep` has brought and moves `keptLength` to where it stops. */
  function scanKept(start: number, end: number): 'lift' | 'value' | undefined {
    const bytes = kept
    let at = start
    while (at < end) {
      const byte = bytes[at++]
      if (inString) {
        if (afterBackslash) afterBackslash = false
        else if (byte === backslash) afterBackslash = true
        else if (byte === quote) {
          inString = false
          if (inKey) closeKey(at - 1)
        }
        continue
      }
      if (byte === space || byte === lineFeed || byte === carriageReturn || byte === tab) continue
      if (rootClosed) throw malformed('unexpected character behind the document', at - 1)
      if (byte === quote) {
        inString = true
        if (expectsKey) openKey(at)
        else if (matches(lift)) {
          keptLength = at
          return 'lift'
        }
      } else if (byte === openBrace || byte === openBracket) {
        openContainer(byte === openBrace, at - 1)
      } else if (byte === closeBrace || byte === closeBracket) {
        closeContainer(byte === closeBrace, at - 1)
        if (matches(emit)) {
          keptLength = at
          return 'value'
        }
      } else if (byte === comma && frame) {
        frame.index++
        expectsKey = frame.isObject
      } else if (byte === colon) {
        expectsKey = false
      }
    }
    keptLength = at
  }

  function openContainer(isObject: boolean, at: number): void {
    if (frames.length === maxDepth) throw new JsonError('limit', `nested deeper than ${maxDepth} levels at byte ${documentPlace(at)}`)
    frame = { isObject, start: at, index: 0, keyStart: 0, keyEnd: 0 }
    frames.push(frame)
    expectsKey = isObject
  }

  function closeContainer(isObject: boolean, at: number): void {
    if (frame?.isObject !== isObject) throw malformed(`unexpected '${isObject ? '}' : ']'}'`, at)
    closedStart = frame.start
    frames.pop()
    frame = frames.at(-1)
    rootClosed = frame === undefined
    expectsKey = false
  }

  function openKey(at: number): void {
    if (++keyCount > maxKeys) throw new JsonError('limit', `more than ${maxKeys} keys, at byte ${documentPlace(at - 1)}`)
    inKey = true
    if (frame) frame.keyStart = at
  }

  function closeKey(at: number): void {
    inKey = false
    expectsKey = false
    if (!frame) return
    frame.keyEnd = at
    // Both forbidden keys have nine letters, and more bytes where they are written with escapes.
    if (!refusePrototypeKeys || at - frame.keyStart < 9) return
    const key = keyOf(frame)
    const outer = frames.at(-2)
    if (key === '__proto__' || (key === 'prototype' && outer?.isObject && keyOf(outer) === 'constructor')) {
      throw malformed(`the key '${key}' is not accepted`, frame.keyStart - 1)
    }
  }

  /** Whether one of the patterns leads to the value that begins, or has ended, at this place. */
  function matches(patterns: readonly JsonPattern[]): boolean {
    for (const pattern of patterns) {
      if (pattern.length === frames.length && pattern.every((step, depth) => isAt(frames[depth], step))) return true
    }
    return false
  }

  function isAt(outer: Frame | undefined, step: string | undefined): boolean {
    return outer !== undefined && (step === undefined ? !outer.isObject : outer.isObject && keyOf(outer) === step)
  }

  /** A key that `JSON.parse` will refuse counts as no key. */
  function keyOf(outer: Frame): string | undefined {
    const raw = kept.toString('utf8', outer.keyStart, outer.keyEnd)
    if (!raw.includes('\\')) return raw
    try {
      return JSON.parse(`"${raw}"`)
    } catch {
      return undefined
    }
  }

  function path(): (string | number)[] {
    return frames.map((outer) => (outer.isObject ? (keyOf(outer) ?? '') : outer.index))
  }

  function lifted(sizeBytes: number): void {
    liftedBytes += sizeBytes
    gaps.push(keptLength, sizeBytes)
  }

  function document(): JsonValue {
    if (inString || frames.length > 0) throw new JsonError('truncated', `the document ends early, at byte ${documentPlace(keptLength)}`)
    return parse(0)
  }

  function parse(start: number): JsonValue {
    const bytes = kept.subarray(start, keptLength)
    if (!isUtf8(bytes)) throw new JsonError('malformed', `the document is not valid UTF-8, at or before byte ${documentPlace(keptLength)}`)
    const text = bytes.toString('utf8')
    try {
      return JSON.parse(text)
    } catch (error) {
      throw toJsonError(error, text, (index) => documentPlace(start + index))
    }
  }

  function documentPlace(at: number): number {
    let place = at
    for (let index = 0; index < gaps.length && (gaps[index] ?? 0) <= at; index += 2) place += gaps[index + 1] ?? 0
    return place
  }

  function malformed(problem: string, at: number): JsonError {
    return new JsonError('malformed', `${problem} at byte ${documentPlace(at)}`)
  }

  return { scan, lifted, path, value: () => parse(closedStart), document, position: () => keptLength + liftedBytes }
}

/** Scanned at a time, and the least that is kept. */
const windowBytes = 2048

const tab = 0x09
const lineFeed = 0x0a
const carriageReturn = 0x0d
const space = 0x20
const quote = 0x22
const comma = 0x2c
const colon = 0x3a
const openBracket = 0x5b
const backslash = 0x5c
const closeBracket = 0x5d
const openBrace = 0x7b
const closeBrace = 0x7d
