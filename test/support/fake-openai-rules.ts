export type ModelFamily = 'dall-e-2' | 'dall-e-3' | 'gpt-image'
export type ImageRequest = Record<string, unknown>

export interface Refusal {
  status: number
  message: string
  param?: string
  code?: string
}

/** A request with every default filled in. */
export interface ResolvedRequest {
  model: string
  family: ModelFamily
  prompt: string
  n: number
  size: string
  width: number
  height: number
  quality: string
  outputFormat: string
  background: string
  transparent: boolean
  asUrl: boolean
}

/**
 * What OpenAI has against a request; undefined where nothing. The rules are those of its documentation, model by model. `fields` are
 * those that the operation takes; unset: those of generations.
 */
export function checkRequest(body: ImageRequest, retired: readonly string[], fields = fieldsOf): Refusal | undefined {
  if (body.model != null && typeof body.model !== 'string') return wrongType('model', 'a string', body.model)
  const model = body.model ?? 'dall-e-2'
  const family = familyOf(model)
  if (!family || retired.includes(model)) {
    return { status: 404, message: `The model \`${model}\` does not exist or you do not have access to it.`, code: 'model_not_found' }
  }
  const known = fields(model, family)
  const stranger = Object.keys(body).find((name) => !known.includes(name))
  if (stranger !== undefined) return invalid(stranger, `Unknown parameter: '${stranger}'.`, 'unknown_parameter')
  return (
    checkPrompt(body.prompt, family) ??
    checkNumbers(body, family) ??
    checkWords(body, model, family) ??
    checkSize(body.size, model, family) ??
    checkPairs(body)
  )
}

/** Fills in the defaults of a request that passed the check. */
export function resolveRequest(body: ImageRequest): ResolvedRequest {
  const model = String(body.model ?? 'dall-e-2')
  const family = familyOf(model) ?? 'gpt-image'
  const size = body.size == null || body.size === 'auto' ? '1024x1024' : String(body.size)
  const [width = 1024, height = 1024] = size.split('x').map(Number)
  const quality = body.quality == null || body.quality === 'auto' ? 'medium' : String(body.quality)
  const transparent = body.background === 'transparent'
  return {
    model,
    family,
    prompt: String(body.prompt),
    n: Number(body.n ?? 1),
    size,
    width,
    height,
    quality,
    outputFormat: String(body.output_format ?? 'png'),
    background: transparent ? 'transparent' : 'opaque',
    transparent,
    asUrl: family !== 'gpt-image' && body.response_format !== 'b64_json'
  }
}

/** Tokens as OpenAI counts them: its table up to gpt-image-1.5, its calculator's formula from gpt-image-2 on; about one in for each word. */
export function usageOf(request: ResolvedRequest, imageTokens: number): unknown {
  const { model, prompt, n, quality, width, height } = request
  const textIn = prompt.split(/\s+/).length + 6
  const each = isCustomSize(model) ? calculatedTokens(width, height, quality) : tabledTokens(width, height, quality)
  const textOut = model === 'gpt-image-1.5' || model === 'chatgpt-image-latest' ? 120 * n : 0
  return {
    input_tokens: textIn + imageTokens,
    input_tokens_details: { image_tokens: imageTokens, text_tokens: textIn },
    output_tokens: each * n + textOut,
    ...(textOut > 0 ? { output_tokens_details: { image_tokens: each * n, text_tokens: textOut } } : {}),
    total_tokens: textIn + imageTokens + each * n + textOut
  }
}

function calculatedTokens(width: number, height: number, quality: string): number {
  const factor = quality === 'low' ? 16 : quality === 'medium' ? 48 : 96
  const [long, short] = [Math.max(width, height), Math.min(width, height)]
  const scaled = Math.floor((2 * factor * short + long) / (2 * long))
  return Math.ceil((factor * scaled * (2_000_000 + width * height)) / 4_000_000)
}

function tabledTokens(width: number, height: number, quality: string): number {
  const row = quality === 'low' ? [272, 408, 400] : quality === 'medium' ? [1056, 1584, 1568] : [4160, 6240, 6208]
  return row[width === height ? 0 : height > width ? 1 : 2] ?? 0
}

function familyOf(model: string): ModelFamily | undefined {
  if (model === 'dall-e-2' || model === 'dall-e-3') return model
  return /^gpt-image-(1|1-mini|1\.5|2|2\.[56]-(sunburst|flare))(-\d{4}-\d{2}-\d{2})?$|^chatgpt-image-latest$/.test(model)
    ? 'gpt-image'
    : undefined
}

function isCustomSize(model: string): boolean {
  return /^gpt-image-2/.test(model)
}

export function fieldsOf(model: string, family: ModelFamily): string[] {
  const always = ['prompt', 'model', 'n', 'size', 'quality', 'user', 'safety_identifier']
  if (family === 'dall-e-2') return [...always, 'response_format']
  if (family === 'dall-e-3') return [...always, 'response_format', 'style']
  const newest = /^gpt-image-2\.6/.test(model) ? ['complexity', 'frame_count', 'frame_duration_ms', 'svg'] : []
  return [...always, 'background', 'output_format', 'output_compression', 'moderation', 'stream', 'partial_images', ...newest]
}

function checkPrompt(prompt: unknown, family: ModelFamily): Refusal | undefined {
  if (prompt == null || prompt === '') return invalid('prompt', "Missing required parameter: 'prompt'.", 'missing_required_parameter')
  if (typeof prompt !== 'string') return wrongType('prompt', 'a string', prompt)
  const limit = { 'dall-e-2': 1000, 'dall-e-3': 4000, 'gpt-image': 32_000 }[family]
  if ([...prompt].length <= limit) return undefined
  const message = `Invalid 'prompt': string too long. Expected a string with maximum length ${limit}, but got a string with length ${[...prompt].length} instead.`
  return invalid('prompt', message, 'string_above_max_length')
}

