import { createClient } from '@connectrpc/connect'
import { createGrpcTransport } from '@connectrpc/connect-node'
import { describe, expect, test } from 'vitest'
import { CredentialKind } from '../../gen/atelier/v1/credential_pb.ts'
import { CredentialService } from '../../gen/atelier/v1/credential_service_pb.ts'
import { ImageService } from '../../gen/atelier/v1/image_service_pb.ts'
import { PlatformCredentials } from '../../gen/atelier/v1/organization_pb.ts'
import { acmeKey, otherKey, picture, platformKey, startAcme } from '../support/acme.ts'
import { adminOf, connectWith, createKey, refusalOf } from '../support/admin.ts'
import { startAtelier } from '../support/atelier.ts'
import { startFakeOpenAI } from '../support/fake-openai.ts'

const { ORGANIZATION, NONE } = CredentialKind

describe('an organization with a credential of its own', () => {
  test('is served with it, and the answer, the task and the log say so', async () => {
    await using acme = await startAcme({ credentials: [{ secret: acmeKey }] })
    const response = await acme.generate()
    expect([response.status, response.headers.get('x-atelier-credential')]).toEqual([200, 'organization'])
    expect(acme.keysSeen()).toEqual([acmeKey])
    const task = await acme.task(response)
    const [{ id = '' } = {}] = (await acme.client.listCredentials({})).credentials
    expect(task.attempts).toMatchObject([{ ordinal: 0, status: 'succeeded', credential: 'organization', credential_id: id }])
    await expect.poll(() => acme.requestLines()).toMatchObject([{ organization: 'acme', credential: `organization:${id}` }])
  })

  test('hears so on every protocol, in unary answers and at the end of streams', async () => {
    await using acme = await startAcme({ credentials: [{ secret: acmeKey }] })
    const events = await (await acme.generate({ stream: true })).text()
    expect(events).toContain('"credential":"organization"')
    const headers = { authorization: `Bearer ${acme.key}` }
    const request = { prompt: 'a cat', modelSelector: { case: 'modelName', value: 'gpt-image-1' } } as const
    for (const transport of [connectWith(acme.url, acme.key), createGrpcTransport({ baseUrl: acme.url })]) {
      const images = createClient(ImageService, transport)
      let told: string | null = null
      const onHeader = (header: Headers) => {
        told = header.get('x-atelier-credential')
      }
      const answer = await images.generateImages(request, { headers, onHeader })
      expect([answer.credentials, told]).toEqual([[ORGANIZATION], 'organization'])
      const ends: unknown[] = []
      for await (const { event } of images.streamGenerateImages({ request }, { headers })) {
        if (event.case === 'completed') ends.push(event.value.credentials)
      }
      expect(ends).toEqual([[ORGANIZATION]])
    }
  })

  test('does not share it: others are served with the platform’s', async () => {
    await using acme = await startAcme({ credentials: [{ secret: acmeKey }] })
    const response = await acme.generate({}, acme.gateway.apiKey)
    expect([response.status, response.headers.get('x-atelier-credential')]).toEqual([200, 'platform'])
    expect(acme.keysSeen()).toEqual([platformKey])
  })

  test('is told when it is used', async () => {
    await using acme = await startAcme({ credentials: [{ secret: acmeKey }] })
    const before = Math.floor(Date.now() / 1000)
    const [{ id = '', lastUsedAt } = {}] = (await acme.client.listCredentials({})).credentials
    expect(lastUsedAt).toBeUndefined()
    await acme.generate()
    expect(Number((await acme.client.getCredential({ id })).credential?.lastUsedAt)).toBeGreaterThanOrEqual(before)
  })

  test('repeats whose key it was with a repeated answer', async () => {
    await using acme = await startAcme({ credentials: [{ secret: acmeKey }] })
    const headers = { 'idempotency-key': 'order-1' }
    await (await acme.generate({}, acme.key, headers)).arrayBuffer()
    const again = await acme.generate({}, acme.key, headers)
    expect([again.headers.get('x-atelier-replayed'), again.headers.get('x-atelier-credential')]).toEqual(['true', 'organization'])
    expect(acme.keysSeen()).toEqual([acmeKey])
  })
})

