import { timingSafeEqual } from 'node:crypto'
import type { Caller, NeededScope, Scope } from '../call.ts'
import { gatewayError } from '../errors.ts'
import { apiKeyPrefix, hashApiKey, isMistyped } from './api-key.ts'
import type { ApiKeyStore } from './api-key-store.ts'

export interface Authenticator {
  /**
   * Who calls. Takes the key from `authorization: Bearer` or `x-portkey-api-key`, whichever holds a valid one, the first where both do:
   * Portkey's clients send a provider's key in the other. Throws `INVALID_API_KEY`, the same for every kind of wrong key;
   * `GATEWAY_KEY_MISSING` in its place where the request names a provider, so that its key may be meant for that one; and
   * `DATABASE_UNAVAILABLE` where nobody can tell any more which keys are revoked.
   */
  authenticate(headers: AuthenticationHeaders): Authenticated
}

export interface Authenticated {
  caller: Caller
  /**
   * What stands where a key for a provider goes, as it was sent. It is no key of this server, not even one that is expired or mistyped, and
   * nothing that Portkey's clients put there of themselves. Unset where there is nothing of the kind.
   */
  providerKey?: string
}

/** As node:http hands them over. */
export interface AuthenticationHeaders {
  authorization?: string | undefined
  'x-portkey-api-key'?: string | string[] | undefined
  'x-portkey-provider'?: string | string[] | undefined
}

export interface AuthenticatorDeps {
  keys: Pick<ApiKeyStore, 'find' | 'isCurrent' | 'recordUse'>
  /** Who calls with a provider's key alone; undefined where that is not allowed. Unset: it never is. */
  callerWithProviderKey?(providerKey: string): Caller | undefined
}

export function createAuthenticator(deps: AuthenticatorDeps): Authenticator {
  /** Of keys that were valid when they came last; whether they still are is looked up each time. */
  const hashes = new Map<string, Uint8Array>()
  return {
    authenticate(headers) {
      if (!deps.keys.isCurrent()) throw gatewayError('DATABASE_UNAVAILABLE', {}, { retryAfterMs: 1_000, outcome: 'not_sent' })
      const bearer = bearerToken(headers.authorization)
      const given = headers['x-portkey-api-key']
      const named = typeof given === 'string' ? given : undefined
      const byBearer = callerOf(bearer)
      const caller = byBearer ?? callerOf(named)
      if (caller === undefined) return withoutGatewayKey(headers, [bearer, named])
      deps.keys.recordUse(caller.apiKeyId)
      const [key, other] = byBearer ? [bearer, named] : [named, bearer]
      return other !== undefined && other !== key && mayBeProviderKey(other) ? { caller, providerKey: other } : { caller }
    }
  }

  function withoutGatewayKey(headers: AuthenticationHeaders, given: readonly (string | undefined)[]): Authenticated {
    if (!headers['x-portkey-provider']) throw gatewayError('INVALID_API_KEY', {})
    const keys = new Set(given.filter((key) => key !== undefined && mayBeProviderKey(key)))
    const [key] = keys
    if (key === undefined) throw gatewayError('INVALID_API_KEY', {})
    const caller = keys.size === 1 && isKey(key, maxProviderKeyLength) ? deps.callerWithProviderKey?.(key) : undefined
    if (caller === undefined) throw gatewayError('GATEWAY_KEY_MISSING', {})
    return { caller, providerKey: key }
  }

  function callerOf(key: string | undefined): Caller | undefined {
    if (key === undefined) return undefined
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
    return !isKey(key, maxKeyLength) || isMistyped(key) ? undefined : hashApiKey(key)
  }

  /** No key of this server may ever reach a provider, whatever became of it. */
  function mayBeProviderKey(text: string): boolean {
    if (text === '' || text === clientsPlaceholder || text.startsWith(apiKeyPrefix)) return false
    return !isKey(text, maxKeyLength) || deps.keys.find(hashApiKey(text)) === undefined
  }
}

/** Throws `PERMISSION_DENIED` unless the caller's key has the scope, or one of several; no scope contains another. */
export function requireScope(caller: Caller, needed: NeededScope): void {
  if (typeof needed === 'string' ? caller.scopes.includes(needed) : needed.some((scope) => caller.scopes.includes(scope))) return
  const scopes = typeof needed === 'string' ? [needed] : needed
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
/** Azure's and Google's tokens are much longer than keys. */
const maxProviderKeyLength = 4096
const noHash = new Uint8Array(32)

/** What Portkey's JavaScript client sends where it has no key. */
const clientsPlaceholder = 'DUMMY-KEY'

function isKey(text: string, maxLength: number): boolean {
  return text.length <= maxLength && /^[!-~]+$/.test(text)
}

function bearerToken(header: string | undefined): string | undefined {
  if (header === undefined || header.length > maxProviderKeyLength + 16) return undefined
  return /^bearer +([!-~]+)$/i.exec(header)?.[1]
}
