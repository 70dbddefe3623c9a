import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { clone, toJsonString } from '@bufbuild/protobuf'
import { createClient } from '@connectrpc/connect'
import { createGrpcTransport } from '@connectrpc/connect-node'
import { describe, expect, test } from 'vitest'
import { AdminService } from '../../gen/atelier/v1/admin_service_pb.ts'
import { ApiKeySchema, ApiKeyScope, ApiKeySource } from '../../gen/atelier/v1/api_key_pb.ts'
import { OrganizationSchema } from '../../gen/atelier/v1/organization_pb.ts'
import { adminOf, createKey, refusalOf } from '../support/admin.ts'
import { startAtelier, type TestServer } from '../support/atelier.ts'
import { startSharedStorage } from '../support/shared-storage.ts'

const { GENERATE, EDIT, READ_TASKS, ADMIN } = ApiKeyScope

describe('organizations', () => {
  test('are created, read and listed by their ids', async () => {
    await using atelier = await startAtelier()
    const admin = adminOf(atelier)
    const before = Math.floor(Date.now() / 1000)
    const { organization } = await admin.createOrganization({ id: 'acme', name: 'Acme Ltd' })
    expect(organization).toMatchObject({ id: 'acme', name: 'Acme Ltd', disabled: false })
    expect(Number(organization?.createdAt)).toBeGreaterThanOrEqual(before)
    expect((await admin.getOrganization({ id: 'acme' })).organization).toEqual(organization)
    await admin.createOrganization({ id: '0ther' })
    const { organizations, nextPageToken } = await admin.listOrganizations({})
    expect([organizations.map(({ id, name }) => [id, name]), nextPageToken]).toEqual([
      [
        ['0ther', '0ther'],
        ['acme', 'Acme Ltd'],
        ['default', 'default']
      ],
      ''
    ])
  })

  test('are listed in pages', async () => {
    await using atelier = await startAtelier()
    const admin = adminOf(atelier)
    for (const id of ['a', 'b', 'c', 'e']) await admin.createOrganization({ id })
    const pages: string[][] = []
    let pageToken = ''
    do {
      const page = await admin.listOrganizations({ pageSize: 2, pageToken })
      pages.push(page.organizations.map(({ id }) => id))
      pageToken = page.nextPageToken
    } while (pageToken !== '')
    expect(pages).toEqual([['a', 'b'], ['c', 'default'], ['e']])
  })

  test('are renamed, and what is not said stays', async () => {
    await using atelier = await startAtelier()
    const admin = adminOf(atelier)
    await admin.createOrganization({ id: 'acme' })
    await admin.updateOrganization({ id: 'acme', disabled: true })
    const { organization } = await admin.updateOrganization({ id: 'acme', name: 'Acme' })
    expect(organization && clone(OrganizationSchema, organization)).toMatchObject({ id: 'acme', name: 'Acme', disabled: true })
    expect((await admin.updateOrganization({ id: 'acme' })).organization).toEqual(organization)
  })

  test('that are disabled have no keys, until they are enabled', async () => {
    await using atelier = await startAtelier()
    const admin = adminOf(atelier)
    await admin.createOrganization({ id: 'acme' })
    const { key } = await createKey(atelier, { organizationId: 'acme' })
    const statuses = [await statusOf(atelier, key)]
    await admin.updateOrganization({ id: 'acme', disabled: true })
    statuses.push(await statusOf(atelier, key))
    await admin.updateOrganization({ id: 'acme', disabled: false })
    statuses.push(await statusOf(atelier, key))
    expect(statuses).toEqual([200, 401, 200])
  })

  test('are refused with what is wrong', async () => {
    await using atelier = await startAtelier()
    const admin = adminOf(atelier)
    expect([
      await refusalOf(admin.createOrganization({})),
      await refusalOf(admin.createOrganization({ id: 'Acme!' })),
      await refusalOf(admin.createOrganization({ id: 'default' })),
      await refusalOf(admin.getOrganization({ id: 'nobody' })),
      await refusalOf(admin.updateOrganization({ id: 'nobody', name: 'x' })),
      await refusalOf(admin.updateOrganization({ id: 'default', disabled: true })),
      await refusalOf(admin.listOrganizations({ pageToken: 'made-up' })),
      await refusalOf(admin.listOrganizations({ pageSize: 101 }))
    ]).toEqual([
      ['InvalidArgument', expect.stringContaining("'id'")],
      ['InvalidArgument', expect.stringContaining('id: ')],
      ['AlreadyExists', "the organization 'default' exists already"],
      ['NotFound', "there is no organization 'nobody'"],
      ['NotFound', "there is no organization 'nobody'"],
      ['InvalidArgument', "disabled: must be false for default, the operator's own organization"],
      ['InvalidArgument', 'page_token: must be the next_page_token of the page before'],
      ['InvalidArgument', expect.stringContaining('page_size: ')]
    ])
  })
})

