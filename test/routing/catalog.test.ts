import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { type CatalogModel, CatalogModelSchema } from '../../gen/atelier/v1/catalog_pb.ts'
import { InputFidelitySchema } from '../../gen/atelier/v1/image_pb.ts'
import { ModelSchema, ModelStatus } from '../../gen/atelier/v1/model_pb.ts'
import { encodeMessage } from '../../src/contract/json.ts'
import { wireName, wireNames } from '../../src/contract/wire-names.ts'
import { loadCatalog, namesOf } from '../../src/routing/catalog.ts'
import { builtInDirectory } from '../../src/routing/catalog-file.ts'

const catalog = loadCatalog()
const models = new Map(catalog.flatMap((vendor) => vendor.models.map((model) => [model.name, model])))

test('is what its YAML files say, and keeps the rules of its schema: neither is checked at a start', () => {
  expect(loadCatalog({ directory: builtInDirectory })).toEqual(catalog)
})

test('knows four vendors and their models', () => {
  expect(
    catalog.map(({ vendor, vendorAliases, baseUrl, models }) => ({
      vendor,
      vendorAliases,
      baseUrl,
      models: models.map(({ name }) => name)
    }))
  ).toEqual([
    {
      vendor: 'google',
      vendorAliases: [],
      baseUrl: 'https://generativelanguage.googleapis.com/v1beta',
      models: ['nano-banana-2.1', 'nano-banana-pro', 'nano-banana-2-lite', 'nano-banana-2', 'nano-banana']
    },
    {
      vendor: 'openai',
      vendorAliases: [],
      baseUrl: 'https://api.openai.com/v1',
      models: [
        'gpt-image-2.6-sunburst',
        'gpt-image-2.6-flare',
        'gpt-image-2.5-sunburst',
        'gpt-image-2.5-flare',
        'gpt-image-2',
        'chatgpt-image-latest',
        'gpt-image-1.5',
        'gpt-image-1-mini',
        'gpt-image-1',
        'dall-e-3',
        'dall-e-2'
      ]
    },
    { vendor: 'sketch', vendorAliases: [], baseUrl: '', models: ['sketch'] },
    {
      vendor: 'stability',
      vendorAliases: ['stability-ai'],
      baseUrl: 'https://api.stability.ai',
      models: [
        'stable-image-core',
        'stable-image-ultra',
        'sd3.5-large',
        'sd3.5-large-turbo',
        'sd3.5-medium',
        'stable-image-inpaint',
        'stable-diffusion-xl-1024-v1-0'
      ]
    }
  ])
})

test('knows every model that has a name in the contract', () => {
  expect(wireNames(ModelSchema).filter((name) => !models.has(name))).toEqual([])
})

test('knows all about dall-e-3', () => {
  expect(facts('dall-e-3')).toEqual({
    name: 'dall-e-3',
    created: 1698785189,
    status: 'retired',
    shutdown_date: '2026-05-12',
    replacement: 'gpt-image-2',
    capabilities: {
      size: { list: { sizes: ['1024x1024', '1792x1024', '1024x1792'], auto: false } },
      qualities: ['standard', 'hd'],
      styles: ['vivid', 'natural'],
      output_formats: ['png'],
      output_compression: false,
      max_images_per_call: 1,
      max_images_per_request: 1,
      max_prompt_length: 4000,
      seed: false,
      negative_prompt: false,
      revised_prompt: true,
      delivery_form: 'as_asked',
      url_lifetime_seconds: 3600,
      timeout_seconds: 0,
      max_input_images: 0,
      mask: false,
      streaming: false
    }
  })
})

