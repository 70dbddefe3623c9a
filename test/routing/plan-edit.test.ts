import type { JsonObject } from '@bufbuild/protobuf'
import { describe, expect, test } from 'vitest'
import { InputFidelity } from '../../gen/atelier/v1/image_pb.ts'
import { normalizeGenerateImages } from '../../src/admission/normalize.ts'
import { GatewayError } from '../../src/errors.ts'
import { createModels } from '../../src/routing/models.ts'
import { type AskedEdit, type EditPlan, planEdit } from '../../src/routing/plan-edit.ts'
import { resolveEditing } from '../../src/routing/resolve-editing.ts'
import { writtenModel } from '../../src/services/plan-run.ts'
import { decodeGenerateImages } from '../../src/wire/openai-json.ts'
import { askedOf, catalog, everyMirror, everyVendor, type PlanOptions, warningsOf } from '../support/plan.ts'

const only = (...names: string[]) => everyVendor.filter(({ name }) => names.includes(name))

describe('serves', () => {
  test.each([
    ['gpt-image-2', 'gpt-image-2'],
    ['google/nano-banana-2.1', 'nano-banana-2.1'],
    ['sketch', 'sketch']
  ])('%s itself', (written, model) => {
    expect(planOf({ model: written }).candidate.model).toBe(model)
  })

  test('dall-e-2 by its successor, with a warning, within the contract of dall-e-2', () => {
    const plan = planOf({ model: 'dall-e-2', n: 3 }, { mask: true })
    expect(plan.candidate.model).toMatch(/^gpt-image-/)
    expect(warningsOf(plan)[0]).toMatch(/^substituted model: dall-e-2 was switched off/)
    expect(askedOf(plan)).toMatchObject({ size: '1024x1024' })
    expect(refusalOf({ model: 'dall-e-2', size: '1536x1024' })).toMatchObject({ reason: 'INVALID_SIZE' })
  })

  test('a request without a model by the successor of the default one, which leaves size and quality open', () => {
    const plan = planOf({ n: 4 })
    expect([plan.candidate.model, askedOf(plan), plan.form]).toEqual([expect.stringMatching(/^gpt-image-/), {}, 'url'])
    expect(plan.warnings).toEqual([])
  })

  test('a request without a model by the documented replacement of the default one, where that still runs and cannot edit', () => {
    const plan = planOf({ size: '1024x1536' }, {}, { providers: everyMirror })
    expect([plan.candidate.model, plan.form, plan.warnings]).toEqual([catalogued('dall-e-3')?.replacement, 'url', []])
  })

  test('a request without a model by the first model that can edit, where the default one cannot', () => {
    const plan = planOf({}, {}, { providers: only('stability', 'google', 'sketch'), defaultModel: 'stable-image-core' })
    expect(plan.candidate.info.capabilities?.maxInputImages).toBeGreaterThan(0)
    expect(plan.candidate.provider).not.toBe('sketch')
  })

  test('a request without a model by the built-in renderer where nothing else is configured, with a warning', () => {
    const plan = planOf({}, {}, { providers: only('sketch') })
    expect(plan.candidate.model).toBe('sketch')
    expect(warningsOf(plan)).toEqual([
      'substituted model: no configured provider serves the default model dall-e-3, so sketch makes the image'
    ])
  })

  test('a model that nobody knows, whatever the inputs', () => {
    const plan = planOf({ model: 'openai/next-image-9' }, { images: 16, mask: true, inputFidelity: InputFidelity.HIGH })
    expect([plan.candidate.upstreamModel, plan.inputFidelity]).toEqual(['next-image-9', InputFidelity.HIGH])
  })

  test('many images by several calls', () => {
    expect(planOf({ model: 'nano-banana-2.1', n: 3 }).parts.map(({ firstIndex }) => firstIndex)).toEqual([0, 1, 2])
  })
})