describe('API keys', () => {
  test('are shown once, work at once, and can do all but operate the server unless told', async () => {
    await using atelier = await startAtelier()
    const { apiKey, key } = await adminOf(atelier).createApiKey({ name: 'ci' })
    expect(apiKey).toMatchObject({
      id: key.slice(11, 19),
      organizationId: 'default',
      name: 'ci',
      hint: key.slice(-4),
      scopes: [GENERATE, EDIT, READ_TASKS],
      source: ApiKeySource.CREATED
    })
    expect([apiKey?.expiresAt, apiKey?.revokedAt, apiKey?.lastUsedAt]).toEqual([undefined, undefined, undefined])
    expect(await statusOf(atelier, key)).toBe(200)
  })

  test('are created with everything that can be said about them', async () => {
    await using atelier = await startAtelier()
    const admin = adminOf(atelier)
    await admin.createOrganization({ id: 'acme' })
    const expiresAt = BigInt(Math.floor(Date.now() / 1000) + 3600)
    const limits = { models: ['gpt-image-*', 'sketch'], providers: ['sketch'] }
    const { apiKey } = await admin.createApiKey({ organizationId: 'acme', name: 'ci', scopes: [EDIT, GENERATE, EDIT], limits, expiresAt })
    expect(apiKey).toMatchObject({ organizationId: 'acme', scopes: [EDIT, GENERATE], limits, expiresAt })
    expect((await admin.getApiKey({ id: apiKey?.id ?? '' })).apiKey).toEqual(apiKey)
  })

  test('are nowhere to be read again: in no answer, no log line and no file', async () => {
    await using atelier = await startAtelier()
    const admin = adminOf(atelier)
    const { id, key } = await createKey(atelier)
    expect(await statusOf(atelier, key)).toBe(200)
    const answers = [
      (await admin.getApiKey({ id })).apiKey,
      ...(await admin.listApiKeys({ includeInvalid: true })).apiKeys,
      (await admin.updateApiKey({ id, name: 'other' })).apiKey,
      (await admin.revokeApiKey({ id })).apiKey
    ]
    const files = await readdir(atelier.dataDir, { recursive: true, withFileTypes: true })
    const stored = files.filter((file) => file.isFile()).map((file) => readFile(join(file.parentPath, file.name), 'latin1'))
    const texts = [
      ...answers.map((answer) => answer && toJsonString(ApiKeySchema, answer)),
      ...atelier.logLines,
      ...(await Promise.all(stored))
    ]
    // Everything behind the id: secret and checksum.
    expect(texts.filter((text) => text?.includes(key.slice(19, 30)))).toEqual([])
  })

  test('are listed newest first in pages, of one organization or of all, without those that no longer work', async () => {
    await using atelier = await startAtelier()
    const admin = adminOf(atelier)
    await admin.createOrganization({ id: 'acme' })
    const ids: string[] = []
    for (const organizationId of ['acme', 'default', 'acme', 'acme']) ids.unshift((await createKey(atelier, { organizationId })).id)
    const [newest = '', middle = '', ofDefault = '', oldest = ''] = ids
    const first = await admin.listApiKeys({ organizationId: 'acme', pageSize: 2 })
    const second = await admin.listApiKeys({ organizationId: 'acme', pageSize: 2, pageToken: first.nextPageToken })
    expect([first.apiKeys.map(({ id }) => id), second.apiKeys.map(({ id }) => id), second.nextPageToken]).toEqual([
      [newest, middle],
      [oldest],
      ''
    ])
    await admin.revokeApiKey({ id: middle })
    const all = async (includeInvalid: boolean) =>
      (await admin.listApiKeys({ includeInvalid })).apiKeys.filter(({ source }) => source === ApiKeySource.CREATED).map(({ id }) => id)
    expect([await all(false), await all(true)]).toEqual([
      [newest, ofDefault, oldest],
      [newest, middle, ofDefault, oldest]
    ])
    expect((await refusalOf(admin.listOrganizations({ pageToken: first.nextPageToken })))[0]).toBe('InvalidArgument')
  })

  test('tell when they were last used', async () => {
    await using atelier = await startAtelier()
    const { id, key } = await createKey(atelier)
    const before = Math.floor(Date.now() / 1000)
    await statusOf(atelier, key)
    const { apiKey } = await adminOf(atelier).getApiKey({ id })
    expect(Number(apiKey?.lastUsedAt)).toBeGreaterThanOrEqual(before)
  })

  test('are changed, and what is not said stays', async () => {
    await using atelier = await startAtelier()
    const admin = adminOf(atelier)
    const expiresAt = BigInt(Math.floor(Date.now() / 1000) + 3600)
    const { id, key } = await createKey(atelier, { name: 'ci', limits: { models: ['nothing'] }, expiresAt })
    expect(await statusOf(atelier, key, { model: 'sketch', prompt: 'x', size: '64x64' })).toBe(403)
    const { apiKey } = await admin.updateApiKey({ id, limits: { models: ['sketch'] } })
    expect(apiKey).toMatchObject({ name: 'ci', scopes: [GENERATE, EDIT, READ_TASKS], limits: { models: ['sketch'] }, expiresAt })
    expect(await statusOf(atelier, key, { model: 'sketch', prompt: 'x', size: '64x64' })).toBe(200)
    const { apiKey: changed } = await admin.updateApiKey({ id, name: 'new', scopes: [EDIT], limits: {}, expiresAt: 0n })
    expect([changed?.name, changed?.scopes, changed?.limits?.models, changed?.expiresAt]).toEqual(['new', [EDIT], [], undefined])
    expect(await statusOf(atelier, key, { model: 'sketch', prompt: 'x', size: '64x64' })).toBe(403)
  })

  test('that are revoked stay so, and keep the time at which that happened', async () => {
    await using atelier = await startAtelier()
    const admin = adminOf(atelier)
    const { id, key } = await createKey(atelier)
    const { apiKey } = await admin.revokeApiKey({ id })
    expect(apiKey?.revokedAt).toBeGreaterThan(0n)
    expect(await statusOf(atelier, key)).toBe(401)
    expect((await admin.revokeApiKey({ id })).apiKey).toEqual(apiKey)
    expect(await refusalOf(admin.updateApiKey({ id, name: 'x' }))).toEqual(['InvalidArgument', 'id: is a revoked key: make a new one'])
  })

  test('are refused from the second on in which they expire', async () => {
    await using atelier = await startAtelier()
    const { key } = await createKey(atelier, { expiresAt: BigInt(Math.ceil(Date.now() / 1000) + 1) })
    expect(await statusOf(atelier, key)).toBe(200)
    await expect.poll(() => statusOf(atelier, key), { timeout: 5_000 }).toBe(401)
  })

  test('of the configuration are changed there', async () => {
    await using atelier = await startAtelier()
    const admin = adminOf(atelier)
    const { apiKeys } = await admin.listApiKeys({})
    const [configured] = apiKeys.filter(({ scopes }) => !scopes.includes(ADMIN))
    expect(configured).toMatchObject({ source: ApiKeySource.CONFIG, name: 'configured', hint: atelier.apiKey.slice(-4) })
    const refusal = ['InvalidArgument', 'id: is a key of the configuration: change it there']
    expect(await refusalOf(admin.revokeApiKey({ id: configured?.id ?? '' }))).toEqual(refusal)
    expect(await refusalOf(admin.updateApiKey({ id: configured?.id ?? '', name: 'x' }))).toEqual(refusal)
  })

  test('are refused with what is wrong', async () => {
    await using atelier = await startAtelier()
    const admin = adminOf(atelier)
    await admin.createOrganization({ id: 'acme' })
    const { id } = await createKey(atelier, { organizationId: 'acme' })
    const forTenants = 'scopes: must not hold admin: only keys of the organization default can operate the server'
    expect([
      await refusalOf(admin.createApiKey({})),
      await refusalOf(admin.createApiKey({ name: 'x', organizationId: 'nobody' })),
      await refusalOf(admin.createApiKey({ name: 'x', expiresAt: BigInt(Math.floor(Date.now() / 1000)) })),
      await refusalOf(admin.createApiKey({ name: 'x', scopes: [0] })),
      await refusalOf(admin.createApiKey({ name: 'x', limits: { models: ['two words'] } })),
      await refusalOf(admin.createApiKey({ name: 'x', organizationId: 'acme', scopes: [ADMIN] })),
      await refusalOf(admin.updateApiKey({ id, scopes: [GENERATE, ADMIN] })),
      await refusalOf(admin.getApiKey({ id: 'nothing!' })),
      await refusalOf(admin.updateApiKey({ id: 'nothing!', name: 'x' })),
      await refusalOf(admin.revokeApiKey({ id: 'nothing!' })),
      await refusalOf(admin.listApiKeys({ pageToken: 'made-up' }))
    ]).toEqual([
      ['InvalidArgument', expect.stringContaining("'name'")],
      ['NotFound', "there is no organization 'nobody'"],
      ['InvalidArgument', 'expires_at: must be in the future'],
      ['InvalidArgument', expect.stringContaining('scopes[0]: ')],
      ['InvalidArgument', expect.stringContaining('limits.models[0]: ')],
      ['InvalidArgument', forTenants],
      ['InvalidArgument', forTenants],
      ['NotFound', "there is no API key 'nothing!'"],
      ['NotFound', "there is no API key 'nothing!'"],
      ['NotFound', "there is no API key 'nothing!'"],
      ['InvalidArgument', 'page_token: must be the next_page_token of the page before']
    ])
  })

  test('of one organization do not reach what another one has uploaded', async () => {
    await using atelier = await startAtelier()
    const admin = adminOf(atelier)
    for (const id of ['acme', 'rival']) await admin.createOrganization({ id })
    const own = await createKey(atelier, { organizationId: 'acme' })
    const other = await createKey(atelier, { organizationId: 'rival' })
    const imageUrl = await hostedImage(atelier, own.key)
    const [, , id = ''] = new URL(imageUrl).pathname.split('/')
    const edit = (key: string) =>
      call(atelier, 'atelier.v1.ImageService/EditImages', key, {
        parameters: { prompt: 'a hat', modelName: 'sketch' },
        images: [{ imageId: id }]
      })
    expect([(await edit(own.key)).status, (await edit(other.key)).status]).toEqual([200, 404])
  })
})

