import { Quality, Size, Style } from '../../gen/atelier/v1/image_pb.ts'
import type { GenerateImagesRequest } from '../../gen/atelier/v1/image_service_pb.ts'
import { copyMessage } from '../contract/copy-message.ts'

export interface WithDefaults {
  request: GenerateImagesRequest
  /** The parameters that the caller left out and that a default was written for. Whatever becomes of them, it is no news to the caller. */
  defaulted: ReadonlySet<string>
}

/**
 * Writes out what OpenAI documents for parameters that are left out with its DALL·E models; it binds where another model serves the name.
 * Of a serving model that nothing is known of it is not sure that it takes more than a size.
 */
export function withContractDefaults(request: GenerateImagesRequest, name: string, servedByKnown: boolean): WithDefaults {
  const defaulted = new Set<string>()
  if (!name.startsWith('dall-e-')) return { request, defaulted }
  const out = copyMessage(request)
  const isOpen = (param: string) => request.providerOptions?.[param] === undefined
  if (out.sizeSelector.case === undefined && out.resolution === 0 && isOpen('size')) {
    out.sizeSelector = { case: 'size', value: Size.SIZE_1024X1024 }
    defaulted.add('size')
  }
  if (servedByKnown && !out.quality && isOpen('quality')) {
    out.quality = Quality.STANDARD
    defaulted.add('quality')
  }
  if (servedByKnown && name === 'dall-e-3' && !out.style && isOpen('style')) {
    out.style = Style.VIVID
    defaulted.add('style')
  }
  return { request: out, defaulted }
}
