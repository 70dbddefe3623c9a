import { sniffMediaType } from '../../src/images/media-type.ts'

export type JsonMap = { [name: string]: unknown }

export interface Refusal {
  code: number
  status: string
  message: string
  details?: JsonMap[]
}

export interface ResolvedRequest {
  prompt: string
  width: number
  height: number
  outputFormat: 'png' | 'jpeg'
  seed: string
}

interface FakeModel {
  ratios: readonly string[]
  sizes: readonly string[]
  outputFormat: 'png' | 'jpeg'
  /** Most images that a prompt may come with. */
  references: number
}

const tenRatios = ['1:1', '2:3', '3:2', '3:4', '4:3', '4:5', '5:4', '9:16', '16:9', '21:9']
const fourteenRatios = ['1:1', '1:4', '1:8', '2:3', '3:2', '3:4', '4:1', '4:3', '4:5', '5:4', '8:1', '9:16', '16:9', '21:9']

/** Preview names ended on 2026-06-25 and answer 404 like names that never were. */
const models: Readonly<Record<string, FakeModel>> = {
  'gemini-nano-banana-2.1': { ratios: fourteenRatios, sizes: ['1K', '2K', '4K'], outputFormat: 'png', references: 14 },
  'gemini-3-pro-image': { ratios: tenRatios, sizes: ['1K', '2K', '4K'], outputFormat: 'jpeg', references: 14 },
  'gemini-3.1-flash-image': { ratios: fourteenRatios, sizes: ['512', '1K', '2K', '4K'], outputFormat: 'jpeg', references: 14 },
  'gemini-3.1-flash-lite-image': { ratios: tenRatios, sizes: ['1K'], outputFormat: 'jpeg', references: 14 },
  'gemini-2.5-flash-image': { ratios: tenRatios, sizes: [], outputFormat: 'png', references: 3 }
}

/** Pixels at 1K, from ai.google.dev/gemini-api/docs/image-generation; the four extreme ratios as a user measured them. */
const pixels: Readonly<Record<string, readonly [number, number]>> = {
  '1:1': [1024, 1024],
  '2:3': [848, 1264],
  '3:2': [1264, 848],
  '3:4': [896, 1200],
  '4:3': [1200, 896],
  '4:5': [928, 1152],
  '5:4': [1152, 928],
  '9:16': [768, 1376],
  '16:9': [1376, 768],
  '21:9': [1584, 672],
  '1:4': [512, 2064],
  '4:1': [2064, 512],
  '1:8': [352, 2928],
  '8:1': [2928, 352]
}

const factors: Readonly<Record<string, number>> = { '512': 0.5, '1K': 1, '2K': 2, '4K': 4 }

/** What `generateContent` of the v1beta API has against a request. Fields of Vertex AI alone are unknown here, as every other one. */
export function checkRequest(model: string, body: JsonMap): Refusal | undefined {
  const known = models[model]
  if (!known) {
    const message = `models/${model} is not found for API version v1beta, or is not supported for generateContent. Call ModelService.ListModels to see the list of available models and their supported methods.`
    return { code: 404, status: 'NOT_FOUND', message }
  }
  const generationConfig = asMap(body.generationConfig)
  const imageConfig = asMap(generationConfig.imageConfig)
  return (
    unknownField(body, '', bodyFields) ??
    unknownField(generationConfig, 'generation_config', generationFields) ??
    unknownField(imageConfig, 'generation_config.image_config', ['aspectRatio', 'imageSize']) ??
    checkContents(body.contents) ??
    checkImages(imagesIn(body), known) ??
    checkGeneration(generationConfig) ??
    checkImageConfig(imageConfig, known)
  )
}

/** What a request that passed the checks asks for. Without a ratio the model chooses: here it is square. */
export function resolveRequest(model: string, body: JsonMap): ResolvedRequest {
  const generationConfig = asMap(body.generationConfig)
  const { aspectRatio = '1:1', imageSize = '1K' } = asMap(generationConfig.imageConfig)
  const [width, height] = pixels[String(aspectRatio)] ?? [1024, 1024]
  const factor = factors[String(imageSize)] ?? 1
  const prompt = promptOf(body)
  return {
    prompt,
    width: width * factor,
    height: height * factor,
    outputFormat: models[model]?.outputFormat ?? 'png',
    seed: `${prompt} ${String(generationConfig.seed)}`
  }
}

/** The text of the first content. */
export function promptOf(body: JsonMap): string {
  const [content] = Array.isArray(body.contents) ? body.contents : []
  const { parts } = asMap(content)
  return Array.isArray(parts) ? parts.map((part) => String(asMap(part).text ?? '')).join('') : ''
}

export interface InlineImage {
  mimeType: string
  bytes: Buffer
}

