import { OutputFormat, OutputFormatSchema, WarningKind } from '../../gen/atelier/v1/image_pb.ts'
import type { GenerateImagesRequest } from '../../gen/atelier/v1/image_service_pb.ts'
import type { ModelCapabilities } from '../../gen/atelier/v1/model_pb.ts'
import { wireName } from '../contract/wire-names.ts'
import type { WishedOutput } from './plan.ts'
import type { Warn } from './translate.ts'

/** The formats into which any image can be converted here. */
export const convertible: readonly OutputFormat[] = [OutputFormat.PNG, OutputFormat.JPEG, OutputFormat.WEBP]

/** The formats that are compressed with losses, more or less as asked. */
export const compressible: readonly OutputFormat[] = [OutputFormat.JPEG, OutputFormat.WEBP]

/**
 * Takes file format and compression out of a request as far as the serving model cannot honour them, and returns what the files must be
 * made instead. An image that is changed afterwards anyway is asked for without losses.
 */
export function translateFormat(
  out: GenerateImagesRequest,
  serving: string,
  can: ModelCapabilities,
  isScaled: boolean,
  warn: Warn
): Pick<WishedOutput, 'format' | 'compression'> {
  const format = out.outputFormat
  const compression = out.outputCompression
  const canChoose = can.outputFormats.length > 1
  const isMade = can.outputFormats.includes(format)
  if (format && !isMade) {
    const name = wireName(OutputFormatSchema, format)
    if (convertible.includes(format)) warn(WarningKind.EMULATED, 'output_format', `${serving} makes no ${name} files: converted`)
    else warn(WarningKind.IGNORED, 'output_format', `${serving} makes no ${name} files, and none can be converted into one`)
  }
  const compresses = compressible.includes(format)
  const isLossy = compression !== undefined && compression < 100
  if (isLossy && !compresses) {
    warn(WarningKind.IGNORED, 'output_compression', 'only jpeg and webp files are compressed with losses')
  } else if (isLossy && !can.outputCompression) {
    warn(WarningKind.EMULATED, 'output_compression', `${serving} does not compress its files: done afterwards`)
  }

  const isAsked = canChoose && isMade && !isScaled && (!isLossy || can.outputCompression)
  if (!isAsked) {
    const isConverted = isScaled || (compresses && isLossy)
    out.outputFormat =
      isConverted && canChoose && can.outputFormats.includes(OutputFormat.PNG) ? OutputFormat.PNG : OutputFormat.UNSPECIFIED
  }
  if (!isAsked || !compresses || !can.outputCompression) delete out.outputCompression
  if (isAsked || !convertible.includes(format) || (isMade && !isScaled && !(compresses && isLossy))) return {}
  return { format, ...(compresses && compression !== undefined ? { compression } : {}) }
}