test('AdminService speaks gRPC too', async () => {
  await using atelier = await startAtelier()
  const admin = createClient(AdminService, createGrpcTransport({ baseUrl: atelier.url }))
  const headers = { authorization: `Bearer ${atelier.adminKey}` }
  expect((await admin.getOrganization({ id: 'default' }, { headers })).organization?.name).toBe('default')
})

test('the log tells who did what to whom, by ids', async () => {
  await using atelier = await startAtelier()
  const admin = adminOf(atelier)
  await admin.createOrganization({ id: 'acme', name: 'Acme Ltd' })
  const { id } = await createKey(atelier, { organizationId: 'acme', name: 'the name of it' })
  await admin.revokeApiKey({ id })
  await refusalOf(admin.getOrganization({ id: 'nobody' }))
  const lines = atelier.logLines.map((line) => JSON.parse(line)).filter(({ msg }) => msg === 'admin')
  const by = lines[0]?.by
  expect(by).toMatch(/^[0-9A-Za-z]{8}$/)
  expect(lines.map(({ level, time, request, msg, ...fields }) => fields)).toEqual([
    { action: 'CreateOrganization', by, organization: 'acme', outcome: 'ok' },
    { action: 'CreateApiKey', by, organization: 'acme', apiKey: id, outcome: 'ok' },
    { action: 'RevokeApiKey', by, organization: 'acme', apiKey: id, outcome: 'ok' },
    { action: 'GetOrganization', by, organization: 'nobody', outcome: 'NOT_FOUND' }
  ])
  expect(atelier.logLines.filter((line) => line.includes('the name of it'))).toEqual([])
})