test('knows all about gpt-image-2', () => {
  expect(facts('gpt-image-2')).toEqual({
    name: 'gpt-image-2',
    snapshots: ['gpt-image-2-2026-04-21'],
    created: 1776399795,
    status: 'live',
    capabilities: {
      size: {
        range: {
          step: 16,
          min_edge: 16,
          max_edge: 3840,
          min_pixels: 655360,
          max_pixels: 8294400,
          max_ratio: 3,
          auto: true,
          default_size: '1024x1024',
          presets: [
            { ratio: '1:1', tier: '1K', size: '1024x1024' },
            { ratio: '1:1', tier: '2K', size: '2048x2048' },
            { ratio: '1:1', tier: '4K', size: '2880x2880' },
            { ratio: '4:3', tier: '1K', size: '1536x1024' },
            { ratio: '4:3', tier: '2K', size: '2048x1536' },
            { ratio: '4:3', tier: '4K', size: '3264x2448' },
            { ratio: '3:4', tier: '1K', size: '1024x1536' },
            { ratio: '3:4', tier: '2K', size: '1536x2048' },
            { ratio: '3:4', tier: '4K', size: '2448x3264' },
            { ratio: '16:9', tier: '1K', size: '1792x1024' },
            { ratio: '16:9', tier: '2K', size: '2048x1152' },
            { ratio: '16:9', tier: '4K', size: '3840x2160' },
            { ratio: '9:16', tier: '1K', size: '1024x1792' },
            { ratio: '9:16', tier: '2K', size: '1152x2048' },
            { ratio: '9:16', tier: '4K', size: '2160x3840' }
          ],
          aliases: [
            { size: '1254x1254', becomes: '1024x1024' },
            { size: '1672x941', becomes: '1792x1024' },
            { size: '941x1672', becomes: '1024x1792' }
          ]
        }
      },
      qualities: ['auto', 'low', 'medium', 'high'],
      backgrounds: ['auto', 'transparent', 'opaque'],
      output_formats: ['png', 'jpeg', 'webp'],
      output_compression: true,
      max_images_per_call: 10,
      max_images_per_request: 0,
      max_prompt_length: 32000,
      seed: false,
      negative_prompt: false,
      moderations: ['auto', 'low'],
      revised_prompt: false,
      delivery_form: 'base64',
      url_lifetime_seconds: 0,
      timeout_seconds: 600,
      max_input_images: 16,
      mask: true,
      streaming: true
    }
  })
})

test('knows all about nano-banana-pro', () => {
  expect(facts('nano-banana-pro')).toEqual({
    name: 'nano-banana-pro',
    upstream_model: 'gemini-3-pro-image',
    aliases: ['gemini-3-pro-image', 'gemini-3-pro-image-preview'],
    created: 0,
    status: 'live',
    capabilities: {
      size: {
        ratio_tiers: {
          ratios: ['1:1', '2:3', '3:2', '3:4', '4:3', '4:5', '5:4', '9:16', '16:9', '21:9'],
          tiers: ['1K', '2K', '4K'],
          auto: true
        }
      },
      output_compression: false,
      max_images_per_call: 1,
      max_images_per_request: 0,
      max_prompt_length: 0,
      seed: true,
      negative_prompt: false,
      revised_prompt: false,
      delivery_form: 'base64',
      url_lifetime_seconds: 0,
      timeout_seconds: 0,
      max_input_images: 14,
      mask: false,
      streaming: false
    }
  })
})

test('knows qualities, prompt limit, images per call and form of every model', () => {
  expect([...models.keys()].map(row)).toEqual([
    'nano-banana-2.1 live | - | 0 code points | 1 per call | base64',
    'nano-banana-pro live | - | 0 code points | 1 per call | base64',
    'nano-banana-2-lite live | - | 0 code points | 1 per call | base64',
    'nano-banana-2 retired | - | 0 code points | 1 per call | base64',
    'nano-banana retired | - | 0 code points | 1 per call | base64',
    'gpt-image-2.6-sunburst live | auto low medium high xhigh max | 32000 code points | 10 per call | base64',
    'gpt-image-2.6-flare live | auto low medium high xhigh max | 32000 code points | 10 per call | base64',
    'gpt-image-2.5-sunburst live | auto low medium high xhigh max | 32000 code points | 10 per call | base64',
    'gpt-image-2.5-flare live | auto low medium high xhigh max | 32000 code points | 10 per call | base64',
    'gpt-image-2 live | auto low medium high | 32000 code points | 10 per call | base64',
    'chatgpt-image-latest deprecated | auto low medium high | 32000 code points | 10 per call | base64',
    'gpt-image-1.5 deprecated | auto low medium high | 32000 code points | 10 per call | base64',
    'gpt-image-1-mini deprecated | auto low medium high | 32000 code points | 10 per call | base64',
    'gpt-image-1 retired | auto low medium high | 32000 code points | 10 per call | base64',
    'dall-e-3 retired | standard hd | 4000 code points | 1 per call | as_asked',
    'dall-e-2 retired | standard | 1000 code points | 10 per call | as_asked',
    'sketch live | - | 32000 code points | 10 per call | bytes',
    'stable-image-core live | - | 10000 code points | 1 per call | bytes',
    'stable-image-ultra live | - | 10000 code points | 1 per call | bytes',
    'sd3.5-large live | - | 10000 code points | 1 per call | bytes',
    'sd3.5-large-turbo live | - | 10000 code points | 1 per call | bytes',
    'sd3.5-medium live | - | 10000 code points | 1 per call | bytes',
    'stable-image-inpaint live | - | 10000 code points | 1 per call | bytes',
    'stable-diffusion-xl-1024-v1-0 live | - | 2000 code points | 10 per call | base64'
  ])
})

