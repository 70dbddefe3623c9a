import { describe, expect, test } from 'vitest'
import { hashApiKey } from '../../src/admission/api-key.ts'
import { createApiKeyStore } from '../../src/admission/api-key-store.ts'
import { type AuthenticationHeaders, createAuthenticator, requireScope } from '../../src/admission/authenticate.ts'
import { type GatewayError, toGatewayError } from '../../src/errors.ts'
import { openDatabase } from '../../src/storage/database.ts'
import { createLiveCopies } from '../../src/storage/live-copies.ts'
import { createCall } from '../support/call.ts'
import { createTemporaryDirectory } from '../support/temporary-directory.ts'

const providerKey = 'sk-proj-AbCdEfGhIjKlMnOpQrStUvWxYz0123456789'

test('tells who calls by the key in either header', async () => {
  await using under = await openAuthenticator()
  const { id, key } = await under.keys.create({ name: 'default', scopes: ['generate'] })
  const caller = { organizationId: 'default', apiKeyId: id, scopes: ['generate'] }
  const accepted: AuthenticationHeaders[] = [
    { authorization: `Bearer ${key}` },
    { authorization: `bearer   ${key}` },
    { 'x-portkey-api-key': key },
    { authorization: `Bearer ${key}`, 'x-portkey-api-key': key }
  ]
  expect(accepted.map((headers) => under.authenticate(headers))).toEqual(accepted.map(() => ({ caller })))
})

test('takes the header that holds a valid key when the other one holds a provider’s', async () => {
  await using under = await openAuthenticator()
  const { id, key } = await under.keys.create({ name: 'default', scopes: ['generate'] })
  expect(under.authenticate({ authorization: `Bearer ${providerKey}`, 'x-portkey-api-key': key }).caller.apiKeyId).toBe(id)
  expect(under.authenticate({ authorization: `Bearer ${key}`, 'x-portkey-api-key': providerKey }).caller.apiKeyId).toBe(id)
  expect(under.authenticate({ authorization: 'Basic dXNlcjpwYXNz', 'x-portkey-api-key': key }).caller.apiKeyId).toBe(id)
})

test('takes the key of the authorization header where both are valid', async () => {
  await using under = await openAuthenticator()
  const first = await under.keys.create({ name: 'one', scopes: ['generate'] })
  const second = await under.keys.create({ name: 'two', scopes: ['generate'] })
  expect(under.authenticate({ authorization: `Bearer ${first.key}`, 'x-portkey-api-key': second.key }).caller.apiKeyId).toBe(first.id)
})

test('takes a key that the operator has chosen', async () => {
  await using under = await openAuthenticator()
  await under.keys.syncConfigured([{ key: 'sk-atelier-of-our-own!', scopes: ['admin'] }])
  expect(under.authenticate({ authorization: 'Bearer sk-atelier-of-our-own!' }).caller.scopes).toEqual(['admin'])
})

test('hands over what stands in the other header as the key for a provider', async () => {
  await using under = await openAuthenticator()
  const { key } = await under.keys.create({ name: 'default', scopes: ['generate'] })
  const token = `ya29.${'a-token-of-a-cloud'.repeat(100)}`
  expect(under.authenticate({ authorization: `Bearer ${key}`, 'x-portkey-api-key': providerKey }).providerKey).toBe(providerKey)
  expect(under.authenticate({ authorization: `Bearer ${providerKey}`, 'x-portkey-api-key': key }).providerKey).toBe(providerKey)
  expect(under.authenticate({ authorization: `Bearer ${token}`, 'x-portkey-api-key': key }).providerKey).toBe(token)
})

test('takes nothing for a provider’s key that is or was a key of this server, and nothing that clients put there of themselves', async () => {
  await using under = await openAuthenticator()
  const { key } = await under.keys.create({ name: 'default', scopes: ['generate'] })
  const { key: other } = await under.keys.create({ name: 'other', scopes: ['generate'] })
  const { key: revoked } = await under.keys.create({ name: 'lost', scopes: ['generate'] })
  await under.keys.replace({ name: 'lost', scopes: ['generate'] })
  const configured = ['a-configured-key-of-ours', 'another-configured-key'] as const
  await under.keys.syncConfigured(configured.map((each) => ({ key: each, scopes: ['admin'] })))
  const besides = [key, other, revoked, `${revoked.slice(0, -1)}x`, revoked.slice(0, 20), 'a-configured-key-of-ours', 'DUMMY-KEY', '']
  const found = besides.map((each) => under.authenticate({ authorization: `Bearer ${each}`, 'x-portkey-api-key': key }))
  expect(found.map(({ providerKey: left }) => left)).toEqual(besides.map(() => undefined))
  const both = under.authenticate({ authorization: `Bearer ${configured[0]}`, 'x-portkey-api-key': configured[1] })
  expect(both.providerKey).toBe(undefined)
})

