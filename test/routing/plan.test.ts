import { expect, test } from 'vitest'
import { askedOf, everyMirror, outputOf, planOf, refusalOf, warningsOf } from '../support/plan.ts'

const switchedOff = (name: string) =>
  `substituted model: ${name} was switched off by its vendor on 2026-05-12, so gpt-image-2 serves in its place`
const gptSizes =
  'WIDTHxHEIGHT with both edges multiples of 16, the longer at most 3840, 655360 to 8294400 pixels, ratio at most 3:1, or auto'

test('serves dall-e-3 with its documented defaults and one warning', () => {
  const plan = planOf({ model: 'dall-e-3' })
  expect(plan.candidate).toMatchObject({ provider: 'openai', model: 'gpt-image-2', upstreamModel: 'gpt-image-2' })
  expect(askedOf(plan)).toEqual({ size: '1024x1024', quality: 'medium' })
  expect(warningsOf(plan)).toEqual([switchedOff('dall-e-3')])
  expect(plan).toMatchObject({ form: 'url', keepProviderUrls: false, promptAsRevised: 'a lighthouse', output: {} })
})

test('serves a request without a model like dall-e-3, and without a warning', () => {
  const plan = planOf({})
  expect(plan.candidate.model).toBe('gpt-image-2')
  expect(askedOf(plan)).toEqual({ size: '1024x1024', quality: 'medium' })
  expect(warningsOf(plan)).toEqual([])
})

test.each([
  [
    { quality: 'standard' },
    { size: '1024x1024', quality: 'medium' },
    ['converted quality: standard became medium, its equivalent for gpt-image-2']
  ],
  [{ quality: 'hd' }, { size: '1024x1024', quality: 'high' }, ['converted quality: hd became high, its equivalent for gpt-image-2']],
  [{ style: 'vivid' }, { size: '1024x1024', quality: 'medium' }, ['ignored style: gpt-image-2 has no style vivid']],
  [{ style: 'natural' }, { size: '1024x1024', quality: 'medium' }, ['ignored style: gpt-image-2 has no style natural']],
  [{ size: '1792x1024' }, { size: '1792x1024', quality: 'medium' }, []],
  [{ size: '1024x1792' }, { size: '1024x1792', quality: 'medium' }, []],
  [{ user: 'u-1', moderation: 'low' }, { size: '1024x1024', quality: 'medium', user: 'u-1', moderation: 'low' }, []]
])('translates %o of dall-e-3 for gpt-image-2', (body, asked, warnings) => {
  const plan = planOf({ model: 'dall-e-3', ...body })
  expect(askedOf(plan)).toEqual(asked)
  expect(warningsOf(plan)).toEqual([switchedOff('dall-e-3'), ...warnings])
  expect(outputOf(plan)).toEqual({})
})

test.each(['256x256', '512x512'])('makes %s of dall-e-2 at 1024x1024 and has it scaled down', (size) => {
  const plan = planOf({ model: 'dall-e-2', size, n: 4 })
  expect(askedOf(plan)).toEqual({ size: '1024x1024', quality: 'medium', output_format: 'png' })
  expect(outputOf(plan)).toEqual({ size })
  expect(warningsOf(plan)).toEqual([
    switchedOff('dall-e-2'),
    `emulated size: ${size} is made at 1024x1024 and scaled down: the sizes of gpt-image-2 are ${gptSizes}`
  ])
  expect(plan.parts).toHaveLength(1)
  expect(plan.promptAsRevised).toBeUndefined()
})

test('asks for the file without losses where it is scaled down', () => {
  const plan = planOf({ model: 'dall-e-2', size: '256x256', output_format: 'jpeg', output_compression: 40 })
  expect(askedOf(plan)).toEqual({ size: '1024x1024', quality: 'medium', output_format: 'png' })
  expect(outputOf(plan)).toEqual({ size: '256x256', format: 'jpeg', compression: 40 })
})

