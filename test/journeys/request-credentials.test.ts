import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createClient } from '@connectrpc/connect'
import { createGrpcTransport } from '@connectrpc/connect-node'
import { afterAll, describe, expect, test } from 'vitest'
import { ImageService } from '../../gen/atelier/v1/image_service_pb.ts'
import { MasterKeyService } from '../../gen/atelier/v1/master_key_service_pb.ts'
import { adminOf, connectWith, createKey } from '../support/admin.ts'
import { broughtKey, platformKey, startOpenToKeys } from '../support/brought-keys.ts'
import { startFakeOpenAI } from '../support/fake-openai.ts'
import { startSharedStorage } from '../support/shared-storage.ts'

const atelier = await startOpenToKeys()
afterAll(() => atelier[Symbol.asyncDispose]())

const toOpenAI = { 'x-portkey-provider': 'openai' }
const sketched = { model: 'sketch', prompt: 'a cat', size: '64x64' }

describe('a key that a request brings', () => {
  test('serves it, whichever header it stands in, and no other request', async () => {
    const ways: Record<string, string>[] = [
      { authorization: `Bearer ${atelier.apiKey}`, 'x-portkey-api-key': broughtKey },
      { authorization: `Bearer ${broughtKey}`, 'x-portkey-api-key': atelier.apiKey }
    ]
    for (const headers of ways) {
      const { status, headers: told } = await atelier.generate({ ...headers, ...toOpenAI })
      expect([status, told.get('x-atelier-credential'), atelier.lastKey()]).toEqual([200, 'request', broughtKey])
      await atelier.generate({ authorization: `Bearer ${atelier.apiKey}`, ...toOpenAI })
      expect(atelier.lastKey()).toBe(platformKey)
    }
  })

  test('serves RPCs too', async () => {
    const headers = { authorization: `Bearer ${atelier.apiKey}`, 'x-portkey-api-key': broughtKey, ...toOpenAI }
    const request = { prompt: 'a cat', modelSelector: { case: 'modelName', value: 'dall-e-3' } } as const
    for (const transport of [connectWith(atelier.url, undefined), createGrpcTransport({ baseUrl: atelier.url })]) {
      await createClient(ImageService, transport).generateImages(request, { headers })
      expect(atelier.lastKey()).toBe(broughtKey)
    }
  })

  test('serves a background task when its turn comes', async () => {
    const headers = { authorization: `Bearer ${atelier.apiKey}`, 'x-portkey-api-key': broughtKey, ...toOpenAI, prefer: 'respond-async' }
    const { body } = await atelier.generate(headers, { prompt: 'in the background' })
    await expect
      .poll(async () => ((await (await atelier.get(`/v1/tasks/${body.id}`)).json()) as { status: string }).status, { timeout: 5_000 })
      .toBe('succeeded')
    expect(atelier.openai.requests.findLast((request) => request.body?.prompt === 'in the background')?.headers.authorization).toBe(
      `Bearer ${broughtKey}`
    )
  })

  test('serves a background task in another process too, at the host that the caller named', async () => {
    await using storage = await startSharedStorage()
    await using host = await startFakeOpenAI()
    const hosts = { ATELIER_ALLOW_REQUEST_CREDENTIALS: 'true', ATELIER_CUSTOM_HOSTS: new URL(host.url).origin }
    const environment = { ...storage.environment, ...hosts }
    await using accepting = await startOpenToKeys(environment, { maxRunningTasks: 0 })
    const own = {
      authorization: `Bearer ${accepting.apiKey}`,
      'x-portkey-api-key': broughtKey,
      ...toOpenAI,
      'x-portkey-custom-host': host.url
    }
    const { body } = await accepting.generate({ ...own, prefer: 'respond-async' })
    await using working = await startOpenToKeys(environment)
    const status = async () => ((await (await working.get(`/v1/tasks/${body.id}`)).json()) as { status: string }).status
    await expect.poll(status, { timeout: 10_000 }).toBe('succeeded')
    expect(host.requests.map(({ headers }) => headers.authorization)).toEqual([`Bearer ${broughtKey}`])
  })

  test('is never replaced by another where the provider refuses it', async () => {
    await using refusing = await startFakeOpenAI({ apiKey: platformKey })
    await using gateway = await startOpenToKeys({ OPENAI_BASE_URL: refusing.url, ATELIER_ALLOW_REQUEST_CREDENTIALS: 'true' })
    const { status, body } = await gateway.generate({
      authorization: `Bearer ${gateway.apiKey}`,
      'x-portkey-api-key': broughtKey,
      ...toOpenAI
    })
    expect([status, body.error.code, refusing.requests.length]).toEqual([500, 'provider_key_refused', 1])
    expect(JSON.stringify(body)).not.toContain(broughtKey.slice(8))
  })

  test('makes a provider usable that the operator has no key for', async () => {
    await using host = await startFakeOpenAI()
    const keyless = { name: 'openai', adapter: 'openai', apiKey: '', models: [], headers: {}, maxConnections: 8 }
    const environment = { ATELIER_ALLOW_REQUEST_CREDENTIALS: 'true', ATELIER_CUSTOM_HOSTS: new URL(host.url).origin }
    await using gateway = await startOpenToKeys(environment, { providers: [keyless] })
    const own = { authorization: `Bearer ${gateway.apiKey}`, 'x-portkey-api-key': broughtKey, ...toOpenAI }
    const without = await gateway.generate({ authorization: `Bearer ${gateway.apiKey}`, ...toOpenAI })
    expect([without.status, without.body.error.code]).toEqual([500, 'provider_key_missing'])
    const { status } = await gateway.generate({ ...own, 'x-portkey-custom-host': host.url })
    expect([status, host.requests.length]).toEqual([200, 1])
    const listed = async (headers: Record<string, string>) =>
      ((await (await gateway.get('/v1/models', headers)).json()) as { data: [] }).data.length
    expect([await listed(toOpenAI), (await listed(own)) > 5]).toEqual([0, true])
  })

  test('is to be found nowhere afterwards: in no log line, no answer and no file', async () => {
    const answers = [
      await atelier.generate({ authorization: `Bearer ${atelier.apiKey}`, 'x-portkey-api-key': broughtKey, ...toOpenAI }),
      await atelier.generate(
        { authorization: `Bearer ${atelier.apiKey}`, 'x-portkey-api-key': broughtKey, ...toOpenAI },
        { prompt: '[server-error]' }
      )
    ]
    const files = await readdir(atelier.dataDir, { recursive: true, withFileTypes: true })
    const stored = files.filter((file) => file.isFile()).map((file) => readFile(join(file.parentPath, file.name), 'latin1'))
    const texts = [...answers.map(({ body }) => JSON.stringify(body)), ...atelier.logLines, ...(await Promise.all(stored))]
    expect(texts.filter((text) => text.includes(broughtKey.slice(6)))).toEqual([])
  })

  test('is nothing to a request that calls no provider', async () => {
    const headers = { authorization: `Bearer ${broughtKey}`, 'x-portkey-api-key': atelier.apiKey }
    expect((await fetch(`${atelier.url}/v1/models`, { headers })).status).toBe(200)
  })

  test('is refused where it names no provider, or a stored credential besides', async () => {
    await atelier.storeCredential({ name: 'stored', secret: 'sk-stored-0123456789abcdef', weight: 0 })
    const headers = { authorization: `Bearer ${atelier.apiKey}`, 'x-portkey-api-key': broughtKey }
    const answers = [
      await atelier.generate(headers),
      await atelier.generate({ ...headers, 'x-portkey-virtual-key': 'stored' }),
      await atelier.generate({ ...headers, 'x-portkey-provider': '@stored' }),
      await atelier.generate({ ...headers, ...toOpenAI }, { model: '@stored/dall-e-3' }),
      await atelier.generate({ ...headers, 'x-portkey-api-key': 'two words', ...toOpenAI })
    ]
    expect(answers.map(({ status, body }) => [status, body.error.param])).toEqual([
      [400, 'x-portkey-provider'],
      [400, 'x-portkey-provider'],
      [400, 'x-portkey-provider'],
      [400, 'model'],
      [400, 'x-portkey-api-key']
    ])
  })

  test('never opens a provider that the caller’s own key does not allow', async () => {
    const { key } = await createKey(atelier, { limits: { providers: ['sketch'] } })
    const { status } = await atelier.generate({ authorization: `Bearer ${key}`, 'x-portkey-api-key': broughtKey, ...toOpenAI })
    expect(status).toBe(403)
  })
})

