import type { JsonObject, JsonValue } from '@bufbuild/protobuf'
import { isObject } from '../contract/json-object.ts'
import { gatewayError, invalidParameter } from '../errors.ts'
import { JsonError, readJson } from '../images/read-json.ts'
import type { InputSource } from '../services/take-inputs.ts'
import { type EditBody, maxImages, type TakeUpload, tooManyImages } from './edit-body.ts'
import { readImageUrl } from './image-url.ts'

/**
 * Reads the body of an edit as JSON: `images` and `mask` as `{image_url}` or `{file_id}`, and `byImage` also `image` as one URL or several.
 * Data URLs go to `take` as they arrive. Throws MALFORMED_BODY, or INVALID_PARAMETER naming the reference at fault.
 */
export async function readEditJson(
  source: AsyncIterable<Uint8Array>,
  options: { maxTextBytes: number; byImage: boolean },
  take: TakeUpload
): Promise<EditBody> {
  const lifted = new Map<string, InputSource>()
  let document: JsonValue = null
  try {
    for await (const part of readJson(source, {
      lift: ['images[].image_url', 'mask.image_url', ...(options.byImage ? ['image', 'image[]'] : [])],
      maxBytes: options.maxTextBytes,
      refusePrototypeKeys: true
    })) {
      if (part.kind === 'value') document = part.value
      else {
        const param = spell(part.path)
        if (Number(part.path[1]) >= maxImages) throw tooManyImages(String(part.path[0]))
        if (lifted.has(param)) throw invalidParameter(param, 'was sent twice')
        lifted.set(param, await readImageUrl(part.chars, param, take))
      }
    }
  } catch (error) {
    if (error instanceof JsonError) throw gatewayError('MALFORMED_BODY', { problem: error.message }, { cause: error })
    throw error
  }
  if (!isObject(document)) throw gatewayError('MALFORMED_BODY', { problem: 'it must be a JSON object' })
  return toEditBody(document, lifted, options.byImage)
}

function toEditBody(document: JsonObject, lifted: Map<string, InputSource>, byImage: boolean): EditBody {
  const { images = null, mask = null, image = null, ...fields } = document
  if (image !== null && !byImage) throw invalidParameter('image', 'is for forms: as JSON, send images: [{"image_url": "https://…"}]')
  if (image !== null && images !== null) throw invalidParameter('image', 'excludes images: send one of them')
  const take = (reference: JsonValue, param: string): InputSource => {
    if (!isObject(reference)) throw invalidParameter(param, 'must be an object: {"image_url": "https://…"} or {"file_id": "…"}')
    const { image_url: url = null, file_id: id = null, ...others } = reference
    const stranger = Object.keys(others)[0]
    if (stranger !== undefined) throw invalidParameter(`${param}.${stranger.slice(0, 60)}`, 'is not known here')
    if ((url === null) === (id === null)) throw invalidParameter(param, 'must have one of image_url and file_id')
    if (id !== null) {
      if (typeof id !== 'string' || id === '') throw invalidParameter(`${param}.file_id`, 'must be a string')
      return { param: `${param}.file_id`, kind: 'image_id', imageId: id }
    }
    const source = lifted.get(`${param}.image_url`)
    if (url !== '' || !source) throw invalidParameter(`${param}.image_url`, 'must be a string')
    lifted.delete(source.param)
    return source
  }
  const takeUrl = (url: JsonValue, param: string): InputSource => {
    const source = lifted.get(param)
    if (url !== '' || !source) throw invalidParameter(param, 'must be a URL, or an array of URLs')
    lifted.delete(param)
    return source
  }
  const takeAll = (): InputSource[] => {
    if (typeof image === 'string') return [takeUrl(image, 'image')]
    if (image !== null) return listIn(image, 'image').map((url, index) => takeUrl(url, `image[${index}]`))
    return listIn(images, byImage && images === null ? 'image' : 'images').map((reference, index) => take(reference, `images[${index}]`))
  }
  const body = { fields, images: takeAll(), mask: mask === null ? undefined : take(mask, 'mask') }
  const [overwritten] = lifted.keys()
  if (overwritten !== undefined) throw invalidParameter(overwritten.replace(/[[.].*/, ''), 'was sent twice')
  return body
}

function listIn(value: JsonValue, param: string): JsonValue[] {
  if (value === null) throw gatewayError('MISSING_PARAMETER', { param })
  if (!Array.isArray(value)) throw invalidParameter(param, 'must be an array')
  if (value.length === 0) throw gatewayError('MISSING_PARAMETER', { param })
  if (value.length > maxImages) throw tooManyImages(param)
  return value
}

function spell(path: readonly (string | number)[]): string {
  return path
    .map((step) => (typeof step === 'number' ? `[${step}]` : `.${step}`))
    .join('')
    .slice(1)
}