test('names date and successor of every model that ends, and a successor that lives', () => {
  const ending = [...models.values()].filter(({ status }) => status === ModelStatus.DEPRECATED || status === ModelStatus.RETIRED)
  expect(ending.map(({ name, shutdownDate, replacement }) => `${name} ${shutdownDate} ${replacement} (${status(replacement)})`)).toEqual([
    'nano-banana-2 2026-10-29 nano-banana-2.1 (live)',
    'nano-banana 2026-10-02 nano-banana-2.1 (live)',
    'chatgpt-image-latest 2026-12-01 gpt-image-2.5-sunburst (live)',
    'gpt-image-1.5 2026-12-01 gpt-image-2.5-sunburst (live)',
    'gpt-image-1-mini 2026-12-01 gpt-image-2.5-flare (live)',
    'gpt-image-1 2026-10-23 gpt-image-2 (live)',
    'dall-e-3 2026-05-12 gpt-image-2 (live)',
    'dall-e-2 2026-05-12 gpt-image-2 (live)'
  ])
})

test('gives every model a size rule with a default', () => {
  const defaults = [...models.values()].map(({ name, capabilities }) => {
    const rule = capabilities?.size?.rule
    if (rule?.case === 'range')
      return [name, rule.value.defaultSize !== undefined && rule.value.step > 0 && rule.value.maxEdge >= rule.value.minEdge]
    if (rule?.case === 'list') return [name, rule.value.sizes.length > 0]
    return [name, rule?.case === 'ratioTiers' && rule.value.ratios.length > 0]
  })
  expect(defaults).toEqual([...models.keys()].map((name) => [name, true]))
})

test('counts a snapshot and an alias as a name of the model', () => {
  expect(namesOf(model('gpt-image-1.5'))).toEqual(['gpt-image-1.5', 'gpt-image-1.5-2025-12-16'])
  expect(namesOf(model('nano-banana'))).toEqual(['nano-banana', 'gemini-2.5-flash-image', 'gemini-2.5-flash-image-preview'])
})

const directory = mkdtempSync(join(tmpdir(), 'atelier-catalog-'))
afterAll(() => rmSync(directory, { recursive: true }))

const one = (fields: string) => `vendor: acme\nmodels:\n  - { name: a, source: s, checked: 2026-01-01, capabilities: {}, ${fields} }\n`