describe('where the operator takes no such keys', () => {
  test('requests that bring one are refused, and no other', async () => {
    await using closed = await startOpenToKeys({})
    const bearer = { authorization: `Bearer ${closed.apiKey}` }
    const refused = await closed.generate({ ...bearer, 'x-portkey-api-key': broughtKey, ...toOpenAI })
    expect([refused.status, refused.body.error.message, closed.openai.requests.length]).toEqual([
      403,
      "this API key may not bring a provider's key with a request: the operator has not set `allow_request_credentials`",
      0
    ])
    const elsewhere = { 'x-portkey-api-key': broughtKey, 'x-portkey-custom-host': 'https://llm.example.com' }
    expect((await closed.generate({ ...bearer, ...elsewhere })).status).toBe(403)
    const fine: Record<string, string>[] = [
      { ...bearer, 'x-portkey-api-key': closed.apiKey, ...toOpenAI },
      { 'x-portkey-api-key': closed.apiKey, authorization: 'Bearer DUMMY-KEY', ...toOpenAI },
      // The token of a proxy in front of the server: nothing says that it is for a provider.
      { 'x-portkey-api-key': closed.apiKey, authorization: 'Bearer a-token-of-a-proxy' }
    ]
    for (const headers of fine) {
      expect((await closed.generate(headers)).status).toBe(200)
      expect(closed.lastKey()).toBe(platformKey)
    }
    const list = await fetch(`${closed.url}/v1/models`, { headers: { ...bearer, 'x-portkey-api-key': broughtKey, ...toOpenAI } })
    expect(list.status).toBe(200)
  })

  test('such a key alone is told where the key of the gateway goes', async () => {
    for (const environment of [{}, { ATELIER_ALLOW_REQUEST_CREDENTIALS: 'true' }]) {
      await using closed = await startOpenToKeys(environment)
      const { status, body, headers } = await closed.generate({ 'x-portkey-api-key': broughtKey, ...toOpenAI })
      expect([status, body.error.type, body.error.code, headers.get('www-authenticate')]).toEqual([
        401,
        'authentication_error',
        'invalid_api_key',
        'Bearer'
      ])
      expect(body.error.message).toMatch(/^missing or invalid API key of this gateway: send it as `Authorization: Bearer <key>` or /)
      expect(closed.openai.requests.length).toBe(0)
    }
  })
})

