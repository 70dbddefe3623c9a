import { createClient } from '@connectrpc/connect'
import { createGrpcTransport } from '@connectrpc/connect-node'
import { afterAll, describe, expect, test } from 'vitest'
import { ImageService } from '../../gen/atelier/v1/image_service_pb.ts'
import { TaskService } from '../../gen/atelier/v1/task_service_pb.ts'
import { UsageDimension } from '../../gen/atelier/v1/usage_pb.ts'
import { UsageService } from '../../gen/atelier/v1/usage_service_pb.ts'
import { adminOf, connectWith, createKey, refusalOf } from '../support/admin.ts'
import { platformKey, portkeyHeadersOf, startOpenToKeys } from '../support/brought-keys.ts'

const atelier = await startOpenToKeys()
afterAll(() => atelier[Symbol.asyncDispose]())

const bearer = { authorization: `Bearer ${atelier.apiKey}` }
const sketched = { model: 'sketch', prompt: 'a cat', size: '64x64' }

describe('an answer to a client of Portkey', () => {
  test('tells the trace id, the provider, and that nothing was retried, balanced or cached', async () => {
    const { status, headers } = await atelier.generate({
      'x-portkey-api-key': atelier.apiKey,
      'x-portkey-provider': 'openai',
      'x-portkey-trace-id': 'trace-1'
    })
    expect([status, portkeyHeadersOf(headers)]).toEqual([
      200,
      { 'trace-id': 'trace-1', provider: 'openai', 'retry-attempt-count': '0', 'last-used-option-index': '0', 'cache-status': 'DISABLED' }
    ])
  })

  test('tells its own request id where the client names no trace, and the provider that served it where it chose none', async () => {
    const { headers } = await atelier.generate({ 'x-portkey-api-key': atelier.apiKey }, sketched)
    expect(portkeyHeadersOf(headers)).toMatchObject({ 'trace-id': headers.get('x-request-id'), provider: 'sketch' })
  })

  test('is the same where it is an error, also one of authentication', async () => {
    const asked = { 'x-portkey-provider': 'openai', 'x-portkey-trace-id': 'trace-2' }
    const answers = [
      await atelier.generate({ ...asked, 'x-portkey-api-key': 'a-wrong-key-of-somebody' }),
      await atelier.generate({ ...asked, ...bearer }, { size: '1x1' }),
      await atelier.generate({ ...asked, ...bearer }, { prompt: '[server-error]' })
    ]
    const told = {
      'trace-id': 'trace-2',
      provider: 'openai',
      'retry-attempt-count': '0',
      'last-used-option-index': '0',
      'cache-status': 'DISABLED'
    }
    expect(answers.map(({ status }) => status)).toEqual([401, 400, 500])
    for (const { headers } of answers) expect(portkeyHeadersOf(headers)).toMatchObject(told)
  })

  test('is as ever where the client is none of Portkey’s', async () => {
    const { headers } = await atelier.generate(bearer, sketched)
    expect(portkeyHeadersOf(headers)).toEqual({})
  })

  test('tells the same over RPC, with errors too', async () => {
    const headers = { ...bearer, 'x-portkey-provider': 'sketch', 'x-portkey-trace-id': 'trace-3' }
    const told: Record<string, string>[] = []
    for (const transport of [connectWith(atelier.url, undefined), createGrpcTransport({ baseUrl: atelier.url })]) {
      const client = createClient(ImageService, transport)
      await client.generateImages({ prompt: 'a cat' }, { headers, onHeader: (found) => void told.push(portkeyHeadersOf(found)) })
      const error = await client.generateImages({ prompt: '' }, { headers }).catch((thrown) => thrown)
      told.push(portkeyHeadersOf(error.metadata))
    }
    const expected = {
      'trace-id': 'trace-3',
      provider: 'sketch',
      'retry-attempt-count': '0',
      'last-used-option-index': '0',
      'cache-status': 'DISABLED'
    }
    expect(told).toEqual([expected, expected, expected, expected])
  })

  test('echoes no trace id that a header cannot hold, and refuses it', async () => {
    const { status, headers, body } = await atelier.generate({ ...bearer, 'x-portkey-trace-id': 'x'.repeat(256) })
    expect([status, body.error.param, headers.get('x-portkey-trace-id')]).toEqual([400, 'x-portkey-trace-id', headers.get('x-request-id')])
  })
})

