import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Message, type MessageInitShape, toJsonString } from '@bufbuild/protobuf'
import { type Client, createClient } from '@connectrpc/connect'
import { describe, expect, test } from 'vitest'
import { CredentialSchema } from '../../gen/atelier/v1/credential_pb.ts'
import { CredentialService, type SetCredentialRequestSchema } from '../../gen/atelier/v1/credential_service_pb.ts'
import { acmeKey, otherKey, picture, platformKey, startAcme, withReception } from '../support/acme.ts'
import { adminOf, connectWith, createKey, refusalOf } from '../support/admin.ts'
import { startAtelier, type TestServer } from '../support/atelier.ts'
import { type Gateway, type GatewayOptions, startGateway } from '../support/gateway.ts'
import { startSharedStorage } from '../support/shared-storage.ts'

describe.each(['SQLite', 'PostgreSQL'])('credentials on %s', (kind) => {
  const start = async (): Promise<Administered> => {
    const parts = new AsyncDisposableStack()
    const environment = {
      GEMINI_API_KEY: 'AIza-0123456789',
      ...(kind === 'SQLite' ? {} : parts.use(await startSharedStorage()).environment)
    }
    const gateway = parts.use(await startGateway({ environment }))
    for (const id of ['acme', 'rival']) await adminOf(gateway).createOrganization({ id })
    const client = createClient(CredentialService, connectWith(gateway.url, gateway.adminKey))
    return { gateway, client, [Symbol.asyncDispose]: () => parts.disposeAsync() }
  }

  test('are set, read and listed without their keys', async () => {
    await using running = await start()
    const { client } = running
    const { credential } = await client.setCredential({ organizationId: 'acme', provider: 'openai', secret: acmeKey })
    expect(credential).toMatchObject({
      id: expect.stringMatching(/^cred_\w{22}$/),
      organizationId: 'acme',
      provider: 'openai',
      name: 'openai',
      weight: 1,
      hint: 'cdef'
    })
    expect((await client.getCredential({ id: credential?.id ?? '' })).credential).toEqual(credential)
    await client.setCredential({ organizationId: 'acme', provider: 'google', name: 'art', secret: 'short', weight: 0 })
    await client.setCredential({ organizationId: 'rival', provider: 'openai', secret: otherKey })
    const listed = async (request: object) =>
      (await client.listCredentials(request)).credentials.map(({ organizationId, name }) => `${organizationId} ${name}`)
    expect(await listed({})).toEqual(['acme art', 'acme openai', 'rival openai'])
    expect(await listed({ organizationId: 'acme' })).toEqual(['acme art', 'acme openai'])
    expect(await listed({ provider: 'openai' })).toEqual(['acme openai', 'rival openai'])
    const first = await client.listCredentials({ pageSize: 2 })
    const second = await client.listCredentials({ pageSize: 2, pageToken: first.nextPageToken })
    expect([first.credentials.length, second.credentials.map(({ organizationId }) => organizationId), second.nextPageToken]).toEqual([
      2,
      ['rival'],
      ''
    ])
    expect((await client.listCredentials({ organizationId: 'acme', provider: 'google' })).credentials).toMatchObject([
      { hint: '', weight: 0 }
    ])
  })

  test('keep their ids and what is not said when they are set again, and are deleted any number of times', async () => {
    await using running = await start()
    const { client, gateway } = running
    const { key } = await createKey(gateway, { organizationId: 'acme' })
    const { credential } = await client.setCredential({
      organizationId: 'acme',
      provider: 'openai',
      secret: 'sk-wrong-0123456789',
      weight: 7
    })
    expect(await statusOf(gateway, key)).toBe(500)
    const again = await client.setCredential({ organizationId: 'acme', provider: 'openai', secret: platformKey })
    expect(again.credential).toMatchObject({ id: credential?.id, weight: 7, hint: 'cdef', createdAt: credential?.createdAt })
    expect(await statusOf(gateway, key)).toBe(200)
    expect((await client.setCredential({ organizationId: 'acme', provider: 'openai', weight: 0 })).credential).toMatchObject({
      weight: 0,
      hint: 'cdef'
    })
    const id = credential?.id ?? ''
    expect((await client.deleteCredential({ id })).credential).toMatchObject({ id, weight: 0 })
    expect((await client.deleteCredential({ id })).credential).toBeUndefined()
    expect((await client.listCredentials({})).credentials).toEqual([])
  })

  test('of one name that are set at the same time are one', async () => {
    await using running = await start()
    const { client } = running
    const request = { organizationId: 'acme', provider: 'openai', secret: acmeKey }
    const answers = await Promise.all(Array.from({ length: 8 }, () => client.setCredential(request)))
    expect(new Set(answers.map(({ credential }) => credential?.id)).size).toBe(1)
  })
})

const providerKeys = { OPENAI_API_KEY: platformKey, GEMINI_API_KEY: 'AIza-0123456789' }

interface Administered extends AsyncDisposable {
  gateway: Gateway
  client: Client<typeof CredentialService>
}