describe('where a provider’s key alone is enough', () => {
  const environment = { ATELIER_ALLOW_REQUEST_CREDENTIALS: 'true', ATELIER_ALLOW_PROVIDER_KEY_ONLY: 'true' }

  test('it serves the request, and the operator’s never does', async () => {
    await using open = await startOpenToKeys(environment)
    for (const headers of [{ 'x-portkey-api-key': broughtKey }, { authorization: `Bearer ${broughtKey}` }]) {
      const { status, headers: told } = await open.generate({ ...headers, ...toOpenAI })
      expect([status, told.get('x-atelier-credential'), open.lastKey()]).toEqual([200, 'request', broughtKey])
    }
    const none = await open.generate({ authorization: `Bearer ${broughtKey}` })
    expect([none.status, open.openai.requests.length]).toEqual([401, 2])
    const line = open.logLines.map((text) => JSON.parse(text)).find(({ organization }) => organization === 'provider-key-only')
    expect(line.key).toMatch(/^key-[\w-]{22}$/)
  })

  test('it opens nothing that takes any key: not the built-in renderer, and no key of the gateway’s is sent', async () => {
    await using open = await startOpenToKeys(environment)
    const made = await open.generate({ 'x-portkey-api-key': 'made-up', 'x-portkey-provider': 'sketch' }, sketched)
    expect([made.status, made.body.error.code]).toEqual([403, 'permission_denied'])
    const { key } = await createKey(open)
    const spoiled = await open.generate({ 'x-portkey-api-key': key.replace(/.$/, key.endsWith('x') ? 'y' : 'x'), ...toOpenAI })
    expect([spoiled.status, open.openai.requests.length]).toEqual([401, 0])
  })

  test('it is still known by its requests when the master key has been rotated', async () => {
    await using open = await startOpenToKeys(environment)
    const headers = { authorization: `Bearer ${broughtKey}`, ...toOpenAI, 'idempotency-key': 'cat-1' }
    await open.generate(headers)
    await createClient(MasterKeyService, connectWith(open.url, open.adminKey)).rotateMasterKey({})
    const { status, headers: told } = await open.generate(headers)
    expect([status, told.get('x-atelier-replayed'), open.openai.requests.length]).toEqual([200, 'true', 1])
  })

  test('nobody else who calls so can delete the image that it made', async () => {
    await using open = await startOpenToKeys(environment)
    const own = { authorization: `Bearer ${broughtKey}`, ...toOpenAI }
    const { body } = await open.generate(own, { response_format: 'url', output_format: 'webp' })
    const path = /\/images\/[0-9A-Za-z]+/.exec(body.data[0].url)?.[0]
    const deleteWith = async (headers: Record<string, string>) =>
      (await fetch(`${open.url}/v1${path}`, { method: 'DELETE', headers })).status
    expect([await deleteWith({ ...own, authorization: 'Bearer sk-of-a-stranger' }), await deleteWith(own)]).toEqual([404, 204])
  })

  test('it reads no tasks, and operates nothing', async () => {
    await using open = await startOpenToKeys(environment)
    const headers = { authorization: `Bearer ${broughtKey}`, ...toOpenAI }
    const statuses = ['/v1/models', '/v1/tasks', '/metrics'].map(async (path) => (await fetch(open.url + path, { headers })).status)
    expect(await Promise.all(statuses)).toEqual([200, 403, 403])
  })

  test('callers are strangers to each other: the same request id means another request', async () => {
    await using open = await startOpenToKeys(environment)
    const ask = (key: string) => open.generate({ authorization: `Bearer ${key}`, ...toOpenAI, 'idempotency-key': 'order-1' })
    const first = await ask(broughtKey)
    const other = await ask('sk-of-another-caller-0123')
    const again = await ask(broughtKey)
    expect([first, other, again].map(({ headers }) => headers.get('x-atelier-replayed'))).toEqual([null, null, 'true'])
    expect(open.openai.requests.filter(({ method }) => method === 'POST').length).toBe(2)
    expect(other.headers.get('x-atelier-task-id')).not.toBe(first.headers.get('x-atelier-task-id'))
  })

  test('the operator can close the door while the server runs', async () => {
    await using open = await startOpenToKeys(environment)
    const headers = { authorization: `Bearer ${broughtKey}`, ...toOpenAI }
    await adminOf(open).updateOrganization({ id: 'provider-key-only', disabled: true })
    expect((await open.generate(headers)).status).toBe(401)
    await adminOf(open).updateOrganization({ id: 'provider-key-only', disabled: false })
    expect((await open.generate(headers)).status).toBe(200)
  })
})

