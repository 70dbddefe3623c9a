/** A value that every database holds exactly; whole numbers are bigints. */
export type ExactParameter = null | string | number | bigint | boolean | Uint8Array

/**
 * Passes on a query's parameter in the one form that its type has. Throws TypeError or RangeError where some database would refuse it or
 * give back another value.
 */
export function toExactParameter(value: unknown): ExactParameter {
  if (value === null || typeof value === 'boolean' || value instanceof Uint8Array) return value
  if (typeof value === 'string') return checkText(value)
  if (typeof value === 'number') return toExactNumber(value)
  if (typeof value === 'bigint') return checkBigint(value)
  throw new TypeError(`a query parameter is ${value === undefined ? 'undefined' : `of type ${typeof value}`}, which a database cannot hold`)
}

function checkText(value: string): string {
  if (value.includes('\0')) throw new TypeError('a query parameter is a text with a NUL character, which a database cannot hold')
  if (!value.isWellFormed()) throw new TypeError('a query parameter is a text with half of a surrogate pair, which a database cannot hold')
  return value
}

function toExactNumber(value: number): number | bigint {
  if (Number.isSafeInteger(value)) return BigInt(value)
  if (Number.isInteger(value)) throw new RangeError(`the query parameter ${value} is beyond 2^53 and therefore not exact`)
  if (!Number.isFinite(value)) throw new RangeError(`the query parameter ${value} is no number that a database can hold`)
  return value
}

function checkBigint(value: bigint): bigint {
  if (BigInt.asIntN(64, value) === value) return value
  throw new RangeError(`the query parameter ${value} has more than 64 bits, which a database cannot hold`)
}