test('are refused with what is wrong, and no refusal repeats the key', async () => {
  await using atelier = await startAtelier({ environment: providerKeys })
  const client = createClient(CredentialService, connectWith(atelier.url, atelier.adminKey))
  await client.setCredential({ provider: 'openai', name: 'mine', secret: acmeKey })
  const set = (request: MessageInitShape<typeof SetCredentialRequestSchema>) =>
    refusalOf(client.setCredential({ secret: acmeKey, ...request }))
  const refusals = [
    await set({}),
    await set({ provider: 'nobody' }),
    await set({ provider: 'openai', organizationId: 'nobody' }),
    await set({ provider: 'openai', name: 'No Slug' }),
    await set({ provider: 'openai', secret: `${acmeKey}\n` }),
    await set({ provider: 'openai', secret: '' }),
    await set({ provider: 'openai', weight: 1001 }),
    await set({ provider: 'google', name: 'mine' }),
    await set({ provider: 'sketch' }),
    await refusalOf(client.setCredential({ provider: 'openai', weight: 2 })),
    await refusalOf(client.getCredential({ id: 'nothing' })),
    await refusalOf(client.listCredentials({ pageToken: 'made-up' }))
  ]
  expect(refusals).toEqual([
    ['InvalidArgument', expect.stringContaining("'provider'")],
    ['InvalidArgument', expect.stringMatching(/^provider: must be a configured provider that takes a key: .*openai/)],
    ['NotFound', "there is no organization 'nobody'"],
    ['InvalidArgument', expect.stringContaining('name: ')],
    ['InvalidArgument', expect.stringContaining('secret: ')],
    ['InvalidArgument', expect.stringContaining('secret')],
    ['InvalidArgument', expect.stringContaining('weight: ')],
    ['InvalidArgument', 'provider: is openai for the credential mine: choose another name, or delete that one first'],
    ['InvalidArgument', expect.stringContaining('must be a configured provider that takes a key')],
    ['InvalidArgument', expect.stringContaining("'secret'")],
    ['NotFound', "there is no credential 'nothing'"],
    ['InvalidArgument', 'page_token: must be the next_page_token of the page before']
  ])
  expect([...refusals.flat(), ...atelier.logLines].filter((text) => text.includes('sk-acme'))).toEqual([])
})

test('their keys are nowhere to be read again: in no answer, no log line and no file', async () => {
  await using acme = await startAcme({ credentials: [{ secret: acmeKey }] })
  const [{ id = '' } = {}] = (await acme.client.listCredentials({})).credentials
  const answers: (Message | undefined)[] = [(await acme.client.getCredential({ id })).credential]
  await (await acme.generate()).arrayBuffer()
  answers.push(
    (await acme.set({ provider: 'openai', secret: otherKey })).credential,
    (await acme.client.deleteCredential({ id })).credential
  )
  const files = await readdir(acme.gateway.dataDir, { recursive: true, withFileTypes: true })
  const stored = files.filter((file) => file.isFile()).map((file) => readFile(join(file.parentPath, file.name), 'latin1'))
  const texts = [
    ...answers.map((answer) => (answer ? toJsonString(CredentialSchema, answer as never) : '')),
    ...acme.gateway.logLines,
    ...(await Promise.all(stored))
  ]
  expect(texts.filter((text) => text.includes('sk-acme'))).toEqual([])
})

test('the log tells who set and deleted which credential, by ids', async () => {
  await using atelier = await startAtelier({ environment: providerKeys })
  const client = createClient(CredentialService, connectWith(atelier.url, atelier.adminKey))
  const { credential } = await client.setCredential({ provider: 'openai', secret: acmeKey })
  await client.deleteCredential({ id: credential?.id ?? '' })
  const lines = atelier.logLines.map((line) => JSON.parse(line)).filter(({ msg }) => msg === 'admin')
  const same = { organization: 'default', credential: credential?.id, outcome: 'ok' }
  expect(lines).toMatchObject([
    { action: 'SetCredential', provider: 'openai', ...same },
    { action: 'DeleteCredential', ...same }
  ])
})

test('every gateway on one database uses a credential soon after it was set, and stops soon after it was deleted', async () => {
  await using storage = await startSharedStorage()
  await using here = await startGateway(withKeys(storage))
  await using there = await startAtelier({ environment: { ...storage.environment, ...providerOf(here) } })
  await adminOf(here).createOrganization({ id: 'acme' })
  const { key } = await createKey(here, { organizationId: 'acme' })
  const client = createClient(CredentialService, connectWith(here.url, here.adminKey))
  const servedBy = async () => {
    const response = await generate(there, key)
    await response.arrayBuffer()
    return response.headers.get('x-atelier-credential')
  }
  // Far below the four seconds after which changes are looked for that nobody announced.
  const soon = { timeout: 2_000, interval: 50 }
  await expect.poll(servedBy, soon).toBe('platform')
  const { credential } = await client.setCredential({ organizationId: 'acme', provider: 'openai', secret: acmeKey })
  await expect.poll(servedBy, soon).toBe('organization')
  await client.deleteCredential({ id: credential?.id ?? '' })
  await expect.poll(servedBy, soon).toBe('platform')
})

function withKeys({ environment }: { environment: Record<string, string> }): GatewayOptions {
  return { environment, openai: withReception({}) }
}

function providerOf({ openai }: Gateway): Record<string, string> {
  return { OPENAI_API_KEY: platformKey, OPENAI_BASE_URL: openai.url }
}

function generate(server: TestServer, key: string): Promise<Response> {
  return server.post('/v1/images/generations', picture, { authorization: `Bearer ${key}` })
}

async function statusOf(server: TestServer, key: string): Promise<number> {
  const response = await generate(server, key)
  await response.arrayBuffer()
  return response.status
}
