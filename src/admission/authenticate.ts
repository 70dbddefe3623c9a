import { timingSafeEqual } from 'node:crypto'
import type { Caller, NeededScope, Scope } from '../call.ts'
import { gatewayError } from '../errors.ts'
import { hashApiKey, isMistyped } from './api-key.ts'
import type { ApiKeyStore } from './api-key-store.ts'

export interface Authenticator {
  /**
   * Who calls. Takes the key from `authorization: Bearer` or `x-portkey-api-key`, whichever holds a valid one, the first where both do:
   * Portkey's clients send a provider's key in the other. Throws `INVALID_API_KEY`, the same for every kind of wrong key, and
   * `DATABASE_UNAVAILABLE` where nobody can tell any more which keys are revoked.
   */
  authenticate(headers: AuthenticationHeaders): Caller
}

/** As node:http hands them over. */
export interface AuthenticationHeaders {
  authorization?: string | undefined
  'x-portkey-api-key'?: string | string[] | undefined
}

export function createAuthenticator(deps: { keys: Pick<ApiKeyStore, 'find' | 'isCurrent' | 'recordUse'> }): Authenticator {
  /** Of keys that were valid when they came last; whether they still are is looked up each time. */
  const hashes = new Map<string, Uint8Array>()
  return {
    authenticate(headers) {
      if (!deps.keys.isCurrent()) throw gatewayError('DATABASE_UNAVAILABLE', {}, { retryAfterMs: 1_000, outcome: 'not_sent' })
      const caller = callerOf(bearerToken(headers.authorization)) ?? callerOf(headers['x-portkey-api-key'])
      if (caller === undefined) throw gatewayError('INVALID_API_KEY', {})
      deps.keys.recordUse(caller.apiKeyId)
      return caller
    }
  }

  function callerOf(key: string | string[] | undefined): Caller | undefined {
    if (typeof key !== 'string') return undefined
    const remembered = hashes.get(key)
    const hash = remembered ?? hashOf(key)
    const known = hash && deps.keys.find(hash)
    const isSame = timingSafeEqual(hash ?? noHash, known?.hash ?? noHash)
    if (!known || !isSame || known.expiresAtMs <= Date.now()) return undefined
    if (!remembered) remember(key, known.hash)
    return known.caller
  }

  function remember(key: string, hash: Uint8Array): void {
    if (hashes.size >= mostHashes) hashes.clear()
    hashes.set(key, hash)
  }

  function hashOf(key: string): Uint8Array | undefined {
    return key.length > maxKeyLength || !/^[!-~]+$/.test(key) || isMistyped(key) ? undefined : hashApiKey(key)
  }
}

/** Throws `PERMISSION_DENIED` unless the caller's key has the scope, or one of several; no scope contains another. */
export function requireScope(caller: Caller, needed: NeededScope): void {
  const scopes = typeof needed === 'string' ? [needed] : needed
  if (scopes.some((scope) => caller.scopes.includes(scope))) return
  throw gatewayError('PERMISSION_DENIED', { action: scopes.map((scope) => actions[scope]).join(' or ') })
}

const actions: Record<Scope, string> = {
  generate: 'use models',
  edit: 'edit images',
  read_tasks: 'read tasks',
  admin: 'operate the server'
}

const maxKeyLength = 512
const mostHashes = 1_000
const maxHeaderLength = maxKeyLength + 16
const noHash = new Uint8Array(32)

function bearerToken(header: string | undefined): string | undefined {
  if (header === undefined || header.length > maxHeaderLength) return undefined
  return /^bearer +([!-~]+)$/i.exec(header)?.[1]
}
