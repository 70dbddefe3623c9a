export type Fields = Record<string, unknown>

export interface Refusal {
  status: number
  name: string
  message: string
}

/** A request that passed the check, with every default filled in. */
export interface StabilityOrder {
  prompt: string
  width: number
  height: number
  samples: number
  seed: number
  outputFormat: string
}

const stylePresets = [
  '3d-model',
  'analog-film',
  'anime',
  'cinematic',
  'comic-book',
  'digital-art',
  'enhance',
  'fantasy-art',
  'isometric',
  'line-art',
  'low-poly',
  'modeling-compound',
  'neon-punk',
  'origami',
  'photographic',
  'pixel-art',
  'tile-texture'
]
const samplers = [
  'DDIM',
  'DDPM',
  'K_DPMPP_2M',
  'K_DPMPP_2S_ANCESTRAL',
  'K_DPM_2',
  'K_DPM_2_ANCESTRAL',
  'K_EULER',
  'K_EULER_ANCESTRAL',
  'K_HEUN',
  'K_LMS'
]
const guidancePresets = ['NONE', 'FAST_BLUE', 'FAST_GREEN', 'SIMPLE', 'SLOW', 'SLOWER', 'SLOWEST']
const sdxlSizes = '1024x1024 1152x896 1216x832 1344x768 1536x640 640x1536 768x1344 832x1216 896x1152'.split(' ')
const ratios = ['21:9', '16:9', '3:2', '5:4', '1:1', '4:5', '2:3', '9:16', '9:21']

/** What v1 has against the JSON body of a text-to-image request for SDXL 1.0, by the vendor's OpenAPI description. */
export function checkV1(body: Fields, accept: string): Refusal | undefined {
  const prompts = Array.isArray(body.text_prompts) ? (body.text_prompts as Fields[]) : []
  if (prompts.length === 0) return bad('text_prompts: is required')
  if (prompts.some(({ text }) => typeof text !== 'string' || text === '')) return bad('text_prompts: each needs a text')
  if (prompts.some(({ text }) => [...String(text)].length > 2000)) return bad('text_prompts: length must be at most 2000 characters')
  if (prompts.some(({ weight }) => weight !== undefined && typeof weight !== 'number')) return bad('text_prompts: weight must be a number')
  const { width = 512, height = 512, samples = 1 } = body as { width?: number; height?: number; samples?: number }
  if (!isWhole(width, 128, 16_384) || !isWhole(height, 128, 16_384) || width % 64 !== 0 || height % 64 !== 0) {
    return { status: 400, name: 'invalid_height_or_width', message: 'Height and width must be specified in increments of 64' }
  }
  if (!sdxlSizes.includes(`${width}x${height}`)) {
    const message = `for stable-diffusion-xl-1024-v0-9 and stable-diffusion-xl-1024-v1-0 the allowed dimensions are ${sdxlSizes.join(', ')}, but we received ${width}x${height}`
    return { status: 400, name: 'invalid_sdxl_v1_dimensions', message }
  }
  if (!isWhole(samples, 1, 10)) return bad('samples: must be between 1 and 10')
  if (samples > 1 && accept === 'image/png') {
    const message = 'Sample count may only be greater than 1 when the accept header is set to `application/json`'
    return { status: 400, name: 'invalid_samples', message }
  }
  return (
    checkKnown(body, ['text_prompts', 'width', 'height', 'samples', ...v1Optional]) ??
    checkRange(body, 'cfg_scale', 0, 35) ??
    checkWhole(body, 'steps', 10, 50) ??
    checkWhole(body, 'seed', 0, 4_294_967_295) ??
    checkWord(body, 'sampler', samplers) ??
    checkWord(body, 'clip_guidance_preset', guidancePresets) ??
    checkWord(body, 'style_preset', stylePresets)
  )
}