/** The images of the first content. */
export function imagesIn(body: JsonMap): InlineImage[] {
  const [content] = Array.isArray(body.contents) ? body.contents : []
  const { parts } = asMap(content)
  return (Array.isArray(parts) ? parts : []).flatMap((part) => {
    const { inlineData } = asMap(part)
    if (inlineData === undefined) return []
    const { mimeType, data } = asMap(inlineData)
    return [{ mimeType: String(mimeType), bytes: Buffer.from(String(data), 'base64') }]
  })
}

const bodyFields = ['contents', 'generationConfig', 'safetySettings', 'systemInstruction', 'tools', 'toolConfig', 'cachedContent']
const generationFields = [
  ...['responseModalities', 'imageConfig', 'seed', 'temperature', 'topP', 'topK', 'candidateCount', 'maxOutputTokens', 'stopSequences'],
  ...['thinkingConfig', 'presencePenalty', 'frequencyPenalty', 'mediaResolution', 'responseMimeType']
]

function unknownField(fields: JsonMap, place: string, known: readonly string[]): Refusal | undefined {
  const strange = Object.keys(fields).find((name) => !known.includes(name))
  if (strange === undefined) return undefined
  const at = place === '' ? '' : ` at '${place}'`
  return invalid(`Invalid JSON payload received. Unknown name "${strange}"${at}: Cannot find field.`, place)
}

function checkContents(contents: unknown): Refusal | undefined {
  if (contents === undefined) return invalid('* GenerateContentRequest.contents: contents is not specified\n')
  const { role, parts } = asMap(Array.isArray(contents) ? contents[0] : undefined)
  if (!Array.isArray(parts) || parts.length === 0) return invalid('Request has empty input.')
  if (role !== undefined && role !== 'user' && role !== 'model') return invalid('Please use a valid role: user, model.')
  return undefined
}

const imageTypes = ['image/png', 'image/jpeg', 'image/webp', 'image/heic', 'image/heif']

function checkImages(images: readonly InlineImage[], { references }: FakeModel): Refusal | undefined {
  if (images.length > references) return invalid(`Please use at most ${references} images for this model.`)
  const stranger = images.find(({ mimeType }) => !imageTypes.includes(mimeType))
  if (stranger) return invalid(`Unsupported MIME type: ${stranger.mimeType}`)
  const broken = images.some(({ bytes, mimeType }) => sniffMediaType(bytes) !== mimeType)
  return broken
    ? invalid('Unable to process input image. Please retry or report in https://developers.generativeai.google/guide/troubleshooting')
    : undefined
}

function checkGeneration({ responseModalities, seed, temperature, candidateCount }: JsonMap): Refusal | undefined {
  if (!Array.isArray(responseModalities) || !responseModalities.includes('IMAGE')) {
    return invalid('This fake makes images only: responseModalities must include IMAGE.')
  }
  if (seed !== undefined && (!Number.isInteger(seed) || Math.abs(Number(seed)) >= 2 ** 31)) {
    return invalid(`Invalid value at 'generation_config.seed' (TYPE_INT32), ${JSON.stringify(seed)}`, 'generation_config.seed')
  }
  if (temperature !== undefined && !(Number(temperature) >= 0 && Number(temperature) <= 2)) {
    const message = `* GenerateContentRequest.generation_config.temperature: temperature must be in the range [0.0, 2.0].\n`
    return invalid(message, 'generation_config.temperature')
  }
  if (candidateCount !== undefined && candidateCount !== 1) return invalid('Multiple candidates is not enabled for this model')
  return undefined
}

function checkImageConfig({ aspectRatio, imageSize }: JsonMap, model: FakeModel): Refusal | undefined {
  if (aspectRatio !== undefined && !fourteenRatios.includes(String(aspectRatio))) {
    const listed = fourteenRatios.map((ratio) => `'${ratio}'`)
    const message = `* GenerateContentRequest.generation_config.image_config.aspect_ratio: aspect_ratio must be one of ${listed.slice(0, -1).join(', ')}, or ${listed.at(-1)}.\n`
    return invalid(message)
  }
  if (aspectRatio !== undefined && !model.ratios.includes(String(aspectRatio))) {
    return invalid(`Aspect ratio ${String(aspectRatio)} is not supported for this model`)
  }
  if (imageSize !== undefined && factors[String(imageSize)] === undefined) {
    return invalid(`Unsupported image_size '${String(imageSize)}'. Supported values are: 1K, 2K, 4K, 512, 512P, 512PX.`)
  }
  if (imageSize !== undefined && !model.sizes.includes(String(imageSize))) {
    return invalid(`Image size ${String(imageSize)} is not supported for this model`)
  }
  return undefined
}

function invalid(message: string, field?: string): Refusal {
  const violations = [{ ...(field ? { field } : {}), description: message }]
  const badRequest = { '@type': 'type.googleapis.com/google.rpc.BadRequest', fieldViolations: violations }
  return { code: 400, status: 'INVALID_ARGUMENT', message, ...(field === undefined ? {} : { details: [badRequest] }) }
}

function asMap(value: unknown): JsonMap {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonMap) : {}
}
