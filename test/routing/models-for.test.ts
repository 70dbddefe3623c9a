import { expect, test } from 'vitest'
import { Model } from '../../gen/atelier/v1/model_pb.ts'
import type { Caller } from '../../src/call.ts'
import { toGatewayError } from '../../src/errors.ts'
import { loadCatalog } from '../../src/routing/catalog.ts'
import { createModels } from '../../src/routing/models.ts'
import { modelsFor } from '../../src/routing/models-for.ts'
import { fitsPattern } from '../../src/routing/name-pattern.ts'

const everyModel = createModels(
  {
    providers: [
      { name: 'openai', adapter: 'openai', apiKey: 'sk-1', models: ['gpt-image-2', 'gpt-image-1-mini', 'dall-e-3'] },
      { name: 'mirror', adapter: 'openai', baseUrl: 'http://127.0.0.1:1234/v1', apiKey: '', models: ['gpt-image-2', 'sd-turbo'] },
      { name: 'sketch', adapter: 'sketch', apiKey: '', models: [] }
    ],
    aliases: { cheap: 'openai/gpt-image-1-mini' },
    defaultModel: 'dall-e-3'
  },
  { catalog: loadCatalog() }
)

test('a key without limits sees the models as they are', () => {
  expect(modelsFor({}, everyModel)).toBe(everyModel)
})

test.each<[Pick<Caller, 'allowedModels' | 'allowedProviders'>, string[]]>([
  [{ allowedModels: ['*'] }, ['gpt-image-2', 'gpt-image-1-mini', 'dall-e-3', 'mirror/gpt-image-2', 'sd-turbo', 'sketch']],
  [{ allowedModels: ['gpt-image-*'] }, ['gpt-image-2', 'gpt-image-1-mini', 'dall-e-3', 'mirror/gpt-image-2']],
  [{ allowedModels: ['mirror/*'] }, ['mirror/gpt-image-2', 'sd-turbo']],
  [{ allowedModels: ['sketch', 'sd-turbo'] }, ['sd-turbo', 'sketch']],
  [{ allowedModels: ['cheap'] }, ['cheap']],
  [{ allowedModels: ['dall-e-3'] }, ['dall-e-3']],
  [{ allowedProviders: ['mirror'] }, ['mirror/gpt-image-2', 'sd-turbo']],
  [{ allowedModels: ['gpt-image-2'], allowedProviders: ['m*'] }, ['mirror/gpt-image-2']],
  [{ allowedModels: ['nothing'] }, []]
])('a key with %j lists what it may use, by names that it may write', (limits, ids) => {
  const models = modelsFor(limits, everyModel)
  expect(models.list().map(({ id }) => id)).toEqual(ids)
  for (const id of ids) expect(models.resolve(id).candidate.info.provider).toBe(models.get(id).provider)
})

test('a model that is listed under another name than its own has no typed name', () => {
  const [info] = modelsFor({ allowedModels: ['cheap'] }, everyModel).list()
  expect([info?.id, info?.aliases, info?.model]).toEqual(['cheap', [], Model.UNSPECIFIED])
})

test('a name that several providers serve goes to the first that the key may use', () => {
  const { candidate, candidates } = modelsFor({ allowedProviders: ['mirror'] }, everyModel).resolve('gpt-image-2')
  expect([candidate.provider, candidates.map(({ provider }) => provider)]).toEqual(['mirror', ['mirror']])
})

test('a retired model is allowed by the name that the caller writes and by that of the model that serves it', () => {
  const [byWritten, byServing] = [['dall-e-3'], ['gpt-image-2']].map((allowedModels) => modelsFor({ allowedModels }, everyModel))
  expect([byWritten?.resolve('dall-e-3').candidate.model, byServing?.resolve('dall-e-3').candidate.model]).toEqual([
    'gpt-image-2',
    'gpt-image-2'
  ])
  expect(failureOf(() => byWritten?.resolve('gpt-image-2'))[0]).toBe('PERMISSION_DENIED')
})

test('what a key may not use is refused by its name, and the default model as any other', () => {
  const models = modelsFor({ allowedModels: ['sketch'] }, everyModel)
  expect(failureOf(() => models.resolve('openai/gpt-image-2'))).toEqual([
    'PERMISSION_DENIED',
    'this API key may not use the model openai/gpt-image-2'
  ])
  expect(failureOf(() => models.get('gpt-image-2'))).toEqual(['PERMISSION_DENIED', 'this API key may not use the model gpt-image-2'])
  expect(failureOf(() => models.resolve(undefined))).toEqual(['PERMISSION_DENIED', 'this API key may not use the model dall-e-3'])
  expect(failureOf(() => modelsFor({ allowedProviders: ['mirror'] }, everyModel).resolve('sketch'))).toEqual([
    'PERMISSION_DENIED',
    'this API key may not use the provider sketch, which serves sketch'
  ])
})

test('a name that means nothing does not exist, whatever the key may use', () => {
  expect(failureOf(() => modelsFor({ allowedModels: ['*'] }, everyModel).resolve('gpt-imago-2'))[0]).toBe('MODEL_NOT_FOUND')
})

test.each([
  ['gpt-image-2', 'gpt-image-2', true],
  ['gpt-image-2', 'gpt-image', false],
  ['gpt-image-2', 'gpt-image-*', true],
  ['gpt-image-', 'gpt-image-*', true],
  ['a gpt-image-2', 'gpt-image-*', false],
  ['openai/gpt-image-2', '*/gpt-image-2', true],
  ['openai/gpt-image-2', 'o*i/g*2', true],
  ['ab', 'a*b', true],
  ['a', 'a*a', false],
  ['abab', 'ab*ab', true],
  ['aba', 'ab*ba', false],
  ['a.b', 'a?b', false],
  ['anything', '*', true],
  ['', '**', true],
  ['line\nbreak', 'line*', true]
])('%j fits %j: %j', (name, pattern, fits) => {
  expect(fitsPattern(name, pattern)).toBe(fits)
})

test('a pattern of many stars takes no long time', () => {
  expect(fitsPattern('a'.repeat(256), `${'a*'.repeat(120)}b`)).toBe(false)
})

function failureOf(act: () => unknown): [reason: string, message: string] {
  try {
    act()
  } catch (error) {
    const { reason, message } = toGatewayError(error)
    return [reason, message]
  }
  throw new Error('nothing was thrown')
}
