import { expect, test } from 'vitest'
import { createApiKeyStore } from '../../src/admission/api-key-store.ts'
import { type AuthenticationHeaders, createAuthenticator, requireScope } from '../../src/admission/authenticate.ts'
import { type GatewayError, toGatewayError } from '../../src/errors.ts'
import { openDatabase } from '../../src/storage/database.ts'
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
  expect(accepted.map((headers) => under.authenticate(headers))).toEqual(accepted.map(() => caller))
})

test('takes the header that holds a valid key when the other one holds a provider’s', async () => {
  await using under = await openAuthenticator()
  const { id, key } = await under.keys.create({ name: 'default', scopes: ['generate'] })
  expect(under.authenticate({ authorization: `Bearer ${providerKey}`, 'x-portkey-api-key': key }).apiKeyId).toBe(id)
  expect(under.authenticate({ authorization: `Bearer ${key}`, 'x-portkey-api-key': providerKey }).apiKeyId).toBe(id)
  expect(under.authenticate({ authorization: 'Basic dXNlcjpwYXNz', 'x-portkey-api-key': key }).apiKeyId).toBe(id)
})

test('takes the key of the authorization header where both are valid', async () => {
  await using under = await openAuthenticator()
  const first = await under.keys.create({ name: 'one', scopes: ['generate'] })
  const second = await under.keys.create({ name: 'two', scopes: ['generate'] })
  expect(under.authenticate({ authorization: `Bearer ${first.key}`, 'x-portkey-api-key': second.key }).apiKeyId).toBe(first.id)
})

test('takes a key that the operator has chosen', async () => {
  await using under = await openAuthenticator()
  await under.keys.syncConfigured([{ key: 'sk-atelier-of-our-own!', scopes: ['admin'] }])
  expect(under.authenticate({ authorization: 'Bearer sk-atelier-of-our-own!' }).scopes).toEqual(['admin'])
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
  const keys = parts.use(await createApiKeyStore({ database }))
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
