import type { JsonObject, JsonValue } from '@bufbuild/protobuf'
import { InputFidelitySchema } from '../../gen/atelier/v1/image_pb.ts'
import { wireName } from '../contract/wire-names.ts'
import { fileExtension } from '../images/media-type.ts'
import type { FormPart } from './multipart-body.ts'
import type { EditInputs, InputImage } from './provider.ts'

/**
 * The form of `POST images/edits`, as OpenAI's SDKs fill it in: the fields as text, one image as `image` and several as `image[]`, the
 * mask as it is. Among the fields nothing that names a file counts.
 */
export function toForm(fields: JsonObject, { images, mask, inputFidelity }: EditInputs): FormPart[] {
  const fidelity = wireName(InputFidelitySchema, inputFidelity)
  const texts = Object.entries(fields).filter(([name]) => !/^(image|images|mask)(\[.*)?$/.test(name) && name !== 'input_fidelity')
  return [
    ...texts.flatMap(([name, value]) => textParts(name, value)),
    ...(fidelity === undefined ? [] : [{ name: 'input_fidelity', value: fidelity }]),
    ...images.map((image, index) => filePart(images.length === 1 ? 'image' : 'image[]', image, `image-${index + 1}`)),
    ...(mask ? [filePart('mask', mask, 'mask')] : [])
  ]
}

/** Null is unset, lists and objects are written in brackets. */
function textParts(name: string, value: JsonValue): FormPart[] {
  if (value === null) return []
  if (Array.isArray(value)) return value.flatMap((item) => textParts(`${name}[]`, item))
  if (typeof value === 'object') return Object.entries(value).flatMap(([key, item]) => textParts(`${name}[${key}]`, item))
  return [{ name, value: String(value) }]
}

function filePart(name: string, file: InputImage, title: string): FormPart {
  return { name, file, fileName: `${title}.${fileExtension(file.mediaType)}` }
}
