import { expect, test } from 'vitest'
import { ModelInfoSchema } from '../../gen/atelier/v1/model_pb.ts'
import { encodeMessage } from '../../src/contract/json.ts'
import { GatewayError } from '../../src/errors.ts'
import { loadCatalog } from '../../src/routing/catalog.ts'
import { createModels, type ModelsOptions } from '../../src/routing/models.ts'
import type { ProviderModels } from '../../src/routing/served-models.ts'

const catalog = loadCatalog()

const openai: ProviderModels = { name: 'openai', adapter: 'openai', apiKey: 'sk-1', models: [] }
const mirror: ProviderModels = {
  name: 'mirror',
  adapter: 'openai',
  baseUrl: 'http://127.0.0.1:1234/v1',
  apiKey: '',
  models: ['dall-e-3', 'sd-turbo', 'nano-banana']
}
const basement: ProviderModels = { name: 'basement', adapter: 'openai', baseUrl: 'http://127.0.0.1:4321/v1', apiKey: '', models: [] }
const stability: ProviderModels = { name: 'stability', adapter: 'stability', apiKey: 'sk-2', models: [] }
const google: ProviderModels = { name: 'gemini', adapter: 'google', apiKey: 'key', models: [] }
const sketch: ProviderModels = { name: 'sketch', adapter: 'sketch', apiKey: '', models: [] }

test('lists what the configured providers serve, in configuration order', () => {
  expect(ids(models({ providers: [mirror, openai, sketch] }))).toEqual([
    'mirror: dall-e-3',
    'mirror: sd-turbo',
    'mirror: nano-banana',
    'openai: gpt-image-2.6-sunburst',
    'openai: gpt-image-2.6-flare',
    'openai: gpt-image-2.5-sunburst',
    'openai: gpt-image-2.5-flare',
    'openai: gpt-image-2',
    'openai: chatgpt-image-latest',
    'openai: gpt-image-1.5',
    'openai: gpt-image-1-mini',
    'openai: gpt-image-1',
    'openai: openai/dall-e-3',
    'openai: dall-e-2',
    'sketch: sketch'
  ])
})

test('lists a model with everything that the catalog knows of it', () => {
  const [info] = models({ providers: [{ ...openai, models: ['dall-e-2'] }], aliases: { cheap: 'openai/dall-e-2' } }).list()
  expect(info && encodeMessage(ModelInfoSchema, info)).toEqual({
    id: 'dall-e-2',
    model: 'dall-e-2',
    provider: 'openai',
    upstream_model: 'dall-e-2',
    created: 1698798177,
    owned_by: 'openai',
    status: 'retired',
    shutdown_date: '2026-05-12',
    replacement: 'gpt-image-2',
    aliases: ['cheap'],
    capabilities: {
      size: { list: { sizes: ['1024x1024', '512x512', '256x256'], auto: false } },
      qualities: ['standard'],
      output_formats: ['png'],
      output_compression: false,
      max_images_per_call: 10,
      max_images_per_request: 0,
      max_prompt_length: 1000,
      seed: false,
      negative_prompt: false,
      revised_prompt: false,
      delivery_form: 'as_asked',
      url_lifetime_seconds: 3600,
      timeout_seconds: 0,
      max_input_images: 1,
      mask: true,
      streaming: false
    }
  })
})

test('lists a model that the catalog does not know, or knows of another vendor, without capabilities', () => {
  const list = models({ providers: [mirror] }).list()
  expect(list.slice(1).map((info) => encodeMessage(ModelInfoSchema, info))).toEqual([
    { id: 'sd-turbo', provider: 'mirror', upstream_model: 'sd-turbo', created: 0, owned_by: 'mirror' },
    { id: 'nano-banana', model: 'nano-banana', provider: 'mirror', upstream_model: 'nano-banana', created: 0, owned_by: 'mirror' }
  ])
})

test('lists the names under which each model is reached, and no others', () => {
  const list = models({
    providers: [{ ...mirror, models: ['gpt-image-2'] }, openai, google],
    aliases: { banana: 'nano-banana-pro', 'dall-e-3': 'openai/gpt-image-2' }
  }).list()
  const names = new Map(list.map(({ id, aliases }) => [id, aliases]))
  expect(names.get('gpt-image-2')).toEqual([])
  expect(names.get('openai/gpt-image-2')).toEqual(['gpt-image-2-2026-04-21', 'dall-e-3'])
  expect(names.get('openai/dall-e-3')).toEqual([])
  expect(names.get('nano-banana-pro')).toEqual(['gemini-3-pro-image', 'gemini-3-pro-image-preview', 'banana'])
})

