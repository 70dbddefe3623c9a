import sharp from 'sharp'
import { sniffMediaType } from '../../src/images/media-type.ts'
import { checkRequest, fieldsOf, type ImageRequest, invalid, type ModelFamily, type Refusal } from './fake-openai-rules.ts'

export interface RecordedFile {
  /** Name of the part, e.g. "image[]". */
  name: string
  fileName: string
  /** As the part states it. */
  mediaType: string
  bytes: Buffer
}

const numbers = ['n', 'output_compression', 'partial_images']

/** A multipart body; undefined where it is none. */
export async function readForm(bytes: Buffer, contentType = ''): Promise<{ body: ImageRequest; files: RecordedFile[] } | undefined> {
  if (!contentType.startsWith('multipart/form-data')) return undefined
  const body: ImageRequest = {}
  const files: RecordedFile[] = []
  const form = await new Response(new Uint8Array(bytes), { headers: { 'content-type': contentType } }).formData()
  for (const [name, value] of form) {
    if (typeof value !== 'string') {
      files.push({ name, fileName: value.name, mediaType: value.type, bytes: Buffer.from(await value.arrayBuffer()) })
    } else if (numbers.includes(name) && value.trim() !== '' && Number.isFinite(Number(value))) body[name] = Number(value)
    else body[name] = name === 'stream' && /^(true|false)$/.test(value) ? value === 'true' : value
  }
  return { body, files }
}

/** What OpenAI has against the form of an edit; undefined where nothing. */
export async function checkEdit(
  body: ImageRequest,
  files: readonly RecordedFile[],
  retired: readonly string[]
): Promise<Refusal | undefined> {
  const model = String(body.model ?? 'dall-e-2')
  if (model === 'dall-e-3') return invalid('model', "Invalid value: 'dall-e-3'. Value must be 'dall-e-2'.", 'invalid_value')
  return checkRequest(body, retired, editFieldsOf) ?? checkFidelity(model, body.input_fidelity) ?? (await checkFiles(model, files))
}

/** Tokens of the input images, as OpenAI documents them for gpt-image-1: 65 and 129 for each tile, more for a high fidelity. */
export async function imageTokensOf(body: ImageRequest, files: readonly RecordedFile[]): Promise<number> {
  const sizes = await Promise.all(imagesIn(files).map(({ bytes }) => sharp(bytes).metadata()))
  return sizes.reduce((sum, { width, height }) => {
    const scale = 512 / Math.min(width, height)
    const tiles = Math.ceil((width * scale) / 512) * Math.ceil((height * scale) / 512)
    const fidelity = body.input_fidelity === 'high' ? (width === height ? 4160 : 6240) : 0
    return sum + 65 + 129 * tiles + fidelity
  }, 0)
}

function editFieldsOf(model: string, family: ModelFamily): string[] {
  return [...fieldsOf(model, family).filter((name) => name !== 'svg' && name !== 'style'), 'input_fidelity']
}

/** gpt-image-1 and 1.5 take both, 1-mini takes low, and from gpt-image-2 on every image is kept to closely. */
function checkFidelity(model: string, fidelity: unknown): Refusal | undefined {
  if (fidelity === undefined) return undefined
  if (fidelity !== 'low' && fidelity !== 'high') {
    return invalid('input_fidelity', `Invalid value: '${fidelity}'. Supported values are: 'low' and 'high'.`, 'invalid_value')
  }
  const takes = /^gpt-image-2|^dall-e/.test(model) ? [] : model === 'gpt-image-1-mini' ? ['low'] : ['low', 'high']
  if (takes.includes(fidelity)) return undefined
  const message = `The model '${model}' does not support the 'input_fidelity' parameter.`
  return invalid('input_fidelity', message, 'invalid_input_fidelity_model')
}

async function checkFiles(model: string, files: readonly RecordedFile[]): Promise<Refusal | undefined> {
  const images = imagesIn(files)
  const [first] = images
  if (!first) return invalid('image', "Missing required parameter: 'image'.", 'missing_required_parameter')
  const stranger = files.find((file) => file.name !== 'mask' && !images.includes(file))
  if (stranger) return invalid(stranger.name, `Unknown parameter: '${stranger.name}'.`, 'unknown_parameter')
  const most = model === 'dall-e-2' ? 1 : 16
  if (images.length > most) {
    const message = `Invalid 'image': array too long. Expected an array with maximum length ${most}, but got an array with length ${images.length} instead.`
    return invalid('image', message, 'array_above_max_length')
  }
  for (const [index, image] of images.entries()) {
    const problem = checkImage(image, images.length === 1 ? 'image' : `image[${index}]`, index + 1)
    if (problem) return problem
  }
  return checkMask(
    first,
    files.filter(({ name }) => name === 'mask')
  )
}

function imagesIn(files: readonly RecordedFile[]): RecordedFile[] {
  return files.filter(({ name }) => /^image(\[\d*\])?$/.test(name))
}

const largestBytes = 50_000_000

function checkImage({ mediaType, bytes }: RecordedFile, param: string, ordinal: number): Refusal | undefined {
  if (!['image/jpeg', 'image/png', 'image/webp'].includes(mediaType)) {
    const message = `Invalid file '${param}': unsupported mimetype ('${mediaType}'). Supported file formats are 'image/jpeg', 'image/png', and 'image/webp'.`
    return invalid(param, message, 'unsupported_file_mimetype')
  }
  if (bytes.length >= largestBytes) return invalid(param, `Invalid file '${param}': must be smaller than 50MB.`, 'invalid_value')
  if (sniffMediaType(bytes) === mediaType) return undefined
  return {
    status: 400,
    message: `Invalid image file or mode for image ${ordinal}, please check your image file.`,
    code: 'invalid_image_file'
  }
}

async function checkMask(first: RecordedFile, masks: readonly RecordedFile[]): Promise<Refusal | undefined> {
  const [mask] = masks
  if (!mask) return undefined
  const refuse = (problem: string) => invalid('mask', `Invalid mask image format - ${problem}.`, 'invalid_mask_image_format')
  if (masks.length > 1 || sniffMediaType(mask.bytes) !== 'image/png') return refuse('mask must be one PNG')
  const [image, { width, height, hasAlpha }] = await Promise.all([sharp(first.bytes).metadata(), sharp(mask.bytes).metadata()])
  if (!hasAlpha) return refuse('mask image missing alpha channel')
  return width === image.width && height === image.height ? undefined : refuse('mask size does not match image size')
}
