import { hash } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { base62Digits, randomBase62 } from '../storage/random-id.ts'

export interface CreatedApiKey {
  /** To be shown once: `sk-atelier-`, 8 characters of id, 28 of secret (166 bits), 6 of checksum. */
  key: string
  id: string
  /** SHA-256 of the key. */
  hash: Uint8Array
  /** The last four characters, to recognise it by. */
  hint: string
}

export function createApiKey(): CreatedApiKey {
  const id = randomApiKeyId()
  const unchecked = `${apiKeyPrefix}${id}${randomBase62(secretLength)}`
  const key = unchecked + checksum(unchecked)
  return { key, id, hash: hashApiKey(key), hint: hintOf(key) }
}

/** The id in a key that this program made; undefined for any other text, also where a single character of it is wrong. */
export function parseApiKey(text: string): { id: string } | undefined {
  const [, unchecked, id, check] = keyPattern.exec(text) ?? []
  return unchecked !== undefined && id !== undefined && check === checksum(unchecked) ? { id } : undefined
}

/** Whether the text is a key that this program made. Needs no database, so that leaked keys can be found anywhere. */
export function looksLikeApiKey(text: string): boolean {
  return parseApiKey(text) !== undefined
}

/** Whether the text has the form of a key that this program makes, and is none: a character of it is wrong. */
export function isMistyped(text: string): boolean {
  return keyPattern.test(text) && !looksLikeApiKey(text)
}

/** SHA-256 of a key. A key holds far more randomness than can be tried, so a slow hash would only slow the server down. */
export function hashApiKey(key: string): Uint8Array {
  return hash('sha256', key, 'buffer')
}

/** What remains of a key for people to recognise it by. */
export function hintOf(key: string): string {
  return key.slice(-4)
}

/** An id for a key that has none in itself. */
export function randomApiKeyId(): string {
  return randomBase62(idLength)
}

/** What every key that this program makes begins with. */
export const apiKeyPrefix = 'sk-atelier-'

const idLength = 8
const secretLength = 28
const checksumLength = 6
const keyPattern = /^(sk-atelier-([0-9A-Za-z]{8})[0-9A-Za-z]{28})([0-9A-Za-z]{6})$/

function checksum(text: string): string {
  let rest = crc32(text)
  let digits = ''
  for (let place = 0; place < checksumLength; place++) {
    digits = (base62Digits[rest % 62] ?? '') + digits
    rest = Math.floor(rest / 62)
  }
  return digits
}