test('finds every listed model under its id and its aliases', () => {
  const here = models({
    providers: [mirror, openai, basement, stability, google, sketch],
    aliases: { 'dall-e-2': 'gpt-image-2', fav: 'mirror/sd-turbo' }
  })
  for (const info of here.list()) {
    for (const name of [info.id, ...info.aliases]) expect({ name, ...place(here.get(name)) }).toEqual({ name, ...place(info) })
  }
})

test('does not list a provider that lacks the key its vendor asks for', () => {
  const keyless = [{ ...openai, apiKey: '' }, { ...stability, apiKey: '', baseUrl: 'https://api.stability.ai' }, sketch]
  expect(ids(models({ providers: keyless }))).toEqual(['sketch: sketch'])
})

test('needs no key for an address that is not the vendor’s own', () => {
  const faked = models({ providers: [{ ...openai, apiKey: '', baseUrl: 'http://127.0.0.1:9/v1' }] })
  expect(faked.resolve('dall-e-3').candidate).toMatchObject({ provider: 'openai', model: 'dall-e-3' })
})

test.each([
  // [what, written name, candidates as provider: model > upstream model]
  ['a short name', 'gpt-image-2', ['openai: gpt-image-2 > gpt-image-2', 'basement: gpt-image-2 > gpt-image-2']],
  [
    'a short name that several serve',
    'dall-e-3',
    ['mirror: dall-e-3 > dall-e-3', 'openai: gpt-image-2 > gpt-image-2', 'basement: dall-e-3 > dall-e-3']
  ],
  ['a provider and a model', 'openai/gpt-image-2.5-flare', ['openai: gpt-image-2.5-flare > gpt-image-2.5-flare']],
  ['a provider and a model that only it lists', 'mirror/sd-turbo', ['mirror: sd-turbo > sd-turbo']],
  ['a model that the catalog does not know', 'sd-turbo', ['mirror: sd-turbo > sd-turbo']],
  ['a vendor and a model', 'google/nano-banana-pro', ['gemini: nano-banana-pro > gemini-3-pro-image']],
  [
    'a vendor by its other name',
    'stability-ai/stable-diffusion-xl-1024-v1-0',
    ['stability: stable-diffusion-xl-1024-v1-0 > stable-diffusion-xl-1024-v1-0']
  ],
  ['a vendor by its name', 'stability/stable-image-core', ['stability: stable-image-core > core']],
  ['a further name of the catalog', 'gemini-3-pro-image', ['gemini: nano-banana-pro > gemini-3-pro-image']],
  ['a provider and a further name', 'gemini/gemini-3-pro-image-preview', ['gemini: nano-banana-pro > gemini-3-pro-image']],
  [
    'a snapshot, which is sent as it is',
    'gpt-image-2-2026-04-21',
    ['openai: gpt-image-2 > gpt-image-2-2026-04-21', 'basement: gpt-image-2 > gpt-image-2-2026-04-21']
  ],
  [
    'a name that one lists and another knows as its own',
    'nano-banana',
    ['mirror: nano-banana > nano-banana', 'gemini: nano-banana-2.1 > gemini-nano-banana-2.1']
  ],
  ['a name of a provider without a list', 'basement/anything', ['basement: anything > anything (passed on)']],
  ['a name with slashes of a provider without a list', 'basement/acme/flux:7b', ['basement: acme/flux:7b > acme/flux:7b (passed on)']],
  ['a new model of the vendor', 'openai/gpt-image-9', ['openai: gpt-image-9 > gpt-image-9 (passed on)']],
  ['an alias for a provider and a model', 'favourite', ['openai: gpt-image-2 > gpt-image-2']],
  ['an alias for a short name', 'banana', ['gemini: nano-banana-pro > gemini-3-pro-image']],
  ['an alias that takes a model’s name', 'gpt-image-1', ['openai: gpt-image-2 > gpt-image-2']],
  ['an alias with a slash', 'house/best', ['openai: gpt-image-2.6-sunburst > gpt-image-2.6-sunburst']]
])('understands %s: %s', (_, name, expected) => {
  const here = models({
    providers: [mirror, openai, basement, stability, google, sketch],
    aliases: {
      favourite: 'openai/gpt-image-2',
      banana: 'nano-banana-pro',
      'gpt-image-1': 'openai/gpt-image-2',
      'house/best': 'openai/gpt-image-2.6-sunburst'
    }
  })
  const resolution = here.resolve(name)
  expect(resolution).toMatchObject({ writtenName: name, defaulted: false, fallback: false })
  expect(resolution.candidate).toBe(resolution.candidates[0])
  expect(resolution.candidates.map((c) => `${c.provider}: ${c.model} > ${c.upstreamModel}${c.served ? '' : ' (passed on)'}`)).toEqual(
    expected
  )
  expect(resolution.candidates.map(({ info }) => `${info.provider} ${info.upstreamModel}`)).toEqual(
    resolution.candidates.map(({ provider, upstreamModel }) => `${provider} ${upstreamModel}`)
  )
})