describe('another process', () => {
  test('that shares a PostgreSQL database refuses a key for an organization that there is not', async () => {
    await using storage = await startSharedStorage()
    await using atelier = await startAtelier(storage)
    const refusal = await refusalOf(adminOf(atelier).createApiKey({ name: 'x', organizationId: 'nobody' }))
    expect(refusal).toEqual(['NotFound', "there is no organization 'nobody'"])
  })

  test('refuses a key soon after it was revoked, takes a new one, and follows a disabled organization', async () => {
    await using storage = await startSharedStorage()
    await using here = await startAtelier(storage)
    await using there = await startAtelier(storage)
    const admin = adminOf(here)
    await admin.createOrganization({ id: 'acme' })
    const first = await createKey(here, { organizationId: 'acme' })
    const second = await createKey(here, { organizationId: 'acme' })
    // Far below the four seconds after which changes are looked for that nobody announced.
    const soon = { timeout: 2_000, interval: 20 }
    await expect.poll(() => statusOf(there, second.key), soon).toBe(200)
    await admin.revokeApiKey({ id: first.id })
    await expect.poll(() => statusOf(there, first.key), soon).toBe(401)
    expect(await statusOf(there, second.key)).toBe(200)
    await admin.updateOrganization({ id: 'acme', disabled: true })
    await expect.poll(() => statusOf(there, second.key), soon).toBe(401)
  })
})

/** What the models route answers to the key; with a body, what a generation does. */
async function statusOf({ url }: TestServer, key: string, body?: unknown): Promise<number> {
  const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' }
  const response = await fetch(
    `${url}${body === undefined ? '/v1/models' : '/v1/images/generations'}`,
    body === undefined ? { headers } : { headers, method: 'POST', body: JSON.stringify(body) }
  )
  await response.arrayBuffer()
  return response.status
}

async function hostedImage(atelier: TestServer, key: string): Promise<string> {
  const body = { model: 'sketch', prompt: 'x', size: '64x64', response_format: 'url' }
  const response = await atelier.post('/v1/images/generations', body, { authorization: `Bearer ${key}` })
  const { data } = (await response.json()) as { data: { url: string }[] }
  return data[0]?.url ?? ''
}

async function call({ url }: TestServer, method: string, key: string, body: unknown): Promise<Response> {
  return fetch(`${url}/${method}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify(body)
  })
}