describe('where the provider refuses the organization’s key', () => {
  test.each([
    [401, 'invalid_api_key'],
    [403, 'unsupported_country'],
    [402, 'billing_hard_limit_reached'],
    [429, 'insufficient_quota']
  ])('with %i %s, the platform’s is not used in its place', async (status, code) => {
    await using acme = await startAcme({ credentials: [{ secret: acmeKey }], refused: { [acmeKey]: { status, code } } })
    const response = await acme.generate()
    expect([response.status, response.headers.get('x-atelier-credential')]).toEqual([500, 'organization'])
    expect(((await response.json()) as { error: { type: string } }).error.type).toBe('provider_error')
    expect(acme.keysSeen()).toEqual([acmeKey])
  })

  test('the next of its own is, and the answer comes from that', async () => {
    const credentials = [
      { secret: acmeKey, name: 'first', weight: 1000 },
      { secret: otherKey, name: 'second', weight: 1 }
    ]
    await using acme = await startAcme({ credentials, refused: { [acmeKey]: { status: 401, code: 'invalid_api_key' } } })
    const answers = await Promise.all(Array.from({ length: 3 }, () => acme.generate()))
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200])
    expect(acme.keysSeen().filter((key) => key === otherKey)).toHaveLength(3)
    expect(acme.keysSeen()).not.toContain(platformKey)
  })

  test('the platform’s is where the operator says so, as a further attempt', async () => {
    await using acme = await startAcme({
      policy: PlatformCredentials.ALSO_WHEN_REFUSED,
      credentials: [{ secret: acmeKey }],
      refused: { [acmeKey]: { status: 401, code: 'invalid_api_key' } }
    })
    const response = await acme.generate()
    expect([response.status, response.headers.get('x-atelier-credential')]).toEqual([200, 'platform'])
    expect(acme.keysSeen()).toEqual([acmeKey, platformKey])
    expect((await acme.task(response)).attempts).toMatchObject([
      { ordinal: 0, status: 'rejected', credential: 'organization', cost_micros: 0 },
      { ordinal: 1, status: 'succeeded', credential: 'platform' }
    ])
    await expect.poll(() => acme.requestLines()).toMatchObject([{ status: 200, credential: 'platform' }])
  })

  test('it goes on in the same way where no tasks are kept', async () => {
    await using acme = await startAcme({
      policy: PlatformCredentials.ALSO_WHEN_REFUSED,
      credentials: [{ secret: acmeKey }],
      refused: { [acmeKey]: { status: 401, code: 'invalid_api_key' } },
      gateway: { settings: { tasks: 'off' } }
    })
    const response = await acme.generate()
    expect([response.status, response.headers.get('x-atelier-credential')]).toEqual([200, 'platform'])
    expect(await (await acme.generate({ stream: true })).text()).toContain('"credential":"platform"')
    expect(acme.keysSeen()).toEqual([acmeKey, platformKey, acmeKey, platformKey])
  })

  test('a provider that prints the key gets it neither into the answer nor into the log', async () => {
    const echo = { status: 401, code: 'invalid_api_key', message: `Incorrect key: ${acmeKey}` }
    await using acme = await startAcme({ credentials: [{ secret: acmeKey }], refused: { [acmeKey]: echo } })
    const response = await acme.generate()
    const text = await response.text()
    expect([response.status, text.includes('Incorrect key: [key]')]).toEqual([500, true])
    await expect.poll(() => acme.requestLines()).toHaveLength(1)
    expect([text, ...acme.gateway.logLines].filter((line) => line.includes('0123456789abcdef'))).toEqual([])
  })
})