test.each([
  ['dall-e-3', 'dall-e-3'],
  ['openai/dall-e-3', 'dall-e-3'],
  ['mirror/dall-e-3', 'dall-e-3'],
  ['mirror/nano-banana', 'nano-banana'],
  ['gpt-image-2-2026-04-21', 'gpt-image-2'],
  ['gpt-image-1', 'gpt-image-1'],
  ['favourite', undefined],
  ['sd-turbo', undefined]
])('knows that the written name %s has the contract of %s, whatever serves it', (name, contract) => {
  const here = models({ providers: [mirror, openai], aliases: { favourite: 'dall-e-3', 'gpt-image-1': 'openai/gpt-image-2' } })
  expect(here.resolve(name).written?.id).toBe(contract)
})

test('serves the models that a provider lists and no others', () => {
  const here = models({ providers: [{ ...openai, models: ['gpt-image-2'] }] })
  expect(here.resolve('gpt-image-2').candidates).toHaveLength(1)
  for (const name of ['dall-e-3', 'openai/dall-e-3', 'openai/new', 'gpt-image-2-2026-04-21'])
    expect(() => here.resolve(name)).toThrow(/^the model '.*' does not exist here/)
})

test('serves a snapshot that a provider lists under that name alone', () => {
  const here = models({ providers: [{ ...openai, models: ['gpt-image-2-2026-04-21'] }] })
  expect(here.resolve('gpt-image-2-2026-04-21').candidate).toMatchObject({
    model: 'gpt-image-2',
    upstreamModel: 'gpt-image-2-2026-04-21',
    served: true
  })
  expect(() => here.resolve('gpt-image-2')).toThrow(
    "the model 'gpt-image-2' does not exist here; the nearest name is gpt-image-2-2026-04-21"
  )
})

test('serves a model under its catalog name where a provider lists a further name', () => {
  const here = models({ providers: [{ ...google, models: ['gemini-3-pro-image'] }] })
  expect(here.resolve('nano-banana-pro').candidate).toMatchObject({ model: 'nano-banana-pro', upstreamModel: 'gemini-3-pro-image' })
})

test('passes nothing on to a provider of another wire format, or to one with a list', () => {
  const here = models({ providers: [google, mirror] })
  for (const name of ['gemini/imagen-9', 'mirror/imagen-9'])
    expect(() => here.resolve(name)).toThrow(`the model '${name}' does not exist here`)
})

test('asks the provider that lists a name before one that knows it as a further name', () => {
  const here = models({ providers: [google, { ...mirror, models: ['gemini-3-pro-image'] }] })
  expect(here.resolve('gemini-3-pro-image').candidates.map(({ provider }) => provider)).toEqual(['mirror', 'gemini'])
})

test('passes over a provider that lacks its key where another can serve', () => {
  const here = models({ providers: [{ ...openai, apiKey: '' }, mirror] })
  expect(here.resolve('dall-e-3').candidates.map(({ provider }) => provider)).toEqual(['mirror'])
})

