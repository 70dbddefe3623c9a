import { toExactParameter } from '../exact-parameter.ts'

/** A parameter as it travels: text, or the bytes of a bytea; with its type, or 0 where the server is to infer it. */
export interface PostgresParameter {
  type: number
  value: string | Buffer | null
}

/**
 * Whole numbers are declared as such: where nothing tells the server what a parameter is, it would take it for text. The others are what
 * the column is that they meet.
 */
export function toPostgresParameter(value: unknown): PostgresParameter {
  const exact = toExactParameter(value)
  if (exact === null || typeof exact === 'string') return { type: inferred, value: exact }
  if (typeof exact === 'bigint') return { type: int8, value: exact.toString() }
  if (typeof exact === 'number') return { type: inferred, value: String(exact) }
  if (typeof exact === 'boolean') return { type: inferred, value: exact ? '1' : '0' }
  return { type: bytea, value: Buffer.from(exact.buffer, exact.byteOffset, exact.byteLength) }
}

/** What SQLite would return. Throws a RangeError for an integer beyond 2^53. */
export function fromPostgresText(type: number, text: string): unknown {
  switch (type) {
    case int8:
    case int2:
    case int4:
    case oid:
      return toSafeInteger(text)
    case float4:
    case float8:
      return Number(text)
    case numeric:
      return /^-?\d+$/.test(text) ? toSafeInteger(text) : Number(text)
    case bool:
      return text === 't' ? 1 : 0
    case bytea:
      return Uint8Array.fromHex(text.slice(2))
    default:
      return text
  }
}

const inferred = 0
const bool = 16
const bytea = 17
const int8 = 20
const int2 = 21
const int4 = 23
const oid = 26
const float4 = 700
const float8 = 701
const numeric = 1700

function toSafeInteger(text: string): number {
  const value = Number(text)
  if (Number.isSafeInteger(value)) return value
  throw new RangeError(`the database holds the integer ${text}, which is beyond 2^53 and cannot be read as a number`)
}
