import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import sharp from 'sharp'
import { afterEach, expect, test } from 'vitest'
import { startAtelier } from '../support/atelier.ts'
import { startFakeAzure } from '../support/fake-azure.ts'
import { createTemporaryDirectory } from '../support/temporary-directory.ts'

let opened = new AsyncDisposableStack()
afterEach(async () => {
  await opened.disposeAsync()
  opened = new AsyncDisposableStack()
})

interface ImagesAnswer {
  data: { b64_json?: string }[]
  usage?: { output_tokens: number }
  error?: { message: string; type: string; code: string | null; moderation_details?: unknown }
}

test.each([
  ['gpt-image-2', '/openai/deployments/paint-2/images/generations?api-version=2025-04-01-preview'],
  ['openai/gpt-image-2', '/openai/deployments/paint-2/images/generations?api-version=2025-04-01-preview'],
  ['azure/paint-2', '/openai/deployments/paint-2/images/generations?api-version=2025-04-01-preview'],
  ['gpt-image-1-mini', '/openai/deployments/gpt-image-1-mini/images/generations?api-version=2025-04-01-preview']
])('the model %s is made by its deployment', async (model, path) => {
  const { atelier, azure } = await start()
  const order = { prompt: 'a fox', size: '1536x1024', quality: 'low' }
  const response = await atelier.post('/v1/images/generations', { ...order, model, response_format: 'b64_json' })
  const { data, usage } = (await response.json()) as ImagesAnswer
  expect([response.status, response.headers.get('x-atelier-warnings')]).toEqual([200, null])
  expect([response.headers.get('x-atelier-provider'), response.headers.get('x-atelier-model')]).toEqual([
    'azure',
    model === 'gpt-image-1-mini' ? model : 'gpt-image-2'
  ])
  expect(await sharp(Buffer.from(data[0]?.b64_json ?? '', 'base64')).metadata()).toMatchObject({ format: 'png', width: 1536, height: 1024 })
  expect(usage?.output_tokens).toBeGreaterThan(0)
  expect(azure.requests.map((request) => [request.path, request.body])).toEqual([[path, { ...order, n: 1 }]])
})

test("what a deployment's model cannot do is refused before anything is sent", async () => {
  const { atelier, azure } = await start()
  const response = await atelier.post('/v1/images/generations', { model: 'azure/gpt-image-2', prompt: 'a fox', size: '1000x1000' })
  const { error } = (await response.json()) as ImagesAnswer
  expect([response.status, error?.code, azure.requests.length]).toEqual([400, 'invalid_size', 0])
})

test('a prompt that the content filter refuses is a 400 with its categories', async () => {
  const { atelier, azure } = await start()
  const response = await atelier.post('/v1/images/generations', { model: 'gpt-image-2', prompt: 'a fox [moderated]' })
  const { error } = (await response.json()) as ImagesAnswer
  expect([response.status, error?.code, error?.moderation_details]).toEqual([
    400,
    'moderation_blocked',
    { moderation_stage: 'unknown', categories: ['violence'] }
  ])
  expect(azure.requests.length).toBe(1)
})

test('a resource that Azure has blocked is the trouble of the operator, and not of the prompt', async () => {
  const { atelier } = await start()
  const response = await atelier.post('/v1/images/generations', { model: 'gpt-image-2', prompt: 'a fox [blocked]' })
  const { error } = (await response.json()) as ImagesAnswer
  expect([response.status, error?.type, error?.moderation_details]).toEqual([500, 'provider_error', undefined])
  expect(response.headers.get('x-should-retry')).toBe('false')
})

test('a rate limit is a 429 with the wait', async () => {
  const { atelier } = await start()
  const response = await atelier.post('/v1/images/generations', { model: 'gpt-image-2', prompt: 'a fox [rate-limit]' })
  expect([response.status, response.headers.get('retry-after')]).toEqual([429, '7'])
})

test('exactly the deployed models are listed, with what they can do', async () => {
  const { atelier } = await start()
  const response = await atelier.get('/v1/models')
  const { data } = (await response.json()) as { data: { id: string; owned_by: string }[] }
  expect(data.map(({ id, owned_by }) => [id, owned_by])).toEqual([
    ['gpt-image-1-mini', 'openai'],
    ['gpt-image-2', 'openai'],
    ['sketch', 'sketch']
  ])
})

test("the v1 API with a token, and the environment's variables", async () => {
  const azure = opened.use(await startFakeAzure({ token: 'entra-token-0123456789', deployments: { 'gpt-image-2': 'gpt-image-2' } }))
  const atelier = opened.use(
    await startAtelier({
      environment: {
        AZURE_OPENAI_ENDPOINT: `${azure.url}/openai/v1`,
        AZURE_OPENAI_API_KEY: 'entra-token-0123456789',
        ATELIER_CONFIG: await configFile('providers: { azure: { auth: bearer } }')
      }
    })
  )
  const response = await atelier.post('/v1/images/generations', { model: 'azure/gpt-image-2', prompt: 'a fox' })
  expect(response.status).toBe(200)
  expect(azure.requests.map(({ path, headers, body }) => [path, headers.authorization, body?.model])).toEqual([
    ['/openai/v1/images/generations', 'Bearer entra-token-0123456789', 'gpt-image-2']
  ])
})

const apiKey = 'azure-key-0123456789abcdef'

async function start() {
  const deployments = { 'paint-2': 'gpt-image-2', 'gpt-image-1-mini': 'gpt-image-1-mini' }
  const azure = opened.use(await startFakeAzure({ apiKey, deployments }))
  const file = await configFile(`
providers:
  azure: { base_url: "${azure.url}", api_key: ${apiKey}, models: [gpt-image-1-mini], deployments: { gpt-image-2: paint-2 } }
`)
  return { azure, atelier: opened.use(await startAtelier({ environment: { ATELIER_CONFIG: file } })) }
}

async function configFile(text: string): Promise<string> {
  const directory = opened.use(await createTemporaryDirectory())
  const file = join(directory.path, 'atelier.yaml')
  await writeFile(file, text)
  return file
}