test.each([
  ['an unknown name', 'zzz', "the model 'zzz' does not exist here; GET /v1/models lists the names"],
  ['an empty name', '', "the model '' does not exist here; GET /v1/models lists the names"],
  ['a misspelt name', 'dalle-3', "the model 'dalle-3' does not exist here; the nearest names are dall-e-3, dall-e-2"],
  ['the wrong case', 'DALL-E-3', "the model 'DALL-E-3' does not exist here; the nearest names are dall-e-3, dall-e-2"],
  [
    'the beginning of a name',
    'gpt-image-2.6',
    "the model 'gpt-image-2.6' does not exist here; the nearest names are gpt-image-2.6-sunburst, gpt-image-2.6-flare, gpt-image-2"
  ],
  [
    'a misspelt name of a provider’s',
    'mirror/sd-tubro',
    "the model 'mirror/sd-tubro' does not exist here; the nearest name is mirror/sd-turbo"
  ],
  ['an unknown provider', 'acme/dall-e-3', "the model 'acme/dall-e-3' does not exist here; the nearest names are dall-e-3, dall-e-2"],
  [
    'a model that another vendor makes',
    'stability/dall-e-3',
    "the model 'stability/dall-e-3' does not exist here; the nearest names are dall-e-3, dall-e-2"
  ],
  [
    'a provider alone',
    'openai/',
    "the model 'openai/' does not exist here; the nearest names are openai/gpt-image-2.6-sunburst, openai/gpt-image-2.6-flare, openai/gpt-image-2.5-sunburst"
  ],
  [
    'an alias of nothing',
    'broken',
    "the model 'broken' does not exist here: it stands for openay/gpt-image-2; the nearest names are gpt-image-2, gpt-image-2.6-sunburst, gpt-image-2.6-flare"
  ],
  ['the name of an object’s part', '__proto__', "the model '__proto__' does not exist here; GET /v1/models lists the names"]
])('refuses %s with the nearest names', (_, name, message) => {
  const here = models({ providers: [openai, mirror], aliases: { broken: 'openay/gpt-image-2' } })
  expect(errorOf(() => here.resolve(name))).toEqual({ reason: 'MODEL_NOT_FOUND', message, param: 'model', http: 404 })
  expect(errorOf(() => here.get(name))).toEqual({ reason: 'MODEL_NOT_FOUND', message, param: 'model', http: 404 })
})

test('refuses a name of more than 256 characters, counted as code points', () => {
  const here = models({ providers: [openai, basement] })
  expect(here.resolve(`basement/${'é'.repeat(247)}`).candidate.served).toBe(false)
  expect(here.resolve(`basement/${'🎨'.repeat(247)}`).candidate.served).toBe(false)
  expect(errorOf(() => here.resolve(`basement/${'🎨'.repeat(248)}`))).toEqual({
    reason: 'INVALID_PARAMETER',
    message: 'model: is 257 characters long; names have at most 256',
    param: 'model',
    http: 400
  })
})

test.each([
  ['a vendor without a provider', 'stable-diffusion-xl-1024-v1-0', 'stability'],
  ['a vendor without a provider, with its name', 'stability/stable-diffusion-xl-1024-v1-0', 'stability'],
  ['a vendor without a provider, with its other name', 'stability-ai/stable-diffusion-xl-1024-v1-0', 'stability'],
  ['a further name of a vendor without a provider', 'gemini-3-pro-image', 'google'],
  ['a provider without its key', 'dall-e-3', 'openai'],
  ['a provider without its key, by its name', 'openai/dall-e-3', 'openai'],
  ['a new model of a provider without its key', 'openai/gpt-image-9', 'openai'],
  ['an alias for a model of a provider without its key', 'favourite', 'openai']
])('says that the key is missing for %s', (_, name, provider) => {
  const here = models({ providers: [{ ...openai, apiKey: '' }, sketch], aliases: { favourite: 'openai/gpt-image-2' } })
  expect(errorOf(() => here.resolve(name))).toEqual({
    reason: 'PROVIDER_KEY_MISSING',
    message: `no ${provider} API key is configured, so ${name} cannot be served`,
    param: undefined,
    http: 500
  })
})

test.each([
  ['google/nano-banana', 'a provider has the vendor’s name'],
  ['stability/dall-e-3', 'the vendor does not make the model'],
  ['acme/dall-e-3', 'the prefix means nothing']
])('does not ask for a key for %s, because %s', (name) => {
  const here = models({ providers: [sketch, { ...mirror, name: 'google', adapter: 'other', models: ['sd-turbo'] }] })
  expect(() => here.resolve(name)).toThrow(`the model '${name}' does not exist here`)
})