test.each([
  ['dall-e-3', { n: 2 }, { reason: 'INVALID_PARAMETER', message: 'n: must be 1 for dall-e-3, not 2', param: 'n' }],
  [
    'dall-e-3',
    { size: '1536x1024' },
    { reason: 'INVALID_SIZE', message: 'Invalid size for dall-e-3: must be 1024x1024, 1792x1024, or 1024x1792', param: 'size' }
  ],
  [
    'dall-e-2',
    { size: '1792x1024' },
    { reason: 'INVALID_SIZE', message: 'Invalid size for dall-e-2: must be 1024x1024, 512x512, or 256x256', param: 'size' }
  ],
  [
    'dall-e-2',
    { quality: 'hd' },
    { reason: 'INVALID_PARAMETER', message: 'quality: "hd" is not known to dall-e-2; it knows standard', param: 'quality' }
  ],
  [
    'dall-e-3',
    { quality: 'high' },
    { reason: 'INVALID_PARAMETER', message: 'quality: "high" is not known to dall-e-3; it knows standard, hd', param: 'quality' }
  ],
  [
    'dall-e-2',
    { prompt: 'x'.repeat(1001) },
    { reason: 'INVALID_PARAMETER', message: 'prompt: is 1001 characters long; dall-e-2 takes at most 1000', param: 'prompt' }
  ],
  [
    'dall-e-3',
    { prompt: '🎨'.repeat(4001) },
    { reason: 'INVALID_PARAMETER', message: 'prompt: is 4001 characters long; dall-e-3 takes at most 4000', param: 'prompt' }
  ],
  [
    'gpt-image-2',
    { prompt: 'x'.repeat(32_001) },
    { reason: 'INVALID_PARAMETER', message: 'prompt: is 32001 characters long; gpt-image-2 takes at most 32000', param: 'prompt' }
  ]
])('holds %s to its own rules, whatever serves it: %o', (model, body, error) => {
  expect(refusalOf({ model, ...body })).toEqual(error)
})

test.each(['1000x1000', '3856x1024', '512x512', '3840x2176', '3216x1024', '1024X1024', 'big'])(
  'refuses %s of gpt-image-2 and says what it makes',
  (size) => {
    expect(refusalOf({ model: 'gpt-image-2', size })).toEqual({
      reason: 'INVALID_SIZE',
      message: `Invalid size for gpt-image-2: must be ${gptSizes}`,
      param: 'size'
    })
  }
)

test.each(['auto', '1024x640', '3840x2160', '2880x2880', '1440x480'])('asks gpt-image-2 for %s as it is', (size) => {
  const plan = planOf({ model: 'gpt-image-2', size })
  expect([askedOf(plan), warningsOf(plan)]).toEqual([{ size }, []])
})

test.each([
  ['1254x1254', '1024x1024'],
  ['1672x941', '1792x1024'],
  ['941x1672', '1024x1792']
])('takes %s of gpt-image-2 for %s', (size, made) => {
  const plan = planOf({ model: 'gpt-image-2', size })
  expect(askedOf(plan)).toEqual({ size: made })
  expect(warningsOf(plan)).toEqual([`converted size: ${size} became ${made}, the size that it is an alias of`])
})

