import { expect, test } from 'vitest'
import { ModelStatus } from '../../gen/atelier/v1/model_pb.ts'
import { GatewayError } from '../../src/errors.ts'
import { loadCatalog } from '../../src/routing/catalog.ts'
import { createModels, type ModelsOptions } from '../../src/routing/models.ts'
import type { RetiredPolicy } from '../../src/routing/retired.ts'
import type { ProviderModels } from '../../src/routing/served-models.ts'

const catalog = loadCatalog()
const openai: ProviderModels = { name: 'openai', adapter: 'openai', apiKey: 'sk-1', models: [] }
const elsewhere: ProviderModels = { ...openai, name: 'elsewhere', baseUrl: 'http://127.0.0.1:1234/v1' }
const google: ProviderModels = { name: 'google', adapter: 'google', apiKey: 'key', models: [] }

test.each([
  ['dall-e-3', 'gpt-image-2'],
  ['dall-e-2', 'gpt-image-2'],
  ['openai/dall-e-3', 'gpt-image-2'],
  ['gpt-image-1', 'gpt-image-2']
])('has %s served by %s at OpenAI’s own address', (name, serving) => {
  const { candidate } = on('2026-11-20', { providers: [openai] }).resolve(name)
  expect(candidate).toMatchObject({ provider: 'openai', model: serving, upstreamModel: serving, served: true })
  expect(candidate.info.id).toBe(serving)
  expect(candidate.replaces?.id).toBe(name.replace('openai/', ''))
})

test('passes a retired model on at another address', () => {
  const { candidate } = on('2026-11-20', { providers: [elsewhere] }).resolve('dall-e-3')
  expect(candidate).toMatchObject({ model: 'dall-e-3', upstreamModel: 'dall-e-3', replaces: undefined })
})

test.each([
  [openai, 'forward', 'dall-e-3'],
  [openai, 'replace', 'gpt-image-2'],
  [elsewhere, 'forward', 'dall-e-3'],
  [elsewhere, 'replace', 'gpt-image-2']
] as const)('does as the operator says: %o %s', (provider, retired, serving) => {
  expect(on('2026-11-20', { providers: [{ ...provider, retired }] }).resolve('dall-e-3').candidate.model).toBe(serving)
})

test('serves a model that is listed alone by a replacement that is not', () => {
  const here = on('2026-11-20', { providers: [{ ...openai, models: ['dall-e-3'] }] })
  expect(here.resolve('dall-e-3').candidate).toMatchObject({ model: 'gpt-image-2', upstreamModel: 'gpt-image-2', served: true })
  expect(here.list().map(({ id }) => id)).toEqual(['dall-e-3'])
})

test('uses the provider’s own name for the replacement', () => {
  const here = on('2026-11-20', { providers: [{ ...openai, models: ['dall-e-3', 'gpt-image-2-2026-04-21'] }] })
  expect(here.resolve('dall-e-3').candidate).toMatchObject({ model: 'gpt-image-2', upstreamModel: 'gpt-image-2' })
  const google2 = on('2026-11-20', { providers: [google] })
  expect(google2.resolve('nano-banana').candidate).toMatchObject({ model: 'nano-banana-2.1', upstreamModel: 'gemini-nano-banana-2.1' })
})

test.each([
  ['2026-11-30', 'gpt-image-1.5', undefined, ModelStatus.DEPRECATED],
  ['2026-12-01', 'gpt-image-2.5-sunburst', 'gpt-image-1.5', ModelStatus.RETIRED],
  ['2027-01-01', 'gpt-image-2.5-sunburst', 'gpt-image-1.5', ModelStatus.RETIRED]
])('decides on %s that gpt-image-1.5 is served by %s', (day, serving, replaced, status) => {
  const here = on(day, { providers: [openai] })
  expect(here.resolve('gpt-image-1.5').candidate).toMatchObject({ model: serving })
  expect(here.resolve('gpt-image-1.5').candidate.replaces?.id).toBe(replaced)
  expect(here.get('gpt-image-1.5').status).toBe(status)
})