test('another process that shares a PostgreSQL database follows when the operator closes that door', async () => {
  await using storage = await startSharedStorage()
  const environment = { ...storage.environment, ATELIER_ALLOW_REQUEST_CREDENTIALS: 'true', ATELIER_ALLOW_PROVIDER_KEY_ONLY: 'true' }
  await using here = await startOpenToKeys(environment)
  await using there = await startOpenToKeys(environment)
  const headers = { authorization: `Bearer ${broughtKey}`, ...toOpenAI }
  expect((await there.generate(headers)).status).toBe(200)
  await adminOf(here).updateOrganization({ id: 'provider-key-only', disabled: true })
  await expect.poll(async () => (await there.generate(headers)).status, { timeout: 2_000, interval: 20 }).toBe(401)
})

describe('a host that the caller names', () => {
  test('is called with the caller’s key below the path that it names, where the operator has listed it', async () => {
    await using host = await startFakeOpenAI()
    await using gateway = await startOpenToKeys({
      ATELIER_ALLOW_REQUEST_CREDENTIALS: 'true',
      ATELIER_CUSTOM_HOSTS: new URL(host.url).origin
    })
    const own = {
      authorization: `Bearer ${gateway.apiKey}`,
      'x-portkey-api-key': broughtKey,
      ...toOpenAI,
      'x-portkey-custom-host': host.url
    }
    const { status, body } = await gateway.generate(own)
    expect([status, host.requests[0]?.path, host.requests[0]?.headers.authorization, gateway.openai.requests.length]).toEqual([
      200,
      '/v1/images/generations',
      `Bearer ${broughtKey}`,
      0
    ])
    expect(body.data.length).toBe(1)
    expect((await gateway.generate({ ...own, 'x-portkey-custom-host': `${host.url}/` })).status).toBe(200)
  })

  test('gets no header that the operator configured for the provider', async () => {
    await using host = await startFakeOpenAI()
    const environment = { ATELIER_ALLOW_REQUEST_CREDENTIALS: 'true', ATELIER_CUSTOM_HOSTS: new URL(host.url).origin }
    const headers = { 'X-Secret': 'of-the-operator', 'OpenAI-Organization': 'org-of-the-operator' }
    const provider = { name: 'openai', adapter: 'openai', apiKey: platformKey, models: [], headers, maxConnections: 8 }
    await using gateway = await startOpenToKeys(environment, { providers: [provider] })
    const own = { authorization: `Bearer ${gateway.apiKey}`, 'x-portkey-api-key': broughtKey, ...toOpenAI }
    await gateway.generate({ ...own, 'x-portkey-custom-host': host.url })
    const sent = Object.keys(host.requests[0]?.headers ?? {}).sort()
    expect(sent).toEqual(['accept', 'accept-encoding', 'authorization', 'connection', 'content-length', 'content-type', 'host'])
  })

  test.each([
    ['http://127.0.0.1:1', 'is not among the hosts that the operator allows'],
    ['http://llm.example.com:8443', 'is not among the hosts that the operator allows'],
    ['https://llm.example.com.evil.example', 'is not among the hosts that the operator allows'],
    ['https://llm.example.com@evil.example', 'must be an http or https URL without user name, query and fragment'],
    ['https://user:secret@llm.example.com', 'must be an http or https URL without user name, query and fragment'],
    ['https://llm.example.com?x=1', 'must be an http or https URL without user name, query and fragment'],
    ['https://llm.example.com#x', 'must be an http or https URL without user name, query and fragment'],
    ['file:///etc/passwd', 'must be an http or https URL without user name, query and fragment'],
    ['llm.example.com', 'must be an http or https URL without user name, query and fragment'],
    ['http://0x7f000001', 'is not among the hosts that the operator allows']
  ])('is refused where the operator has not listed it: %s', async (host, problem) => {
    await using gateway = await startOpenToKeys({
      ATELIER_ALLOW_REQUEST_CREDENTIALS: 'true',
      ATELIER_CUSTOM_HOSTS: 'https://llm.example.com'
    })
    const { status, body } = await gateway.generate({
      authorization: `Bearer ${gateway.apiKey}`,
      'x-portkey-api-key': broughtKey,
      ...toOpenAI,
      'x-portkey-custom-host': host
    })
    expect([status, body.error.message]).toEqual([400, `x-portkey-custom-host: ${problem}`])
  })

  test('cannot lead the gateway to the operator’s own upstream by the links in its answers', async () => {
    const inside: { url: string } = { url: '' }
    await using host = await startFakeOpenAI({
      answer: () => ({
        status: 200,
        headers: { 'content-type': 'application/json' },
        body: Buffer.from(JSON.stringify({ created: 1, data: [{ url: inside.url }] }))
      })
    })
    const { port } = new URL(host.url)
    const environment = { ATELIER_ALLOW_REQUEST_CREDENTIALS: 'true', ATELIER_CUSTOM_HOSTS: `http://localhost:${port}` }
    await using gateway = await startOpenToKeys(environment, { egressAllow: [`localhost:${port}`] })
    inside.url = gateway.openai.url.replace('/v1', '/secret.png')
    const { status } = await gateway.generate(
      {
        authorization: `Bearer ${gateway.apiKey}`,
        'x-portkey-api-key': broughtKey,
        ...toOpenAI,
        'x-portkey-custom-host': `http://localhost:${port}/v1`
      },
      { response_format: 'b64_json' }
    )
    expect([status >= 400, host.requests.length, gateway.openai.requests.length]).toEqual([true, 1, 0])
  })

  test('has no meaning for a provider that calls nobody', async () => {
    await using gateway = await startOpenToKeys({
      ATELIER_ALLOW_REQUEST_CREDENTIALS: 'true',
      ATELIER_CUSTOM_HOSTS: 'https://llm.example.com'
    })
    const headers = { 'x-portkey-provider': 'sketch', 'x-portkey-custom-host': 'https://llm.example.com' }
    const { status, body } = await gateway.generate(
      { authorization: `Bearer ${gateway.apiKey}`, 'x-portkey-api-key': broughtKey, ...headers },
      sketched
    )
    expect([status, body.error.param]).toEqual([400, 'x-portkey-custom-host'])
  })

  test('never gets a key of the operator’s or the organization’s', async () => {
    await using host = await startFakeOpenAI()
    await using gateway = await startOpenToKeys({
      ATELIER_ALLOW_REQUEST_CREDENTIALS: 'true',
      ATELIER_CUSTOM_HOSTS: new URL(host.url).origin
    })
    await gateway.storeCredential({ name: 'stored', secret: 'sk-stored-0123456789abcdef' })
    const bearer = { authorization: `Bearer ${gateway.apiKey}`, 'x-portkey-custom-host': host.url }
    for (const headers of [toOpenAI, { 'x-portkey-provider': '@stored' }, { 'x-portkey-virtual-key': 'stored' }, {}]) {
      const { status, body } = await gateway.generate({ ...bearer, ...headers })
      expect([status, body.error.message]).toEqual([
        400,
        'x-portkey-custom-host: needs a key for the provider that the request brings itself'
      ])
    }
    expect(host.requests.length).toBe(0)
  })

  test('is not called where its name leads to an address that is not public, unless the operator allows that too', async () => {
    await using host = await startFakeOpenAI()
    const { port } = new URL(host.url)
    const origin = `http://localhost:${port}`
    const environment = { ATELIER_ALLOW_REQUEST_CREDENTIALS: 'true', ATELIER_CUSTOM_HOSTS: origin }
    await using gateway = await startOpenToKeys(environment)
    const headers = { 'x-portkey-api-key': broughtKey, ...toOpenAI, 'x-portkey-custom-host': `${origin}/v1` }
    const { status, body } = await gateway.generate({ ...headers, authorization: `Bearer ${gateway.apiKey}` })
    expect([status, body.error.message, host.requests.length]).toEqual([
      500,
      'the provider openai could not be reached: its host name leads to an address that is not public (ERR_ADDRESS_NOT_PUBLIC)',
      0
    ])
    await using open = await startOpenToKeys(environment, { egressAllow: [`localhost:${port}`] })
    expect((await open.generate({ ...headers, authorization: `Bearer ${open.apiKey}` })).status).toBe(200)
  })
})