describe('the provider that a request chooses', () => {
  test('serves it, or nobody does', async () => {
    const { status, headers } = await atelier.generate({ ...bearer, 'x-portkey-provider': 'openai' })
    expect([status, headers.get('x-atelier-provider')]).toEqual([200, 'openai'])
    const refused = await atelier.generate({ ...bearer, 'x-portkey-provider': 'sketch' })
    expect([refused.status, refused.body.error]).toEqual([
      404,
      {
        message: "the model 'dall-e-3' does not exist here: the provider sketch, which was chosen, does not serve it",
        type: 'invalid_request_error',
        param: 'model',
        code: 'model_not_found'
      }
    ])
  })

  test('serves its first model where the request names none and the default is another’s', async () => {
    const { status, headers } = await atelier.generate({ ...bearer, 'x-portkey-provider': 'sketch' }, { model: undefined, size: '64x64' })
    expect([status, headers.get('x-atelier-provider'), headers.get('x-atelier-model')]).toEqual([200, 'sketch', 'sketch'])
  })

  test('may stand in the name of a model that is looked up', async () => {
    const look = async (name: string) =>
      (await (await atelier.get(`/v1/models/${name}`)).json()) as { id?: string; error?: { code: string } }
    expect([(await look('@sketch/sketch')).id, (await look('@openai/sketch')).error?.code]).toEqual(['sketch', 'model_not_found'])
  })

  test('gets the names of models that only it may know', async () => {
    await atelier.generate({ ...bearer, 'x-portkey-provider': 'openai' }, { model: 'gpt-image-of-tomorrow' })
    expect(atelier.openai.requests.at(-1)?.body?.model).toBe('gpt-image-of-tomorrow')
  })

  test('is refused where there is none of that name, with those that there are', async () => {
    for (const name of ['anthropic', 'stability-ai', 'openai, openai', '__proto__']) {
      const { status, body } = await atelier.generate({ ...bearer, 'x-portkey-provider': name })
      expect([status, body.error]).toEqual([
        404,
        {
          message: `there is no provider '${name}' here: there are openai, sketch`,
          type: 'invalid_request_error',
          param: null,
          code: 'provider_not_found'
        }
      ])
    }
  })

  test('is one of those that the key allows', async () => {
    const { key } = await createKey(atelier, { limits: { providers: ['sketch'] } })
    const refused = await atelier.generate({ authorization: `Bearer ${key}`, 'x-portkey-provider': 'openai' })
    expect([refused.status, refused.body.error.code]).toEqual([403, 'permission_denied'])
    const unknown = await atelier.generate({ authorization: `Bearer ${key}`, 'x-portkey-provider': 'nobody' })
    expect(unknown.body.error.message).toBe("there is no provider 'nobody' here: there is sketch")
  })

  test('narrows the list of models', async () => {
    const list = async (headers: Record<string, string>) => {
      const { data } = (await (await atelier.get('/v1/models', headers)).json()) as { data: { id: string }[] }
      return data.map(({ id }) => id)
    }
    expect(await list({ 'x-portkey-provider': 'sketch' })).toEqual(['sketch'])
    expect((await list({})).length).toBeGreaterThan(1)
  })

  test('counts over RPC, for estimates and for edits as well', async () => {
    const headers = { ...bearer, 'x-portkey-provider': 'sketch' }
    const client = createClient(ImageService, connectWith(atelier.url, undefined))
    const request = { prompt: 'a cat', modelSelector: { case: 'modelName', value: 'dall-e-3' } } as const
    const refusal = ['NotFound', "the model 'dall-e-3' does not exist here: the provider sketch, which was chosen, does not serve it"]
    expect(await refusalOf(client.generateImages(request, { headers }))).toEqual(refusal)
    expect(await refusalOf(client.estimateCost({ request }, { headers }))).toEqual(refusal)
    const images = [{ source: { case: 'url', value: 'http://127.0.0.1:1/' } }] as const
    expect(await refusalOf(client.editImages({ parameters: request, images: [...images] }, { headers }))).toEqual(refusal)
  })
})