describe('refuses', () => {
  test.each<[string, JsonObject, Partial<Asked>, string, string]>([
    ['a model that cannot edit', { model: 'stable-image-core' }, {}, 'model', 'model: stable-image-core cannot edit images'],
    ['the name of a model that never could', { model: 'dall-e-3' }, {}, 'model', 'model: dall-e-3 cannot edit images'],
    [
      'more images than the model takes',
      { model: 'gpt-image-2' },
      { images: 17 },
      'image[16]',
      'image[16]: is too many: gpt-image-2 takes at most 16 input images, not 17'
    ],
    [
      'a second image for dall-e-2, although its successor takes it',
      { model: 'dall-e-2' },
      { images: 2 },
      'image[1]',
      'image[1]: is too many: dall-e-2 takes at most 1 input image, not 2'
    ],
    ['a mask that would be ignored', { model: 'nano-banana-2.1' }, { mask: true }, 'mask', 'mask: nano-banana-2.1 takes no mask']
  ])('%s', (_, body, asked, param, message) => {
    expect(refusalOf(body, asked)).toEqual({ reason: 'INVALID_PARAMETER', param, message, outcome: 'not_sent' })
  })
})

describe('input_fidelity', () => {
  const high = { inputFidelity: InputFidelity.HIGH }

  test('is passed on to models that distinguish it', () => {
    expect(planOf({ model: 'gpt-image-1.5' }, high)).toMatchObject({ inputFidelity: InputFidelity.HIGH, warnings: [] })
  })

  test('is ignored with a warning where the model knows another level only', () => {
    const plan = planOf({ model: 'gpt-image-1-mini' }, high)
    expect([plan.inputFidelity, warningsOf(plan)]).toEqual([
      InputFidelity.UNSPECIFIED,
      ['ignored input_fidelity: gpt-image-1-mini knows only low']
    ])
  })

  test('is ignored with a warning by others, and refused under strict', () => {
    const plan = planOf({ model: 'sketch' }, high)
    expect([plan.inputFidelity, warningsOf(plan)]).toEqual([
      InputFidelity.UNSPECIFIED,
      ['ignored input_fidelity: sketch does not distinguish how closely to keep to the images']
    ])
    expect(refusalOf({ model: 'sketch' }, high, { strict: true })).toMatchObject({
      reason: 'UNSUPPORTED_PARAMETER',
      param: 'input_fidelity'
    })
  })
})

const catalogued = (name: string) => catalog.flatMap(({ models }) => models).find((model) => model.name === name)

interface Asked {
  images: number
  mask: boolean
  inputFidelity: InputFidelity
}

/** Plans an edit as it would be planned on 20 November 2026. */
function planOf(body: JsonObject, asked: Partial<Asked> = {}, options: PlanOptions = {}): EditPlan {
  const { strict = false, understands, ...settings } = options
  const request = normalizeGenerateImages(decodeGenerateImages({ prompt: 'add a hat', ...body }).message)
  request.strict = strict
  const models = createModels(
    { providers: everyVendor, aliases: {}, defaultModel: 'dall-e-3', ...settings },
    { catalog, now: () => Date.UTC(2026, 10, 20) }
  )
  const edit: AskedEdit = {
    imageParams: Array.from({ length: asked.images ?? 1 }, (_, index) => `image[${index}]`),
    mask: asked.mask ?? false,
    inputFidelity: asked.inputFidelity ?? InputFidelity.UNSPECIFIED
  }
  const understood = (provider: string) => understands ?? (provider === 'openai' ? 'any option' : [])
  return planEdit(request, resolveEditing(models, writtenModel(request)), understood, edit)
}

function refusalOf(body: JsonObject, asked: Partial<Asked> = {}, options: PlanOptions = {}) {
  try {
    planOf(body, asked, options)
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error
    const { reason, param, message, outcome } = error
    return { reason, param, message, outcome }
  }
  throw new Error('nothing was thrown')
}