const v1Optional = ['cfg_scale', 'clip_guidance_preset', 'extras', 'sampler', 'seed', 'steps', 'style_preset']

export function orderV1(body: Fields): StabilityOrder {
  const [{ text } = { text: '' }] = body.text_prompts as { text: string }[]
  const {
    width = 1024,
    height = 1024,
    samples = 1,
    seed = 0
  } = body as { width?: number; height?: number; samples?: number; seed?: number }
  return { prompt: text, width, height, samples, seed, outputFormat: 'png' }
}

/** What v1 has against the form of an image-to-image request for SDXL 1.0. */
export function checkV1Edit(form: Fields, masking: boolean, accept: string): Refusal | undefined {
  const { 'text_prompts[0][text]': text, samples = '1' } = form
  if (typeof text !== 'string' || text === '') return bad('text_prompts: is required')
  if (form.init_image === undefined) return bad('init_image: is required')
  if (masking && !['MASK_IMAGE_WHITE', 'MASK_IMAGE_BLACK', 'INIT_IMAGE_ALPHA'].includes(String(form.mask_source))) {
    return bad('mask_source: must be one of MASK_IMAGE_WHITE, MASK_IMAGE_BLACK, INIT_IMAGE_ALPHA')
  }
  if (masking && form.mask_source !== 'INIT_IMAGE_ALPHA' && form.mask_image === undefined) return bad('mask_image: is required')
  if (accept === 'image/png' && samples !== '1') {
    return { status: 400, name: 'invalid_samples', message: 'samples: must be 1 when accepting image/png' }
  }
  const prompts = Object.keys(form).filter((name) => /^text_prompts\[\d\]\[(text|weight)\]$/.test(name))
  const own = masking ? ['mask_source', 'mask_image'] : ['init_image_mode', 'image_strength']
  return (
    checkKnown(form, [...prompts, 'init_image', 'samples', ...own, ...v1Optional]) ??
    checkWord(form, 'init_image_mode', ['IMAGE_STRENGTH', 'STEP_SCHEDULE']) ??
    checkRange(form, 'image_strength', 0, 1) ??
    checkRange(form, 'cfg_scale', 0, 35) ??
    checkWhole(form, 'samples', 1, 10) ??
    checkWhole(form, 'steps', 10, 50) ??
    checkWhole(form, 'seed', 0, 4_294_967_295) ??
    checkWord(form, 'style_preset', stylePresets)
  )
}

/** The sizes of images that SDXL 1.0 works on. */
export function checkInitSize(width: number, height: number): Refusal | undefined {
  if (sdxlSizes.includes(`${width}x${height}`)) return undefined
  const message = `for stable-diffusion-xl-1024-v0-9 and stable-diffusion-xl-1024-v1-0 the allowed dimensions are ${sdxlSizes.join(', ')}, but we received ${width}x${height}`
  return { status: 400, name: 'invalid_sdxl_v1_dimensions', message }
}

export function orderV1Edit(form: Fields): StabilityOrder {
  const { samples = '1', seed = '0' } = form as Record<string, string>
  const prompt = String(form['text_prompts[0][text]'])
  return { prompt, width: 0, height: 0, samples: Number(samples), seed: Number(seed), outputFormat: 'png' }
}

export type V2Endpoint = 'core' | 'ultra' | 'sd3' | 'inpaint'