describe('a stored credential', () => {
  test('is used where the request names it, as a slug, as a virtual key, or before the model', async () => {
    await atelier.storeCredential({ name: 'art-department', secret: 'sk-art-0123456789abcdef', weight: 0 })
    const ways: [Record<string, string>, Record<string, unknown>?][] = [
      [{ 'x-portkey-provider': '@art-department' }],
      [{ 'x-portkey-virtual-key': 'art-department' }],
      [{ 'x-portkey-virtual-key': '@art-department', 'x-portkey-provider': 'openai' }],
      [{}, { model: '@art-department/dall-e-3' }],
      [{ 'x-portkey-provider': 'openai' }, { model: '@art-department/dall-e-3' }]
    ]
    for (const [headers, body] of ways) {
      const { status } = await atelier.generate({ ...bearer, ...headers }, body)
      expect([status, atelier.lastKey()]).toEqual([200, 'sk-art-0123456789abcdef'])
      expect(atelier.openai.requests.at(-1)?.body?.model).toBe('dall-e-3')
    }
    await atelier.generate(bearer)
    expect(atelier.lastKey()).toBe(platformKey)
  })

  test('goes before a provider of the same name behind an "@", which else means that', async () => {
    expect((await atelier.generate({ ...bearer, 'x-portkey-provider': '@openai' })).status).toBe(200)
    expect(atelier.lastKey()).toBe(platformKey)
    expect((await atelier.generate(bearer, { ...sketched, model: '@sketch/sketch' })).headers.get('x-atelier-provider')).toBe('sketch')
  })

  test('is another organization’s to nobody', async () => {
    await atelier.storeCredential({ name: 'of-default', secret: 'sk-default-0123456789', weight: 0 })
    await adminOf(atelier).createOrganization({ id: 'rival' })
    const { key } = await createKey(atelier, { organizationId: 'rival' })
    const rival = { authorization: `Bearer ${key}` }
    const answers = [
      await atelier.generate({ ...rival, 'x-portkey-provider': '@of-default' }),
      await atelier.generate({ ...rival, 'x-portkey-virtual-key': 'of-default' }),
      await atelier.generate(rival, { model: '@of-default/dall-e-3' })
    ]
    expect(answers.map(({ status, body }) => [status, body.error.message])).toEqual([
      [404, "there is no provider or credential 'of-default' here: there are openai, sketch"],
      [404, "there is no credential 'of-default' here: there is none"],
      [404, "there is no provider or credential 'of-default' here: there are openai, sketch"]
    ])
  })

  test('is no second choice beside another', async () => {
    await atelier.storeCredential({ name: 'one', secret: 'sk-one-0123456789abcdef', weight: 0 })
    await atelier.storeCredential({ name: 'two', secret: 'sk-two-0123456789abcdef', weight: 0 })
    const answers = [
      await atelier.generate({ ...bearer, 'x-portkey-virtual-key': 'one', 'x-portkey-provider': 'sketch' }),
      await atelier.generate({ ...bearer, 'x-portkey-virtual-key': 'one', 'x-portkey-provider': '@two' }),
      await atelier.generate({ ...bearer, 'x-portkey-virtual-key': 'one' }, { model: '@two/dall-e-3' }),
      await atelier.generate({ ...bearer, 'x-portkey-provider': 'sketch' }, { model: '@two/dall-e-3' })
    ]
    expect(answers.map(({ status, body }) => [status, body.error.param])).toEqual([
      [400, 'x-portkey-virtual-key'],
      [400, 'x-portkey-virtual-key'],
      [400, 'model'],
      [400, 'model']
    ])
  })
})

