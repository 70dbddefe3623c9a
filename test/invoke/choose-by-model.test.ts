import { expect, test } from 'vitest'
import type { ProviderChoice } from '../../src/call.ts'
import { gatewayError } from '../../src/errors.ts'
import { createChooseByModel } from '../../src/invoke/choose-by-model.ts'
import type { ModelsOfCall } from '../../src/routing/models-of-call.ts'
import { createProviderNames } from '../../src/routing/provider-names.ts'
import { createCall } from '../support/call.ts'

/** The providers `openai` and `sketch`, a credential `art` for the former, and a model that is called `@cf/flux`. */
function choose(name: string, choice?: ProviderChoice) {
  const credentials = { providerOf: (_: string, own: string) => (own === 'art' ? 'openai' : undefined), namesOf: () => ['art'] }
  const names = createProviderNames(['openai', 'sketch'], { catalog: [], credentials })
  const resolve = (asked: string | undefined) => {
    if (asked === '@cf/flux') return {}
    throw gatewayError('MODEL_NOT_FOUND', { model: asked ?? '', hint: '' })
  }
  const modelsOfCall = (() => ({ resolve })) as unknown as ModelsOfCall
  const call = createCall(choice && { choice })
  return [createChooseByModel({ names, modelsOfCall })(name, call), call.choice]
}

test.each([
  ['@openai/dall-e-3', 'dall-e-3', { provider: 'openai' }],
  ['@art/dall-e-3', 'dall-e-3', { provider: 'openai', credentialName: 'art' }],
  ['@openai/black-forest-labs/flux', 'black-forest-labs/flux', { provider: 'openai' }],
  ['dall-e-3', 'dall-e-3', undefined],
  ['openai/dall-e-3', 'openai/dall-e-3', undefined],
  ['@cf/flux', '@cf/flux', undefined],
  ['@', '@', undefined],
  ['@openai', '@openai', undefined],
  ['@openai/', '@openai/', undefined],
  ['@/dall-e-3', '@/dall-e-3', undefined]
])('%s asks for %s and chooses %o', (name, model, choice) => {
  expect(choose(name)).toEqual([model, choice])
})

test('what the headers choose stays, where it is the same', () => {
  expect(choose('@openai/x', { provider: 'openai', credential: 'sk-1' })).toEqual(['x', { provider: 'openai', credential: 'sk-1' }])
  expect(choose('@openai/x', { provider: 'openai', credentialName: 'openai' })[1]).toEqual({ provider: 'openai', credentialName: 'openai' })
  expect(choose('@art/x', { provider: 'openai' })[1]).toEqual({ provider: 'openai', credentialName: 'art' })
})

test.each([
  ['@openai/x', { provider: 'sketch' }],
  ['@art/x', { provider: 'sketch' }],
  ['@art/x', { provider: 'openai', credentialName: 'other' }],
  ['@art/x', { provider: 'openai', credential: 'sk-1' }]
])('%s is refused beside %o', (name, choice) => {
  expect(() => choose(name, choice)).toThrow(/^model: names @(openai|art), and the headers choose another provider or key$/)
})

test('a slug that means nothing is refused with those that there are', () => {
  expect(() => choose('@nobody/dall-e-3')).toThrow("there is no provider or credential 'nobody' here: there are openai, sketch, @art")
})
