import { isUtf8 } from 'node:buffer'
import { GenerateImagesRequestSchema } from '../../gen/atelier/v1/image_service_pb.ts'
import { formToJson } from '../contract/form-fields.ts'
import { gatewayError } from '../errors.ts'
import type { InputSource } from '../services/take-inputs.ts'
import { type EditBody, maxImages, type TakeUpload, tooManyImages } from './edit-body.ts'
import { type MultipartPart, readMultipart } from './multipart.ts'

export interface EditFormOptions {
  boundary: string
  /** Of all text fields together. */
  maxTextBytes: number
}

/**
 * Reads the body of an edit as forms send it: `image`, once or repeated, `image[]` or `image[0]` and so on, and `mask`, in any place
 * among the text fields. Files go to `take` as they arrive. Throws MALFORMED_BODY, or INVALID_PARAMETER naming the part at fault.
 */
export async function readEditForm(source: AsyncIterable<Uint8Array>, options: EditFormOptions, take: TakeUpload): Promise<EditBody> {
  const texts: [string, string][] = []
  const images: { place: number; source: InputSource }[] = []
  const names = new Set<string>()
  let mask: InputSource | undefined
  let textBytes = 0

  for await (const part of readMultipart(source, options.boundary, { maxParts })) {
    const { name } = part
    if (await isLeftEmpty(part)) continue
    const place = placeOf(name, images.length)
    if (!isFile(part)) {
      if (place !== undefined || name === 'mask') throw refused(name, 'must be a file; as JSON, send images: [{"image_url": "https://…"}]')
      const text = await readText(part, options.maxTextBytes - textBytes, options.maxTextBytes)
      textBytes += text.length
      texts.push([name, text.toString('utf8')])
    } else if (place !== undefined) {
      if (images.length === maxImages) throw tooManyImages('image')
      if (/\d/.test(name) && names.has(name)) throw refused(name, 'was sent twice')
      names.add(name)
      const param = name === 'image' && images.length === 0 ? name : `image[${place}]`
      images.push({ place, source: { param, kind: 'upload', upload: await take(part.chunks, param) } })
    } else if (name === 'mask') {
      if (mask) throw refused(name, 'was sent twice')
      mask = { param: name, kind: 'upload', upload: await take(part.chunks, name) }
    } else {
      throw refused(name, 'is a file that has no place here: the files of an edit are image and mask')
    }
  }
  if (images.length === 0) throw gatewayError('MISSING_PARAMETER', { param: 'image' })
  return {
    fields: formToJson(GenerateImagesRequestSchema, texts, { booleans: ['stream'] }),
    images: images.sort((a, b) => a.place - b.place).map((image) => image.source),
    mask
  }
}

/** The files, and more fields than any client sends. */
const maxParts = 128

/** Where an image stands among the others; undefined for the name of another field. */
function placeOf(name: string, count: number): number | undefined {
  const [, index] = /^image(?:\[(\d{0,3})\])?$/.exec(name) ?? [undefined, 'none']
  if (index === 'none') return undefined
  return index === undefined || index === '' ? count : Number(index)
}

function isFile({ filename, contentType }: MultipartPart): boolean {
  return filename !== undefined || !(contentType === '' || contentType === 'text/plain')
}

/** Whether it is what a browser sends for a file that was not chosen; what it holds otherwise stays to be read. */
async function isLeftEmpty(part: MultipartPart): Promise<boolean> {
  if (part.filename !== '') return false
  const chunks = part.chunks[Symbol.asyncIterator]()
  const first = await chunks.next()
  if (first.done) return true
  part.chunks = (async function* () {
    for (let next: IteratorResult<Uint8Array> = first; !next.done; next = await chunks.next()) yield next.value
  })()
  return false
}

async function readText(part: MultipartPart, leftBytes: number, maxBytes: number): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  let sizeBytes = 0
  for await (const chunk of part.chunks) {
    sizeBytes += chunk.length
    if (sizeBytes > leftBytes) throw refused(part.name, `takes the text of the form above the limit of ${maxBytes} bytes`)
    chunks.push(chunk)
  }
  const text = Buffer.concat(chunks, sizeBytes)
  if (!isUtf8(text)) throw refused(part.name, 'is not valid UTF-8')
  return text
}

function refused(name: string, problem: string): Error {
  return gatewayError('INVALID_PARAMETER', { param: name.slice(0, 60), problem })
}