test('notices the day of the shutdown while it runs', () => {
  let nowMs = Date.UTC(2026, 10, 30, 23, 59, 59)
  const here = createModels({ providers: [openai], aliases: {}, defaultModel: 'dall-e-3' }, { catalog, now: () => nowMs })
  expect(here.resolve('gpt-image-1-mini').candidate.model).toBe('gpt-image-1-mini')
  nowMs += 1000
  expect(here.resolve('gpt-image-1-mini').candidate.model).toBe('gpt-image-2.5-flare')
})

test('follows replacements that are retired themselves, and passes on where they lead nowhere', () => {
  const live = { source: 's', checked: '2026-01-01', capabilities: {} }
  const vendor = catalog.find((candidate) => candidate.vendor === 'openai')
  const made = (models: object[]) =>
    [{ ...vendor, models: models.map((model) => ({ ...vendor?.models[0], ...live, ...model })) }] as typeof catalog
  const chain = made([
    { name: 'a', shutdownDate: '2026-01-01', replacement: 'b' },
    { name: 'b', shutdownDate: '2026-02-01', replacement: 'c' },
    { name: 'c', shutdownDate: '', replacement: '' }
  ])
  const circle = made([
    { name: 'a', shutdownDate: '2026-01-01', replacement: 'b' },
    { name: 'b', shutdownDate: '2026-01-01', replacement: 'a' }
  ])
  const serving = (models: typeof catalog) =>
    createModels({ providers: [openai], aliases: {}, defaultModel: 'a' }, { catalog: models, now: () => Date.UTC(2026, 5, 1) }).resolve('a')
      .candidate.model
  expect([serving(chain), serving(circle)]).toEqual(['c', 'a'])
})

test.each([
  ['dall-e-3', ': its vendor switched it off on 2026-05-12; gpt-image-2 is its replacement'],
  ['openai/dall-e-2', ': its vendor switched it off on 2026-05-12; gpt-image-2 is its replacement'],
  ['old', ': its vendor switched it off on 2026-05-12; gpt-image-2 is its replacement']
])('refuses %s where the operator wants no retired models', (name, hint) => {
  const here = on('2026-11-20', { providers: [{ ...openai, retired: 'refuse' }], aliases: { old: 'dall-e-3' } })
  const message = `the model '${name}' does not exist here${hint}`
  for (const ask of [() => here.resolve(name), () => here.get(name)]) {
    expect(errorOf(ask)).toEqual({ reason: 'MODEL_NOT_FOUND', message, param: 'model' })
  }
})

test('lists refused models no more, and asks another provider for them', () => {
  const here = on('2026-11-20', {
    providers: [
      { ...openai, retired: 'refuse' },
      { ...elsewhere, models: ['dall-e-3'] }
    ]
  })
  expect(here.list().map(({ provider, id }) => `${provider}: ${id}`)).toEqual([
    'openai: gpt-image-2.6-sunburst',
    'openai: gpt-image-2.6-flare',
    'openai: gpt-image-2.5-sunburst',
    'openai: gpt-image-2.5-flare',
    'openai: gpt-image-2',
    'openai: chatgpt-image-latest',
    'openai: gpt-image-1.5',
    'openai: gpt-image-1-mini',
    'elsewhere: dall-e-3'
  ])
  expect(here.resolve('dall-e-3').candidate).toMatchObject({ provider: 'elsewhere', model: 'dall-e-3' })
})

test('serves a request that names no model with another one where the default model is refused', () => {
  const policies: RetiredPolicy[] = ['replace', 'refuse']
  const serving = policies.map((retired) => on('2026-11-20', { providers: [{ ...openai, retired }] }).resolve(undefined).candidate.model)
  expect(serving).toEqual(['gpt-image-2', 'gpt-image-2.6-sunburst'])
})

function on(day: string, options: Partial<ModelsOptions>) {
  const now = () => Date.parse(`${day}T12:00:00Z`)
  return createModels({ providers: [], aliases: {}, defaultModel: 'dall-e-3', ...options }, { catalog, now })
}

function errorOf(run: () => unknown) {
  try {
    run()
  } catch (error) {
    if (error instanceof GatewayError) return { reason: error.reason, message: error.message, param: error.param }
    throw error
  }
  throw new Error('nothing was thrown')
}