test.each([
  // [model, body, asked, warnings]: between pixels, aspect ratio, and ratio with tier, in both directions.
  ['gpt-image-2', { aspect_ratio: '1:1' }, { size: '1024x1024' }, []],
  ['gpt-image-2', { aspect_ratio: '16:9', resolution: '2K' }, { size: '2048x1152' }, []],
  ['gpt-image-2', { aspect_ratio: '32:18', resolution: '4K' }, { size: '3840x2160' }, []],
  ['gpt-image-2', { size: '9:16', resolution: '4K' }, { size: '2160x3840' }, []],
  [
    'gpt-image-2',
    { aspect_ratio: '16:9' },
    { size: '1792x1024' },
    [`converted aspect_ratio: 16:9 became 1792x1024: the sizes of gpt-image-2 are ${gptSizes}`]
  ],
  [
    'gpt-image-2',
    { aspect_ratio: '3:1', resolution: '4K' },
    { size: '3840x1280' },
    [`clamped resolution: 4K became 3840x1280: the sizes of gpt-image-2 are ${gptSizes}`]
  ],
  ['gpt-image-2', { resolution: '4K' }, { size: '2880x2880' }, []],
  ['gpt-image-2', { resolution: '2K', size: 'auto' }, { size: 'auto' }, ['ignored resolution: with the size auto gpt-image-2 chooses it']],
  [
    'gpt-image-2',
    { resolution: '2K', size: '1024x1024' },
    { size: '1024x1024' },
    ['ignored resolution: a size in pixels says everything; a tier goes with an aspect ratio']
  ],
  [
    'gpt-image-1.5',
    { aspect_ratio: '16:9' },
    { size: '1536x1024' },
    ['converted aspect_ratio: 16:9 became 1536x1024: the sizes of gpt-image-1.5 are 1024x1024, 1536x1024, 1024x1536, or auto']
  ],
  ['gpt-image-1.5', { aspect_ratio: '3:2' }, { size: '1536x1024' }, []],
  ['sketch', { aspect_ratio: '16:9', resolution: '2K' }, { size: '2736x1539' }, []],
  ['stable-diffusion-xl-1024-v1-0', { aspect_ratio: '1:1' }, { size: '1024x1024' }, []],
  ['stable-diffusion-xl-1024-v1-0', { size: '1344x768' }, { size: '1344x768' }, []],
  ['nano-banana-2.1', { size: '1024x1024' }, { size: '1:1', resolution: '1K' }, []],
  ['nano-banana-2.1', { size: '512x512' }, { size: '1:1', resolution: '1K' }, []],
  ['nano-banana-2.1', { size: '256x256' }, { size: '1:1', resolution: '1K' }, []],
  ['nano-banana-2.1', { size: '2048x2048' }, { size: '1:1', resolution: '2K' }, []],
  ['nano-banana-2.1', { size: 'auto', resolution: '4K' }, { resolution: '4K' }, []],
  ['nano-banana-2.1', { aspect_ratio: '32:18', resolution: '4K' }, { size: '16:9', resolution: '4K' }, []],
  ['nano-banana-2.1', { size: '1792x1024' }, { size: '16:9', resolution: '1K' }, ['converted size: 1792x1024 became 16:9 at 1K']],
  ['nano-banana-2.1', { size: '1024x1792' }, { size: '9:16', resolution: '1K' }, ['converted size: 1024x1792 became 9:16 at 1K']],
  ['nano-banana-2.1', { size: '3840x2160' }, { size: '16:9', resolution: '4K' }, ['converted size: 3840x2160 became 16:9 at 4K']],
  ['nano-banana-2.1', { size: '800x800' }, { size: '1:1', resolution: '1K' }, ['converted size: 800x800 became 1:1 at 1K']],
  ['nano-banana-2.1', { aspect_ratio: '7:5' }, { size: '4:3' }, ['converted aspect_ratio: 7:5 became 4:3']],
  [
    'nano-banana-2-lite',
    { resolution: '4K' },
    { resolution: '1K' },
    ['clamped resolution: 4K became 1K, the nearest that nano-banana-2-lite makes']
  ],
  ['stable-image-core', { size: '1024x1024' }, { size: '1:1' }, []],
  ['stable-image-core', { size: '1536x1024' }, { size: '3:2' }, ['converted size: 1536x1024 became 3:2']],
  [
    'stable-image-core',
    { aspect_ratio: '21:9', resolution: '1K' },
    { size: '21:9' },
    ['ignored resolution: stable-image-core has a single resolution']
  ]
] as const)('asks %s in its own terms for %o', (model, body, asked, warnings) => {
  const plan = planOf({ model, ...body })
  expect(askedOf(plan)).toEqual(asked)
  expect(warningsOf(plan).map((text, index) => text.slice(0, warnings[index]?.length))).toEqual(warnings)
})

test('keeps an exact size that dall-e promises where a model of ratios serves it', () => {
  const aliases = { 'dall-e-2': 'nano-banana-2.1', 'dall-e-3': 'nano-banana-2.1' }
  const small = planOf({ model: 'dall-e-2', size: '512x512' }, { aliases })
  expect([askedOf(small), outputOf(small)]).toEqual([{ size: '1:1', resolution: '1K' }, { size: '512x512' }])
  expect(warningsOf(small)[0]).toMatch(/^emulated size: 512x512 is made as 1:1 at 1K and scaled down: /)
  const usual = planOf({ model: 'dall-e-3' }, { aliases })
  expect([askedOf(usual), outputOf(usual), warningsOf(usual)]).toEqual([{ size: '1:1', resolution: '1K' }, { size: '1024x1024' }, []])
  const wide = planOf({ model: 'dall-e-3', size: '1792x1024' }, { aliases })
  expect([askedOf(wide), outputOf(wide)]).toEqual([{ size: '16:9', resolution: '1K' }, {}])
  expect(warningsOf(wide)[0]).toMatch(/^converted size: 1792x1024 became 16:9 at 1K: /)
})