test('configured headers that name the operator’s account go along with the operator’s keys alone', async () => {
  await using openai = await startFakeOpenAI()
  const headers = { 'OpenAI-Organization': 'org-platform', 'OpenAI-Project': 'proj-platform', 'x-proxy': 'yes' }
  const provider = { name: 'openai', adapter: 'openai', baseUrl: openai.url, apiKey: platformKey, models: [], headers, maxConnections: 4 }
  await using atelier = await startAtelier({ settings: { providers: [provider] } })
  await adminOf(atelier).createOrganization({ id: 'acme' })
  const { key } = await createKey(atelier, { organizationId: 'acme' })
  const credentials = createClient(CredentialService, connectWith(atelier.url, atelier.adminKey))
  await credentials.setCredential({ organizationId: 'acme', provider: 'openai', secret: acmeKey })
  for (const as of [atelier.apiKey, key]) {
    const response = await atelier.post('/v1/images/generations', picture, { authorization: `Bearer ${as}` })
    expect([response.status, (await response.arrayBuffer()).byteLength > 0]).toEqual([200, true])
  }
  const sent = openai.requests.map(({ headers: each }) => [each['openai-organization'], each['openai-project'], each['x-proxy']])
  expect(sent).toEqual([
    ['org-platform', 'proj-platform', 'yes'],
    [undefined, undefined, 'yes']
  ])
})

describe('an organization without a credential', () => {
  test('has no models of providers whose platform keys it must not use', async () => {
    await using acme = await startAcme({ policy: PlatformCredentials.NEVER, gateway: { settings: atOwnAddress } })
    const response = await acme.generate()
    expect([response.status, ((await response.json()) as { error: object }).error]).toEqual([
      500,
      expect.objectContaining({ type: 'provider_error', code: 'provider_key_missing' })
    ])
    expect(await acme.modelIds()).toEqual(['sketch'])
    expect(await acme.modelIds(acme.gateway.apiKey)).toContain('gpt-image-1')
    expect(acme.keysSeen()).toEqual([])
  })

  test('still has what needs no key', async () => {
    await using acme = await startAcme({ policy: PlatformCredentials.NEVER })
    const response = await acme.generate({ model: 'sketch', size: '64x64', quality: 'auto' })
    expect([response.status, response.headers.get('x-atelier-credential')]).toEqual([200, 'none'])
    const images = createClient(ImageService, connectWith(acme.url, acme.key))
    expect((await images.generateImages({ prompt: 'x', modelSelector: { case: 'modelName', value: 'sketch' } })).credentials).toEqual([
      NONE
    ])
  })

  test('gets the models of a provider with its first credential for it, and loses them with its last', async () => {
    const keyless = { providers: atOwnAddress.providers.map((provider) => ({ ...provider, apiKey: '' })) }
    await using acme = await startAcme({ gateway: { settings: keyless } })
    const estimate = async () => (await acme.post('/v1/images/estimate', picture)).status
    const seen = [[await acme.modelIds(), await estimate()]]
    const { credential } = await acme.set({ provider: 'openai', secret: acmeKey })
    seen.push([(await acme.modelIds()).includes('gpt-image-1') ? ['gpt-image-1'] : [], await estimate()])
    expect(await acme.modelIds(acme.gateway.apiKey)).toEqual(['sketch'])
    await acme.client.deleteCredential({ id: credential?.id ?? '' })
    seen.push([await acme.modelIds(), await estimate()])
    expect(seen).toEqual([
      [['sketch'], 500],
      [['gpt-image-1'], 200],
      [['sketch'], 500]
    ])
  })

  test('says whether the operator’s keys may serve it, and is changed', async () => {
    await using atelier = await startAtelier()
    const admin = adminOf(atelier)
    const { organization } = await admin.createOrganization({ id: 'acme' })
    expect(organization?.platformCredentials).toBe(PlatformCredentials.WHEN_MISSING)
    await admin.updateOrganization({ id: 'acme', platformCredentials: PlatformCredentials.NEVER })
    expect((await admin.updateOrganization({ id: 'acme', name: 'Acme' })).organization?.platformCredentials).toBe(PlatformCredentials.NEVER)
    const refusal = await refusalOf(admin.updateOrganization({ id: 'acme', platformCredentials: 9 as PlatformCredentials }))
    expect(refusal).toEqual(['InvalidArgument', expect.stringContaining('platform_credentials: ')])
  })
})

/** OpenAI at the vendor's own address, where it asks for a key; nothing is ever sent there. */
const atOwnAddress = {
  providers: [
    { name: 'openai', adapter: 'openai', apiKey: platformKey, models: [], headers: {}, maxConnections: 1 },
    { name: 'sketch', adapter: 'sketch', apiKey: '', models: [], headers: {}, maxConnections: 1 }
  ]
}