describe('where the request names a provider', () => {
  const named = { 'x-portkey-provider': 'openai' }
  const refusal = {
    reason: 'GATEWAY_KEY_MISSING',
    message:
      'missing or invalid API key of this gateway: send it as `Authorization: Bearer <key>` or `x-portkey-api-key: <key>`; a key for the provider goes into the other of the two'
  }

  test('says where the key of the gateway goes', async () => {
    await using under = await openAuthenticator()
    const wrong: AuthenticationHeaders[] = [
      { ...named, authorization: `Bearer ${providerKey}` },
      { ...named, 'x-portkey-api-key': providerKey },
      { ...named, authorization: `Bearer ${providerKey}`, 'x-portkey-api-key': providerKey },
      { ...named, authorization: `Bearer ${providerKey}`, 'x-portkey-api-key': 'another-key' }
    ]
    const errors = wrong.map((headers) => failureOf(() => under.authenticate(headers)))
    expect(errors.map(({ reason, message }) => ({ reason, message }))).toEqual(wrong.map(() => refusal))
    expect(errors.map(({ entry, code }) => [entry.http, entry.type, code])).toEqual(
      wrong.map(() => [401, 'authentication_error', 'invalid_api_key'])
    )
    const { key: revoked } = await under.keys.create({ name: 'lost', scopes: ['generate'] })
    await under.keys.replace({ name: 'lost', scopes: ['generate'] })
    expect(failureOf(() => under.authenticate({ ...named, authorization: `Bearer ${revoked}` })).reason).toBe('INVALID_API_KEY')
    expect(failureOf(() => under.authenticate(named)).reason).toBe('INVALID_API_KEY')
  })

  test('takes a provider’s key alone where the operator allows that, but never two of them', () => {
    const { caller } = createCall()
    const asked: string[] = []
    const callerWithProviderKey = (key: string) => {
      asked.push(key)
      return caller
    }
    const keys = { find: () => undefined, isCurrent: () => true, recordUse: () => undefined }
    const { authenticate } = createAuthenticator({ keys, callerWithProviderKey })
    expect(authenticate({ ...named, authorization: `Bearer ${providerKey}` })).toEqual({ caller, providerKey })
    expect(authenticate({ ...named, 'x-portkey-api-key': providerKey })).toEqual({ caller, providerKey })
    expect(authenticate({ ...named, authorization: `Bearer ${providerKey}`, 'x-portkey-api-key': providerKey })).toEqual({
      caller,
      providerKey
    })
    expect(asked).toEqual([providerKey, providerKey, providerKey])
    const two = { ...named, authorization: `Bearer ${providerKey}`, 'x-portkey-api-key': 'another-key' }
    const refused: AuthenticationHeaders[] = [
      two,
      { ...named, 'x-portkey-api-key': 'two words' },
      { authorization: `Bearer ${providerKey}` }
    ]
    expect(refused.map((headers) => failureOf(() => authenticate(headers)).entry.http)).toEqual([401, 401, 401])
    expect(asked.length).toBe(3)
  })
})