test('never has an image scaled up', () => {
  const plan = planOf({ model: 'gpt-image-2', size: '2048x2048' }, { aliases: { 'gpt-image-2': 'gpt-image-1.5' } })
  expect([askedOf(plan), outputOf(plan)]).toEqual([{ size: '1024x1024' }, {}])
  expect(warningsOf(plan)[0]).toMatch(/^converted size: 2048x2048 became 1024x1024: /)
})

test.each([
  [
    'nano-banana-pro',
    { output_format: 'webp' },
    {},
    { format: 'webp' },
    ['emulated output_format: nano-banana-pro makes no webp files: converted']
  ],
  [
    'nano-banana-pro',
    { output_format: 'jpeg', output_compression: 60 },
    {},
    { format: 'jpeg', compression: 60 },
    [
      'emulated output_format: nano-banana-pro makes no jpeg files: converted',
      'emulated output_compression: nano-banana-pro does not compress its files: done afterwards'
    ]
  ],
  [
    'nano-banana-pro',
    { output_compression: 60 },
    {},
    {},
    ['ignored output_compression: only jpeg and webp files are compressed with losses']
  ],
  ['nano-banana-pro', { output_compression: 100 }, {}, {}, []],
  [
    'nano-banana-pro',
    { output_format: 'svg' },
    {},
    {},
    ['ignored output_format: nano-banana-pro makes no svg files, and none can be converted into one']
  ],
  [
    'stable-image-core',
    { output_format: 'jpeg', output_compression: 60 },
    { output_format: 'png' },
    { format: 'jpeg', compression: 60 },
    ['emulated output_compression: stable-image-core does not compress its files: done afterwards']
  ],
  ['stable-image-core', { output_format: 'webp' }, { output_format: 'webp' }, {}, []],
  [
    'sd3.5-large',
    { output_format: 'webp' },
    {},
    { format: 'webp' },
    ['emulated output_format: sd3.5-large makes no webp files: converted']
  ],
  ['stable-diffusion-xl-1024-v1-0', { output_format: 'png' }, {}, {}, []],
  ['gpt-image-2', { output_format: 'jpeg', output_compression: 60 }, { output_format: 'jpeg', output_compression: 60 }, {}, []],
  ['gpt-image-2.6-flare', { output_format: 'svg' }, { output_format: 'svg' }, {}, []]
])('makes the files of %s as %o asks', (model, body, asked, output, warnings) => {
  const plan = planOf({ model, ...body })
  expect([askedOf(plan), outputOf(plan), warningsOf(plan)]).toEqual([asked, output, warnings])
})

test.each([
  ['gpt-image-2', { output_format: 'gif' }, 'output_format: "gif" is not known to gpt-image-2; it knows png, jpeg, webp'],
  ['gpt-image-2', { output_compression: 50 }, 'output_compression: 50 needs the output_format jpeg or webp'],
  ['gpt-image-2', { background: 'transparent', output_format: 'jpeg' }, 'background: "transparent" needs the output_format png or webp'],
  ['gpt-image-2', { quality: 'hd' }, 'quality: "hd" is not known to gpt-image-2; it knows auto, low, medium, high'],
  [
    'sketch',
    { style: 'natural', quality: 'superb' },
    'quality: unknown value "superb"; known are auto, standard, hd, low, medium, high, xhigh, max'
  ]
])('refuses of %s %o', (model, body, message) => {
  expect(refusalOf({ model, ...body }).message).toBe(message)
})

test('refuses a prompt that is too long for the model that serves', () => {
  expect(
    refusalOf({ model: 'gpt-image-2', prompt: 'x'.repeat(3000) }, { aliases: { 'gpt-image-2': 'stable-diffusion-xl-1024-v1-0' } })
  ).toEqual({
    reason: 'INVALID_PARAMETER',
    message: 'prompt: is 3000 characters long; stable-diffusion-xl-1024-v1-0, which serves gpt-image-2, takes at most 2000',
    param: 'prompt'
  })
})

test('divides more images than a model makes per call into calls, with seeds of their own', () => {
  const plan = planOf({ model: 'nano-banana-pro', n: 3, seed: 4_294_967_294 })
  expect(plan.parts.map(({ firstIndex, work }) => [firstIndex, work.n, work.request.seed])).toEqual([
    [0, 1, 4_294_967_294],
    [1, 1, 4_294_967_295],
    [2, 1, 0]
  ])
  expect(warningsOf(plan)).toEqual([
    'emulated n: 3 images are made by 3 calls, each billed on its own: nano-banana-pro makes fewer per call'
  ])
  expect(plan.work.n).toBe(3)
})

