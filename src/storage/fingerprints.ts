import { createHmac, createSecretKey, type KeyObject } from 'node:crypto'
import { type DerivedKey, type KeySource, prepareKeys } from './derived-keys.ts'

/** Names for values that can be compared and looked up, and that tell nothing about the value to those who lack the master key. */
export interface Fingerprints {
  /** `key id:digest` under the current key, 52 URL-safe characters and a colon. Two kinds of value never share a fingerprint. */
  of(kind: string, value: Uint8Array | string): string
  /** The same under every known key, the current one first: for looking up what was stored before the master key changed. */
  all(kind: string, value: Uint8Array | string): [string, ...string[]]
}

export interface FingerprintsOptions {
  /** The current key first. */
  keys: KeySource
}

export function createFingerprints(options: FingerprintsOptions): Fingerprints {
  const keys = prepareKeys(options.keys, ([current, ...previous]) => ({ current: usable(current), previous: previous.map(usable) }))
  return {
    of: (kind, value) => fingerprint(keys().current, kind, value),
    all(kind, value) {
      const { current, previous } = keys()
      return [fingerprint(current, kind, value), ...previous.map((key) => fingerprint(key, kind, value))]
    }
  }
}

interface UsableKey {
  keyId: string
  key: KeyObject
}

function usable({ keyId, key }: DerivedKey): UsableKey {
  return { keyId, key: createSecretKey(key) }
}

function fingerprint({ keyId, key }: UsableKey, kind: string, value: Uint8Array | string): string {
  return `${keyId}:${createHmac('sha256', key).update(`${kind.length}:${kind}:`).update(value).digest('base64url')}`
}