test('refuses every kind of wrong key in the same words', async () => {
  await using under = await openAuthenticator()
  const { key } = await under.keys.create({ name: 'default', scopes: ['generate'] })
  const { key: revoked } = await under.keys.create({ name: 'lost', scopes: ['generate'] })
  await under.keys.replace({ name: 'lost', scopes: ['generate'] })
  const { key: expired } = await under.keys.create({ name: 'old', scopes: ['generate'], expiresAtMs: Date.now() })
  const wrong: AuthenticationHeaders[] = [
    {},
    { authorization: '' },
    { authorization: key },
    { authorization: `Basic ${key}` },
    { authorization: `Bearer ${revoked}` },
    { authorization: `Bearer ${expired}` },
    { authorization: `Bearer ${key.slice(0, -1)}` },
    { authorization: `Bearer ${key}x` },
    { authorization: `Bearer ${key} ${key}` },
    { authorization: `Bearer ${key.toLowerCase()}` },
    { authorization: `Bearer ${providerKey}`, 'x-portkey-api-key': providerKey },
    { authorization: 'Bearer __proto__' },
    { authorization: 'Bearer \u0000\u00ff' },
    { authorization: `Bearer ${'x'.repeat(1_000_000)}` },
    { 'x-portkey-api-key': '' },
    { 'x-portkey-api-key': [key, key] },
    { 'x-portkey-api-key': `${key}, ${key}` },
    { 'x-portkey-api-key': 'x'.repeat(1_000_000) }
  ]
  const errors = wrong.map((headers) => failureOf(() => under.authenticate(headers)))
  expect(errors.map(({ reason, message, fields, cause }) => ({ reason, message, fields, cause }))).toEqual(
    wrong.map(() => ({
      reason: 'INVALID_API_KEY',
      message: 'missing or invalid API key: send it as `Authorization: Bearer <key>`',
      fields: {},
      cause: undefined
    }))
  )
})

test('refuses everybody with 503 where nobody can tell any more which keys are revoked', async () => {
  const known = { hash: hashApiKey('a-configured-key-of-ours'), caller: createCall().caller, expiresAtMs: Number.POSITIVE_INFINITY }
  let isCurrent = true
  const keys = { find: () => known, isCurrent: () => isCurrent, recordUse: () => undefined }
  const { authenticate } = createAuthenticator({ keys })
  const headers = { authorization: 'Bearer a-configured-key-of-ours' }
  expect(authenticate(headers)).toEqual({ caller: known.caller })
  isCurrent = false
  const error = failureOf(() => authenticate(headers))
  expect([error.reason, error.entry.http, error.retryAfterMs, error.outcome]).toEqual(['DATABASE_UNAVAILABLE', 503, 1_000, 'not_sent'])
})

test('looks up no key of ours in which a character is wrong, and notes the use of none but valid ones', async () => {
  const lookups: Uint8Array[] = []
  const uses: string[] = []
  const keys = { find: (hash: Uint8Array) => void lookups.push(hash), isCurrent: () => true, recordUse: (id: string) => void uses.push(id) }
  const { authenticate } = createAuthenticator({ keys })
  failureOf(() => authenticate({ authorization: 'Bearer sk-atelier-0123456789abcdefghijABCDEFGHIJ012345068NI5' }))
  expect(lookups.length).toBe(0)
  failureOf(() => authenticate({ authorization: 'Bearer sk-atelier-0123456789abcdefghijABCDEFGHIJ012345068NI4' }))
  expect([lookups.length, uses]).toEqual([1, []])
})

test('does not take a key from the header of another vendor', async () => {
  await using under = await openAuthenticator()
  const { key } = await under.keys.create({ name: 'default', scopes: ['generate'] })
  const headers = { 'api-key': key, 'x-api-key': key }
  expect(failureOf(() => under.authenticate(headers as AuthenticationHeaders)).reason).toBe('INVALID_API_KEY')
})

test('refuses what the scopes of a key do not allow', () => {
  const caller = { organizationId: 'default', apiKeyId: 'a', scopes: ['generate'] } as const
  requireScope(caller, 'generate')
  const error = failureOf(() => requireScope(caller, 'admin'))
  expect([error.reason, error.message]).toEqual(['PERMISSION_DENIED', 'this API key may not operate the server'])
  expect(failureOf(() => requireScope({ ...caller, scopes: ['admin'] }, 'generate')).message).toBe('this API key may not use models')
})

async function openAuthenticator() {
  await using parts = new AsyncDisposableStack()
  const directory = parts.use(await createTemporaryDirectory())
  const database = parts.use(await openDatabase({ dataDir: directory.path }))
  const copies = parts.use(await createLiveCopies({ database }))
  const keys = parts.use(await createApiKeyStore({ database, copies }))
  const owned = parts.move()
  return { keys, authenticate: createAuthenticator({ keys }).authenticate, [Symbol.asyncDispose]: () => owned.disposeAsync() }
}

function failureOf(act: () => unknown): GatewayError {
  try {
    act()
  } catch (error) {
    return toGatewayError(error)
  }
  throw new Error('nothing was thrown')
}