test('leaves the number of images to models that make several, and to those that nobody knows', () => {
  for (const model of ['gpt-image-2', 'stable-diffusion-xl-1024-v1-0', 'openai/unheard-of']) {
    const plan = planOf({ model, n: 10 })
    expect([plan.parts.map(({ work }) => work.n), warningsOf(plan)]).toEqual([[10], []])
  }
})

test('fans out a forwarded model by what it makes per call', () => {
  const plan = planOf({ model: 'dall-e-2', n: 10 }, { providers: everyMirror })
  expect(plan.parts.map(({ work }) => work.n)).toEqual([10])
})

test.each([
  ['dall-e-3', { quality: 'hd' }, 'quality'],
  ['dall-e-3', { style: 'natural' }, 'style'],
  ['dall-e-2', { size: '256x256' }, 'size'],
  ['nano-banana-pro', { n: 2 }, 'n'],
  ['nano-banana-pro', { output_format: 'png' }, 'output_format'],
  ['nano-banana-pro', { negative_prompt: 'fog' }, 'negative_prompt'],
  ['nano-banana-pro', { user: 'u-1' }, 'user'],
  ['nano-banana-pro', { frobnicate: true }, 'frobnicate'],
  ['gpt-image-2', { seed: 1 }, 'seed']
])('refuses under strict what %s cannot honour of %o', (model, body, param) => {
  const error = refusalOf({ model, ...body }, { strict: true })
  const warning = warningsOf(planOf({ model, ...body })).find((text) => text.split(' ')[1] === `${param}:`)
  expect(error).toEqual({ reason: 'UNSUPPORTED_PARAMETER', message: warning?.slice(warning.indexOf(' ') + 1), param })
})

test.each([
  ['dall-e-3', {}],
  ['dall-e-2', { response_format: 'b64_json', n: 2 }],
  [undefined, {}],
  ['nano-banana', {}],
  ['nano-banana-pro', { size: '1024x1024', response_format: 'url' }],
  ['gpt-image-2', { quality: 'auto', background: 'auto', moderation: 'auto', size: 'auto', output_compression: 100 }]
])('has nothing against %s %o under strict', (model, body) => {
  expect(() => planOf(model === undefined ? body : { model, ...body }, { strict: true })).not.toThrow()
})

test('keeps the contract of an alias’s target, also where that is retired', () => {
  const aliases = { house: 'openai/dall-e-3' }
  expect(planOf({ model: 'house' }, { aliases }).promptAsRevised).toBe('a lighthouse')
  expect(refusalOf({ model: 'house', n: 2 }, { aliases }).message).toBe('n: must be 1 for house, not 2')
  expect(askedOf(planOf({ model: 'house' }, { aliases }))).toEqual({ size: '1024x1024', quality: 'medium' })
})

test('leaves the caller’s request as it is', () => {
  const body = { model: 'dall-e-2', size: '256x256', quality: 'standard', output_format: 'jpeg', output_compression: 3, n: 2 }
  const plan = planOf(body)
  expect(plan.work.request).not.toBe(plan.parts[0])
  expect(outputOf(plan)).toEqual({ size: '256x256', format: 'jpeg', compression: 3 })
})

test('asks for bytes, and keeps no link of the provider’s, where the file is to be changed', () => {
  const plan = planOf({ model: 'dall-e-2', output_format: 'webp' }, { providers: everyMirror })
  expect(plan).toMatchObject({ form: 'url', keepProviderUrls: false })
  expect(plan.work.request.responseFormat).toBe(2)
  expect(planOf({ model: 'dall-e-2' }, { providers: everyMirror })).toMatchObject({ form: 'url', keepProviderUrls: true })
})

test('has the format of a model that nobody knows converted where its answer needs it', () => {
  const plan = planOf({ model: 'openai/unheard-of', output_format: 'webp', size: '123x77', quality: 'hd' })
  expect([askedOf(plan), outputOf(plan), warningsOf(plan)]).toEqual([
    { output_format: 'webp', size: '123x77', quality: 'hd' },
    { format: 'webp' },
    []
  ])
})