describe('what else the headers say', () => {
  test('names the task: the trace id, unless the body does', async () => {
    const headers = { ...bearer, prefer: 'respond-async', 'x-portkey-trace-id': 'trace-of-the-header' }
    const { body } = await atelier.generate(headers, sketched)
    expect(body.trace_id).toBe('trace-of-the-header')
    expect((await atelier.generate(headers, { ...sketched, trace_id: 'trace-of-the-body' })).body.trace_id).toBe('trace-of-the-body')
    const client = createClient(TaskService, connectWith(atelier.url, atelier.apiKey))
    const operation = { case: 'generation', value: { prompt: 'a cat', modelSelector: { case: 'modelName', value: 'sketch' } } } as const
    const { task } = await client.createTask({ operation }, { headers: { 'x-portkey-trace-id': 'trace-of-the-rpc' } })
    expect(task?.traceId).toBe('trace-of-the-rpc')
  })

  test('is kept beside the bookings: metadata, Portkey’s and ours, over REST and RPC', async () => {
    const metadata = '{"team":"Bären","ticket":7}'
    // Clients that write UTF-8 into headers write its bytes.
    const bytes = Buffer.from(metadata).toString('latin1')
    for (const name of ['x-portkey-metadata', 'x-atelier-metadata']) {
      expect((await atelier.generate({ ...bearer, [name]: bytes }, sketched)).status).toBe(200)
      const client = createClient(ImageService, connectWith(atelier.url, atelier.apiKey))
      await client.generateImages(
        { prompt: 'a cat', modelSelector: { case: 'modelName', value: 'sketch' } },
        { headers: { [name]: '{"team":"RPC"}' } }
      )
    }
    const usage = createClient(UsageService, connectWith(atelier.url, atelier.adminKey))
    const { groups } = await usage.queryUsage({ groupBy: [UsageDimension.METADATA], metadataKey: 'team' })
    const requests = groups.map(({ metadataValue, sums }) => [metadataValue, sums?.requests])
    expect(requests).toEqual(
      expect.arrayContaining([
        ['Bären', 2n],
        ['RPC', 2n]
      ])
    )
  })

  test('ends the wait: the timeout in milliseconds', async () => {
    const { status, body } = await atelier.generate({ ...bearer, 'x-portkey-request-timeout': '200' }, { prompt: '[slow] a cat' })
    expect([status, body.error.code]).toEqual([504, 'deadline_exceeded'])
  })

  test.each([
    ['x-portkey-request-timeout', '0'],
    ['x-portkey-request-timeout', '1.5'],
    ['x-portkey-request-timeout', '-1'],
    ['x-portkey-request-timeout', '1e3'],
    ['x-portkey-metadata', 'not json'],
    ['x-portkey-metadata', '[1]'],
    ['x-portkey-metadata', '"text"'],
    ['x-portkey-metadata', 'null'],
    ['x-portkey-metadata', '{"a":"\\u0000"}'],
    ['x-portkey-metadata', '{"\\ud800":1}'],
    ['x-portkey-metadata', JSON.stringify({ a: 'x'.repeat(2048) })],
    ['x-atelier-metadata', '{'],
    ['x-portkey-config', 'pc-my-config'],
    ['x-portkey-config', '{"retry":{"attempts":5}}'],
    ['x-portkey-default-input-guardrails', '["g-1"]'],
    ['x-portkey-forward-headers', 'x-secret'],
    ['x-portkey-azure-resource-name', 'somebody'],
    ['x-portkey-openai-organization', 'org-1']
  ])('is refused where it means nothing here: %s: %s', async (name, value) => {
    const calls = atelier.openai.requests.length
    const { status, body } = await atelier.generate({ ...bearer, [name]: value })
    expect([status, body.error.code, body.error.param]).toEqual([400, 'invalid_value', name])
    expect(atelier.openai.requests.length).toBe(calls)
  })

  test('is no second metadata beside ours', async () => {
    const { status, body } = await atelier.generate({ ...bearer, 'x-portkey-metadata': '{}', 'x-atelier-metadata': '{}' }, sketched)
    expect([status, body.error.message]).toEqual([400, 'x-portkey-metadata: has no place beside x-atelier-metadata'])
  })

  test('changes nothing: what Portkey’s clients always send, and caching, which there is not', async () => {
    const headers = {
      ...bearer,
      'x-portkey-strict-open-ai-compliance': 'false',
      'x-portkey-package-version': 'portkey-3.1.0',
      'x-portkey-cache-force-refresh': 'true',
      'x-portkey-cache-namespace': 'mine',
      'x-portkey-debug': 'true',
      'x-portkey-metadata': '{"_user":"anna","team":"Bären"}'
    }
    const encoded = { ...headers, 'x-portkey-metadata': Buffer.from(headers['x-portkey-metadata']).toString('latin1') }
    expect((await atelier.generate(encoded, sketched)).status).toBe(200)
  })
})
