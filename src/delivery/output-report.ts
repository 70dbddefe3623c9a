import { create } from '@bufbuild/protobuf'
import {
  type Dimensions,
  DimensionsSchema,
  OutputFormat,
  OutputFormatSchema,
  ResolvedParametersSchema,
  type Warning,
  WarningKind,
  WarningSchema
} from '../../gen/atelier/v1/image_pb.ts'
import { enumValue } from '../contract/wire-names.ts'
import type { GenerationEvent } from '../events.ts'
import type { FoundImage, OutputParam, RasterFormat } from './output-changes.ts'
import type { Reencoded } from './reencode.ts'

type Completed = Extract<GenerationEvent, { kind: 'completed' }>

/** Collects what became of the images of one request, for its `completed` event. */
export interface OutputReport {
  /** An image that went through as it was. */
  untouched(found: FoundImage): void
  /** An image that went through as it was although it is at odds with the request; `reason` is a sentence without its full stop. */
  leftAlone(found: FoundImage, changes: readonly OutputParam[], reason: string): void
  converted(image: ConvertedImage): void
  /** The event with the warnings added, and with the format and size that the files have in truth where any was converted. */
  complete(event: Completed): Completed
}

export interface ConvertedImage {
  from: FoundImage
  to: RasterFormat
  /** Why it was converted. */
  changes: readonly OutputParam[]
  /** Whether the provider's file carried a C2PA manifest. */
  lostCredentials: boolean
  result: Reencoded
}

export function createOutputReport(provider: string): OutputReport {
  const warnings = new Map<string, Warning>()
  const files: Pick<FoundImage, 'format' | 'size'>[] = []
  let anyConverted = false

  /** The images of one request mostly share their fate: each sentence is said once. */
  function warn(kind: WarningKind, param: OutputParam, message: string): void {
    warnings.set(`${param} ${message}`, create(WarningSchema, { kind, param, message }))
  }

  return {
    untouched(found) {
      files.push(found)
    },
    leftAlone(found, changes, reason) {
      files.push(found)
      for (const param of changes) warn(WarningKind.IGNORED, param, `the image stays as ${provider} made it: ${reason}`)
    },
    converted({ from, to, changes, lostCredentials, result }) {
      files.push({ format: to, size: { width: result.width, height: result.height } })
      anyConverted = true
      const why = changes[0] ?? 'output_format'
      if (lostCredentials) {
        const message = `the image had to be written anew, so the provenance metadata (C2PA) that ${provider} put into it was dropped`
        warn(WarningKind.CONVERTED, why, message)
      }
      if (result.isFlattened) warn(WarningKind.CONVERTED, 'output_format', 'transparent areas became white: jpeg files have none')
      if (result.isCropped) {
        const made = from.size ? `${from.size.width}x${from.size.height} has` : 'the image that was made has'
        const message = `${made} another ratio than ${result.width}x${result.height}, so the image was cut to it at its centre`
        warn(WarningKind.CONVERTED, 'size', message)
      }
    },
    complete(event) {
      const added = warnings.size === 0 ? {} : { warnings: [...(event.warnings ?? []), ...warnings.values()] }
      if (!anyConverted) return warnings.size === 0 ? event : { ...event, ...added }
      const { size: _, ...claimed } = event.resolved ?? create(ResolvedParametersSchema)
      const size = commonSize(files)
      const resolved = create(ResolvedParametersSchema, { ...claimed, outputFormat: commonFormat(files), ...(size && { size }) })
      return { ...event, ...added, resolved }
    }
  }
}

/** Unspecified where the files differ in it. */
function commonFormat(files: readonly Pick<FoundImage, 'format' | 'size'>[]): OutputFormat {
  const [format, ...others] = new Set(files.map((file) => file.format))
  if (format === undefined || others.length > 0) return OutputFormat.UNSPECIFIED
  return enumValue(OutputFormatSchema, format) ?? OutputFormat.UNSPECIFIED
}

function commonSize(files: readonly Pick<FoundImage, 'format' | 'size'>[]): Dimensions | undefined {
  const first = files[0]?.size
  const isCommon = first && files.every(({ size }) => size?.width === first.width && size.height === first.height)
  return isCommon ? create(DimensionsSchema, { width: first.width, height: first.height }) : undefined
}