/** What v2beta has against a form, by the vendor's OpenAPI description. The vendor's own nodes send turbo models neither of two fields. */
export function checkV2(form: Fields, endpoint: V2Endpoint): Refusal | undefined {
  const sd3 = endpoint === 'sd3'
  const { prompt = '', negative_prompt = '' } = form as Record<string, string>
  if (prompt === '') return bad('prompt: required')
  if ([...prompt].length > 10_000) return bad('prompt: cannot exceed 10,000 characters')
  if ([...negative_prompt].length > 10_000) return bad('negative_prompt: cannot exceed 10,000 characters')
  const fromImage = endpoint === 'inpaint' || (endpoint !== 'core' && form.image !== undefined)
  const turbo = String(form.model ?? '').endsWith('-turbo')
  const optional = [
    'negative_prompt',
    'seed',
    'output_format',
    'style_preset',
    ...(fromImage && sd3 ? [] : endpoint === 'inpaint' ? [] : ['aspect_ratio']),
    ...(endpoint === 'inpaint' ? ['image', 'mask', 'grow_mask'] : fromImage ? ['image', 'strength'] : []),
    ...(sd3 ? ['cfg_scale', 'model', 'mode'] : [])
  ]
  if (fromImage && form.image === undefined) return bad('image: required')
  if (fromImage && endpoint !== 'inpaint' && form.strength === undefined) return bad('strength: required')
  return (
    checkKnown(
      form,
      ['prompt', ...optional].filter((name) => !turbo || (name !== 'cfg_scale' && name !== 'negative_prompt'))
    ) ??
    checkWord(form, 'aspect_ratio', ratios) ??
    checkWhole(form, 'seed', 0, 4_294_967_294) ??
    checkWord(form, 'output_format', sd3 ? ['jpeg', 'png'] : ['jpeg', 'png', 'webp']) ??
    checkWord(form, 'style_preset', stylePresets) ??
    checkWord(form, 'model', ['sd3.5-large', 'sd3.5-large-turbo', 'sd3.5-medium']) ??
    checkWord(form, 'mode', [fromImage ? 'image-to-image' : 'text-to-image']) ??
    checkRange(form, 'strength', 0, 1) ??
    checkWhole(form, 'grow_mask', 0, 20) ??
    checkRange(form, 'cfg_scale', 1, 10)
  )
}

/** Core was seen to make 1536x1536; the others make about a megapixel. */
export function orderV2(form: Fields, endpoint: V2Endpoint): StabilityOrder {
  const [across = 1, down = 1] = String(form.aspect_ratio ?? '1:1')
    .split(':')
    .map(Number)
  const edge = endpoint === 'core' ? 1536 : 1024
  const inSteps = (length: number) => Math.round(length / 64) * 64
  return {
    prompt: String(form.prompt),
    width: inSteps(edge * Math.sqrt(across / down)),
    height: inSteps(edge * Math.sqrt(down / across)),
    samples: 1,
    seed: Number(form.seed ?? 0),
    outputFormat: String(form.output_format ?? 'png')
  }
}

/** The vendor documents nothing about fields that it does not know; here they are refused, as they would have no effect. */
function checkKnown(fields: Fields, known: readonly string[]): Refusal | undefined {
  const stranger = Object.keys(fields).find((name) => !known.includes(name))
  return stranger === undefined ? undefined : bad(`${stranger}: is not allowed`)
}

function checkRange(fields: Fields, name: string, least: number, most: number): Refusal | undefined {
  if (fields[name] === undefined) return undefined
  const value = Number(fields[name])
  return value >= least && value <= most ? undefined : bad(`${name}: must be between ${least} and ${most}`)
}

function checkWhole(fields: Fields, name: string, least: number, most: number): Refusal | undefined {
  if (fields[name] === undefined || isWhole(Number(fields[name]), least, most)) return undefined
  return bad(`${name}: must be between ${least} and ${most}`)
}

function checkWord(fields: Fields, name: string, words: readonly string[]): Refusal | undefined {
  const value = fields[name]
  if (value === undefined || words.includes(String(value))) return undefined
  const expected = words.map((word) => `'${word}'`).join(' | ')
  return bad(`${name}: invalid enum value. Expected ${expected}, received '${value}'`)
}

function isWhole(value: unknown, least: number, most: number): boolean {
  return Number.isInteger(value) && Number(value) >= least && Number(value) <= most
}

function bad(message: string): Refusal {
  return { status: 400, name: 'bad_request', message }
}