function checkNumbers(body: ImageRequest, family: ModelFamily): Refusal | undefined {
  if (family === 'dall-e-3' && body.n != null && body.n !== 1) return { status: 400, message: 'You must provide n=1 for this model.' }
  for (const [name, least, most] of [
    ['n', 1, 10],
    ['output_compression', 0, 100],
    ['partial_images', 0, 3],
    ['frame_count', 2, 16]
  ] as const) {
    const value = body[name]
    if (value == null) continue
    if (!Number.isInteger(value)) return wrongType(name, 'an integer', value)
    if (Number(value) > most) return outOfRange(name, 'above maximum', `<= ${most}`, value, 'integer_above_max_value')
    if (Number(value) < least) return outOfRange(name, 'below minimum', `>= ${least}`, value, 'integer_below_min_value')
  }
  return undefined
}

function checkWords(body: ImageRequest, model: string, family: ModelFamily): Refusal | undefined {
  const newest = /^gpt-image-2\.6/.test(model)
  const finest = /^gpt-image-2\.[56]/.test(model) ? ['xhigh', 'max'] : []
  const quality = { 'dall-e-2': ['standard'], 'dall-e-3': ['standard', 'hd'], 'gpt-image': ['low', 'medium', 'high', ...finest, 'auto'] }[
    family
  ]
  const allowed: Record<string, readonly string[]> = {
    quality,
    response_format: ['url', 'b64_json'],
    style: ['vivid', 'natural'],
    background: ['transparent', 'opaque', 'auto'],
    output_format: ['png', 'jpeg', 'webp', ...(newest ? ['gif', 'svg'] : [])],
    moderation: ['low', 'auto'],
    complexity: ['low', 'medium', 'high']
  }
  for (const [name, words] of Object.entries(allowed)) {
    const value = body[name]
    if (value == null) continue
    if (typeof value !== 'string') return wrongType(name, 'a string', value)
    if (!words.includes(value)) return invalid(name, `Invalid value: '${value}'. Supported values are: ${listed(words)}.`, 'invalid_value')
  }
  return undefined
}

function checkSize(size: unknown, model: string, family: ModelFamily): Refusal | undefined {
  if (size == null || (size === 'auto' && family === 'gpt-image')) return undefined
  if (typeof size !== 'string') return wrongType('size', 'a string', size)
  if (family !== 'gpt-image') {
    const sizes = family === 'dall-e-2' ? ['256x256', '512x512', '1024x1024'] : ['1024x1024', '1792x1024', '1024x1792']
    return sizes.includes(size) ? undefined : { status: 400, message: 'The size is not supported by this model.', code: 'invalid_size' }
  }
  if (!isCustomSize(model)) {
    const sizes = ['1024x1024', '1024x1536', '1536x1024', 'auto']
    return sizes.includes(size)
      ? undefined
      : invalid('size', `Invalid value: '${size}'. Supported values are: ${listed(sizes)}.`, 'invalid_value')
  }
  const problem = customSizeProblem(size)
  return problem === undefined ? undefined : invalid('size', `Invalid size '${size}'. ${problem}`, 'invalid_size')
}

function customSizeProblem(size: string): string | undefined {
  const [, width, height] = /^(\d{1,5})x(\d{1,5})$/.exec(size)?.map(Number) ?? []
  if (!width || !height) return 'Expected WIDTHxHEIGHT.'
  if (width % 16 !== 0 || height % 16 !== 0) return 'Width and height must both be divisible by 16.'
  if (Math.max(width, height) > 3840) return 'The longest edge must be at most 3840 pixels.'
  if (Math.max(width, height) > 3 * Math.min(width, height)) return 'The aspect ratio must be between 1:3 and 3:1.'
  if (width * height < 655_360 || width * height > 8_294_400) return 'The image must have between 655360 and 8294400 pixels.'
  return undefined
}

function checkPairs(body: ImageRequest): Refusal | undefined {
  const format = body.output_format ?? 'png'
  if (body.background === 'transparent' && format !== 'png' && format !== 'webp') {
    return invalid(
      'background',
      `Transparent background is not supported for ${String(format).toUpperCase()} output format.`,
      'invalid_value'
    )
  }
  if (body.output_compression != null && body.output_compression !== 100 && format !== 'jpeg' && format !== 'webp') {
    const message = `Compression less than 100 is not supported for ${String(format).toUpperCase()} output format.`
    return invalid('output_compression', message, 'invalid_value')
  }
  return undefined
}

export function invalid(param: string, message: string, code: string): Refusal {
  return { status: 400, message, param, code }
}

function wrongType(param: string, expected: string, value: unknown): Refusal {
  const got = Array.isArray(value) ? 'an array' : typeof value === 'object' ? 'an object' : `a ${typeof value}`
  return invalid(param, `Invalid type for '${param}': expected ${expected}, but got ${got} instead.`, 'invalid_type')
}

function outOfRange(param: string, problem: string, expected: string, value: unknown, code: string): Refusal {
  return invalid(
    param,
    `Invalid '${param}': integer ${problem} value. Expected a value ${expected}, but got ${String(value)} instead.`,
    code
  )
}

function listed(words: readonly string[]): string {
  const quoted = words.map((word) => `'${word}'`)
  return quoted.length < 3 ? quoted.join(' and ') : `${quoted.slice(0, -1).join(', ')}, and ${quoted.at(-1)}`
}
