import { create } from '@bufbuild/protobuf'
import sharp from 'sharp'
import { afterEach, describe, expect, test } from 'vitest'
import { GenerateImagesRequestSchema } from '../../gen/atelier/v1/image_service_pb.ts'
import { createLog } from '../../src/log.ts'
import { type AzureOptions, azureDialect } from '../../src/providers/azure.ts'
import { createOpenAIProvider } from '../../src/providers/openai.ts'
import { toProviderError } from '../../src/providers/openai-errors.ts'
import type { EditInputs, Work } from '../../src/providers/provider.ts'
import { createUpstreamClient } from '../../src/upstream/client.ts'
import errors from '../fixtures/azure/errors.json' with { type: 'json' }
import { type FakeAzureOptions, startFakeAzure } from '../support/fake-azure.ts'
import { editOf, leftHalfMask, plainImage } from '../support/input-images.ts'
import { outlineOf, readEvents } from '../support/read-events.ts'

let opened = new AsyncDisposableStack()
afterEach(async () => {
  await opened.disposeAsync()
  opened = new AsyncDisposableStack()
})

describe('the address of a call to Azure', () => {
  const resource = 'https://my-resource.openai.azure.com'
  test.each<[AzureOptions, string]>([
    [{ baseUrl: resource }, '/openai/deployments/paint%20box/images/generations?api-version=2025-04-01-preview'],
    [{ baseUrl: `${resource}/` }, '/openai/deployments/paint%20box/images/generations?api-version=2025-04-01-preview'],
    [{ baseUrl: resource, apiVersion: '2024-02-01' }, '/openai/deployments/paint%20box/images/generations?api-version=2024-02-01'],
    [{ baseUrl: `${resource}/openai` }, '/deployments/paint%20box/images/generations?api-version=2025-04-01-preview'],
    [{ baseUrl: `${resource}/openai/v1` }, '/images/generations'],
    [{ baseUrl: `${resource}/openai/v1/` }, '/images/generations'],
    [{ baseUrl: `${resource}/openai/v1`, apiVersion: 'preview' }, '/images/generations?api-version=preview']
  ])('below %j is %s', (options, path) => {
    expect(azureDialect(options).path('paint box', 'generations')).toBe(path)
    expect(azureDialect(options).path('paint box', 'edits')).toBe(path.replace('generations', 'edits'))
  })
})

describe('the request to Azure', () => {
  test('names the deployment in the path, and not in the body', async () => {
    const { fake, run } = await start()
    await run({ prompt: 'a fox', upstreamModel: 'paint', n: 2 })
    const [{ method, path, body, headers } = unsent] = fake.requests
    expect([method, path, body]).toEqual([
      'POST',
      '/openai/deployments/paint/images/generations?api-version=2025-04-01-preview',
      { prompt: 'a fox', n: 2 }
    ])
    const { host, connection, 'content-length': length, ...rest } = headers
    expect(rest).toEqual({
      accept: 'application/json',
      'accept-encoding': 'identity',
      'api-key': 'azure-key-1',
      'content-type': 'application/json'
    })
  })

  test('of the v1 API names the deployment in the body, as model', async () => {
    const { fake, run } = await start({}, { baseUrl: '/openai/v1' })
    await run({ prompt: 'a fox', upstreamModel: 'paint' })
    const [{ path, body } = unsent] = fake.requests
    expect([path, body]).toEqual(['/openai/v1/images/generations', { prompt: 'a fox', n: 1, model: 'paint' }])
  })

  test.each([
    ['', '/openai/deployments/paint/images/edits?api-version=2025-04-01-preview', {}],
    ['/openai/v1', '/openai/v1/images/edits', { model: 'paint' }]
  ])('for an edit is a form with its files: %s', async (baseUrl, path, named) => {
    const { fake, run } = await start({}, { baseUrl })
    const inputs = editOf([await plainImage('red'), await plainImage('blue', 'jpeg')], { mask: await leftHalfMask() })
    await run({ prompt: 'a hat', upstreamModel: 'paint', inputs })
    const [{ path: asked, body, files } = unsent] = fake.requests
    expect([asked, body]).toEqual([path, { ...named, prompt: 'a hat', n: 1 }])
    expect(files.map(({ name, mediaType }) => [name, mediaType])).toEqual([
      ['image[]', 'image/png'],
      ['image[]', 'image/jpeg'],
      ['mask', 'image/png']
    ])
  })

  test('carries a Microsoft Entra token as a bearer token', async () => {
    const { fake, run } = await start({ token: 'entra-token-1' }, { auth: 'bearer' }, 'entra-token-1')
    await run({ prompt: 'a fox', upstreamModel: 'paint' })
    expect(fake.requests.map(({ headers }) => [headers.authorization, headers['api-key']])).toEqual([['Bearer entra-token-1', undefined]])
  })

  test('carries neither for an empty credential', async () => {
    const { fake, run } = await start({}, {}, '')
    await expect(run({ prompt: 'a fox', upstreamModel: 'paint' })).rejects.toMatchObject({ reason: 'PROVIDER_KEY_REFUSED' })
    expect(fake.requests.map(({ headers }) => [headers.authorization, headers['api-key']])).toEqual([[undefined, undefined]])
  })
})

