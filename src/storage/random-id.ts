import { fewRandomBytes } from './random-bytes.ts'

export const base62Digits = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

/**
 * An id that sorts behind those that were made in earlier milliseconds, so that rows which are written together lie together in indexes:
 * 8 digits for the time, and 22 that are unguessable, 131 bits.
 */
export function orderedId(): string {
  let time = ''
  for (let rest = Date.now(); time.length < timeDigits; rest = Math.floor(rest / 62)) time = (base62Digits[rest % 62] ?? '') + time
  return time + randomBase62(22)
}

/** Enough for thousands of years. */
const timeDigits = 8

/** Digits and letters, each of them equally likely and unguessable: 5.95 bits apiece. */
export function randomBase62(length: number): string {
  let text = ''
  while (text.length < length) {
    for (const byte of fewRandomBytes(length)) {
      // 248 is the largest multiple of 62 in a byte; what is above it would favour the first digits.
      if (byte < 248 && text.length < length) text += base62Digits[byte % 62]
    }
  }
  return text
}