test.each([
  ['broken YAML', 'vendor: [', /^acme\.yaml: .*at line 1, column 10/s],
  ['a document that is no mapping', '- a', /^acme\.yaml: must be a mapping with vendor and models$/],
  ['an unknown key', 'vendor: acme\nmodells: []', /^acme\.yaml: modells: is not known here$/],
  ['an unknown key of a model', one('colour: red'), /^acme\.yaml: models\[0\]\.colour: is not known here$/],
  ['a value of the wrong type', one('created: soon'), /^acme\.yaml: models\[0\]\.created: must be a number$/],
  ['an unknown status', one('status: dead'), /^acme\.yaml: models\[0\]\.status: /],
  [
    'a quality that nobody knows',
    one('capabilities: { qualities: [standard, superb] }').replace('capabilities: {}, ', ''),
    /^acme\.yaml: models\[0\]\.capabilities\.qualities\[1\]: unknown value "superb"$/
  ],
  [
    'a malformed size',
    one('capabilities: { size: { list: { sizes: [large] } } }').replace('capabilities: {}, ', ''),
    /^acme\.yaml: models\[0\]\.capabilities\.size\.list\.sizes\[0\]: unknown value "large"$/
  ],
  ['a missing source', one('').replace('source: s, ', ''), /^acme\.yaml: models\[0\]\.source: .*\[string\.min_len\]$/],
  ['a date that is none', one('shutdown_date: tomorrow'), /^acme\.yaml: models\[0\]\.shutdown_date: .*\[string\.pattern\]$/],
  ['no model at all', 'vendor: acme', /^acme\.yaml: models: .*\[repeated\.min_items\]$/],
  ['a replacement that is not there', one('replacement: b'), /^acme\.yaml: models\[0\]\.replacement: there is no model b of this vendor$/],
  ['a name that is given twice', one('aliases: [b, b]'), /^acme\.yaml: models\[0\]: b is a name of acme\/a already$/]
])('refuses %s, and says where it stands', (_, text, message) => {
  writeFileSync(join(directory, 'acme.yaml'), text)
  expect(() => loadCatalog({ directory })).toThrow(message)
})

function model(name: string): CatalogModel {
  const found = models.get(name)
  if (!found) throw new Error(`no model ${name}`)
  return found
}

/** Everything but where the facts come from, and prices. */
function facts(name: string): unknown {
  const { source, checked, pricing, ...rest } = encodeMessage(CatalogModelSchema, model(name))
  expect([typeof source, checked]).toEqual(['string', '2026-11-20'])
  return rest
}

function status(name: string): unknown {
  return encodeMessage(CatalogModelSchema, model(name)).status
}

function row(name: string): string {
  const can = encodeMessage(CatalogModelSchema, model(name)).capabilities as Record<string, string[] | string | number>
  const qualities = Array.isArray(can.qualities) ? can.qualities.join(' ') : '-'
  return `${name} ${status(name)} | ${qualities} | ${can.max_prompt_length} code points | ${can.max_images_per_call} per call | ${can.delivery_form}`
}

test('knows what every model that edits takes', () => {
  const rows = [...models.values()].flatMap(({ name, capabilities }) => {
    if (!capabilities || capabilities.maxInputImages === 0) return []
    const { maxInputImages, mask, inputFidelities } = capabilities
    const levels = inputFidelities.map((level) => wireName(InputFidelitySchema, level)).join(' ') || '-'
    return [`${name} | ${maxInputImages} images | ${mask ? 'mask' : 'no mask'} | ${levels}`]
  })
  expect(rows).toEqual([
    'nano-banana-2.1 | 14 images | no mask | -',
    'nano-banana-pro | 14 images | no mask | -',
    'nano-banana-2-lite | 14 images | no mask | -',
    'nano-banana-2 | 14 images | no mask | -',
    'nano-banana | 3 images | no mask | -',
    'gpt-image-2.6-sunburst | 16 images | mask | -',
    'gpt-image-2.6-flare | 16 images | mask | -',
    'gpt-image-2.5-sunburst | 16 images | mask | -',
    'gpt-image-2.5-flare | 16 images | mask | -',
    'gpt-image-2 | 16 images | mask | -',
    'chatgpt-image-latest | 16 images | mask | low high',
    'gpt-image-1.5 | 16 images | mask | low high',
    'gpt-image-1-mini | 16 images | mask | low',
    'gpt-image-1 | 16 images | mask | low high',
    'dall-e-2 | 1 images | mask | -',
    'sketch | 16 images | mask | -',
    'stable-image-ultra | 1 images | no mask | low high',
    'sd3.5-large | 1 images | no mask | low high',
    'sd3.5-large-turbo | 1 images | no mask | low high',
    'sd3.5-medium | 1 images | no mask | low high',
    'stable-image-inpaint | 1 images | mask | -',
    'stable-diffusion-xl-1024-v1-0 | 1 images | mask | low high'
  ])
})