describe('an error answer of Azure', () => {
  const moderated = { reason: 'CONTENT_POLICY_VIOLATION', outcome: 'rejected', retryable: false }
  const keyRefused = { reason: 'PROVIDER_KEY_REFUSED', outcome: 'rejected', retryable: false, moderation: undefined }
  const rejected = { reason: 'PROVIDER_REJECTED', outcome: 'rejected', retryable: false }
  const failed = { reason: 'PROVIDER_FAILED', outcome: 'unknown', retryable: false }
  const table: Record<keyof typeof errors, Record<string, unknown>> = {
    'prompt-filtered': { ...moderated, moderation: { stage: 'unknown', categories: [] } },
    'prompt-filtered-with-categories': { ...moderated, moderation: { stage: 'unknown', categories: ['sexual', 'violence'] } },
    'content-filter': { ...moderated, moderation: { stage: 'unknown', categories: [] } },
    'image-filtered': { ...moderated, moderation: { stage: 'output', categories: [] } },
    content_filter: { ...moderated, moderation: { stage: 'input', categories: ['hate'] } },
    'inner-code-alone': { ...moderated, moderation: { stage: 'unknown', categories: [] } },
    'resource-blocked': keyRefused,
    'wrong-key': keyRefused,
    'no-permission': keyRefused,
    'deployment-not-found': {
      ...rejected,
      code: 'DeploymentNotFound',
      message:
        'the provider azure answered 404: The API deployment for this resource does not exist. If you created the deployment within the last 5 minutes, please wait a moment and try again.'
    },
    'resource-not-found': { ...rejected, code: 'provider_rejected', message: 'the provider azure answered 404: Resource not found' },
    'rate-limit': { reason: 'PROVIDER_RATE_LIMITED', outcome: 'rejected', retryable: true, retryAfterMs: 7000 },
    timeout: failed,
    internal: failed
  }

  test.each(Object.keys(errors) as (keyof typeof errors)[])('says what it is: %s', (name) => {
    const { status, body, headers } = { headers: {}, ...errors[name] }
    const error = toProviderError({ status, headers, body: Buffer.from(JSON.stringify(body)) }, { provider: 'azure', secrets: [] })
    expect(error).toMatchObject(table[name])
  })
})

describe('a call to the fake Azure', () => {
  test('gives a real image of the size that was asked for', async () => {
    const { run } = await start()
    const events = await run({ prompt: 'a fox', upstreamModel: 'paint', size: { width: 1536, height: 1024 } })
    expect(outlineOf(events)).toEqual(['image 0', 'completed'])
    const [bytes] = events.flatMap((event) => (event.kind === 'image' ? [event.image.bytes] : []))
    expect(await sharp(bytes).metadata()).toMatchObject({ format: 'png', width: 1536, height: 1024 })
  })

  test.each([
    ['a fox [moderated]', { reason: 'CONTENT_POLICY_VIOLATION', moderation: { stage: 'unknown', categories: ['violence'] } }],
    ['a fox [moderated-output]', { reason: 'CONTENT_POLICY_VIOLATION', moderation: { stage: 'output', categories: [] } }],
    ['a fox [blocked]', { reason: 'PROVIDER_KEY_REFUSED', moderation: undefined, outcome: 'rejected' }],
    ['a fox [rate-limit]', { reason: 'PROVIDER_RATE_LIMITED', retryAfterMs: 7000, outcome: 'rejected' }],
    ['a fox [timeout]', { reason: 'PROVIDER_FAILED', outcome: 'unknown' }],
    ['a fox [server-error]', { reason: 'PROVIDER_FAILED', outcome: 'unknown' }]
  ])('fails as it says: "%s"', async (prompt, expected) => {
    const { run } = await start()
    await expect(run({ prompt, upstreamModel: 'paint' })).rejects.toMatchObject(expected)
  })

  test('with a key that is wrong shows nothing of it', async () => {
    const { run } = await start({ apiKey: 'azure-key-2' })
    await expect(run({ prompt: 'a fox', upstreamModel: 'paint' })).rejects.toMatchObject({
      reason: 'PROVIDER_KEY_REFUSED',
      message: expect.not.stringContaining('azure-key')
    })
  })

  test('refuses an API version that knows no images, and a deployment that does not exist', async () => {
    const { run } = await start({}, { apiVersion: '2022-12-01' })
    await expect(run({ prompt: 'a fox', upstreamModel: 'paint' })).rejects.toThrow('the provider azure answered 404: Resource not found')
    const { run: runAgain } = await start()
    await expect(runAgain({ prompt: 'a fox', upstreamModel: 'gpt-image-2' })).rejects.toMatchObject({ code: 'DeploymentNotFound' })
  })
})

const unsent = { method: '', path: '', body: undefined, files: [], headers: {} as Record<string, string> }

async function start(fakeOptions: Partial<FakeAzureOptions> = {}, options: Partial<AzureOptions> = {}, credential = 'azure-key-1') {
  const fake = opened.use(await startFakeAzure({ apiKey: 'azure-key-1', deployments: { paint: 'gpt-image-1' }, ...fakeOptions }))
  const baseUrl = `${fake.url}${options.baseUrl ?? ''}`
  const client = opened.use(createUpstreamClient({ provider: 'azure', baseUrl, maxConnections: 4 }))
  const dialect = azureDialect({ ...options, baseUrl })
  const provider = createOpenAIProvider({ name: 'azure', baseUrl, headers: {}, dialect }, { client })
  const attempt = { credential, signal: new AbortController().signal, timeoutMs: 10_000, log: createLog({ level: 'silent' }) }
  return { fake, run: (order: Order) => readEvents(provider.run(workOf(order), attempt)) }
}

interface Order {
  prompt: string
  upstreamModel: string
  n?: number
  size?: { width: number; height: number }
  inputs?: EditInputs
}

function workOf({ prompt, upstreamModel, n = 1, size, inputs }: Order): Work {
  const request = create(GenerateImagesRequestSchema, { prompt, ...(size && { sizeSelector: { case: 'dimensions', value: size } }) })
  return { request, upstreamModel, n, ...(inputs && { inputs }) }
}