test('knows no model whose key is missing', () => {
  const here = models({ providers: [sketch] })
  expect(errorOf(() => here.get('dall-e-3'))).toEqual({
    reason: 'MODEL_NOT_FOUND',
    message: "the model 'dall-e-3' does not exist here: no openai API key is configured",
    param: 'model',
    http: 404
  })
})

test('does not ask for a key where the built-in renderer is switched off', () => {
  expect(() => models({ providers: [openai] }).resolve('sketch')).toThrow(
    "the model 'sketch' does not exist here; GET /v1/models lists the names"
  )
})

test('serves a request that names no model with the default model', () => {
  expect(summary(models({ providers: [openai, sketch] }))).toEqual({
    writtenName: 'dall-e-3',
    written: 'dall-e-3',
    serving: 'openai: gpt-image-2',
    defaulted: true,
    fallback: false
  })
})

test('resolves the default model like a written name', () => {
  const here = models({ providers: [openai], aliases: { house: 'openai/gpt-image-2' }, defaultModel: 'house' })
  expect(summary(here)).toEqual({
    writtenName: 'house',
    written: undefined,
    serving: 'openai: gpt-image-2',
    defaulted: true,
    fallback: false
  })
})

test('takes the first model of the first provider where none serves the default model', () => {
  expect(
    summary(models({ providers: [sketch, { ...stability, apiKey: '' }, google, mirror], defaultModel: 'openai/gpt-image-2' }))
  ).toEqual({
    writtenName: 'openai/gpt-image-2',
    written: 'gpt-image-2',
    serving: 'gemini: nano-banana-2.1',
    defaulted: true,
    fallback: false
  })
})

test('lets the built-in renderer stand in only where no provider is configured', () => {
  expect(summary(models({ providers: [sketch] }))).toEqual({
    writtenName: 'dall-e-3',
    written: 'dall-e-3',
    serving: 'sketch: sketch',
    defaulted: true,
    fallback: true
  })
  expect(() => models({ providers: [{ ...openai, apiKey: '' }, sketch] }).resolve(undefined)).toThrow(
    'no openai API key is configured, so dall-e-3 cannot be served'
  )
  expect(() => models({ providers: [] }).resolve(undefined)).toThrow('no openai API key is configured, so dall-e-3 cannot be served')
})

test('sees no substitute in the built-in renderer where it is the default model', () => {
  expect(summary(models({ providers: [sketch], defaultModel: 'sketch' }))).toMatchObject({ serving: 'sketch: sketch', fallback: false })
})

test('are those of the providers that can be called, whoever has the keys', () => {
  const here = models({
    providers: [
      { ...openai, models: ['gpt-image-2'] },
      { ...stability, apiKey: '', models: ['stable-image-core'] }
    ]
  })
  expect(ids(here)).toEqual(['openai: gpt-image-2'])
  const withOther = here.of(['stability'])
  expect(withOther.list().map(({ provider }) => provider)).toEqual(['stability'])
  expect(withOther.resolve('stable-image-core').candidate.provider).toBe('stability')
  expect(errorOf(() => withOther.resolve('gpt-image-2'))).toMatchObject({ reason: 'PROVIDER_KEY_MISSING' })
  expect(errorOf(() => here.resolve('stable-image-core'))).toMatchObject({ reason: 'PROVIDER_KEY_MISSING' })
  expect(here.of([]).list()).toEqual([])
})

function models(options: Partial<ModelsOptions>) {
  return createModels({ providers: [], aliases: {}, defaultModel: 'dall-e-3', ...options }, { catalog, now: () => Date.UTC(2026, 10, 20) })
}

function ids(here: ReturnType<typeof models>): string[] {
  return here.list().map(({ provider, id }) => `${provider}: ${id}`)
}

function place({ provider, upstreamModel }: { provider: string; upstreamModel: string }) {
  return { provider, upstreamModel: upstreamModel.replace(/-\d{4}-\d\d-\d\d$/, '') }
}

function summary(here: ReturnType<typeof models>) {
  const { writtenName, written, candidate, defaulted, fallback } = here.resolve(undefined)
  return { writtenName, written: written?.id, serving: `${candidate.provider}: ${candidate.model}`, defaulted, fallback }
}

function errorOf(run: () => unknown) {
  try {
    run()
  } catch (error) {
    if (error instanceof GatewayError) return { reason: error.reason, message: error.message, param: error.param, http: error.entry.http }
    throw error
  }
  throw new Error('nothing was thrown')
}
