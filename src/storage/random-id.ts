import { randomBytes } from 'node:crypto'

export const base62Digits = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

/** Digits and letters, each of them equally likely and unguessable: 5.95 bits apiece. */
export function randomBase62(length: number): string {
  let text = ''
  while (text.length < length) {
    for (const byte of randomBytes(length)) {
      // 248 is the largest multiple of 62 in a byte; what is above it would favour the first digits.
      if (byte < 248 && text.length < length) text += base62Digits[byte % 62]
    }
  }
  return text
}
