import { Quality, Resolution } from '../../gen/atelier/v1/image_pb.ts'
import type { GenerateImagesRequest } from '../../gen/atelier/v1/image_service_pb.ts'
import type { ModelCapabilities, SizeRange } from '../../gen/atelier/v1/model_pb.ts'
import { askedSize } from '../routing/contract-rules.ts'
import type { Shape } from '../routing/size.ts'
import type { ImageTraits } from './price.ts'

/**
 * Every image that a model may make of a request in its own terms: one where the request or the model's default says all, several where
 * the model itself chooses. Of a range of sizes only the default and the largest square stand for all: no other one is dearer.
 */
export function imageChoices(request: GenerateImagesRequest, can: ModelCapabilities | undefined): ImageTraits[] {
  const qualities = qualityChoices(request.quality, can?.qualities ?? [])
  const tier = request.resolution || tierOf(can)
  return sizeChoices(request, can).flatMap((size) => qualities.map((quality) => ({ size, quality, tier })))
}

/** Of qualities without `auto`, the first is the default. */
function qualityChoices(asked: Quality, known: readonly Quality[]): readonly Quality[] {
  if (asked && asked !== Quality.AUTO) return [asked]
  if (known.includes(Quality.AUTO)) return known.filter((quality) => quality !== Quality.AUTO)
  return [known[0] ?? Quality.UNSPECIFIED]
}

function sizeChoices(request: GenerateImagesRequest, can: ModelCapabilities | undefined): readonly (Shape | undefined)[] {
  const asked = askedSize(request)
  if (asked !== undefined && asked !== 'auto') return [asked]
  const rule = can?.size?.rule
  if (rule?.case === 'list') return rule.value.auto ? rule.value.sizes : rule.value.sizes.slice(0, 1)
  if (rule?.case !== 'range') return [undefined]
  const { auto, defaultSize } = rule.value
  return auto ? [...(defaultSize ? [defaultSize] : []), largestSquare(rule.value)] : [defaultSize]
}

function largestSquare({ step, maxEdge, maxPixels }: SizeRange): Shape {
  const most = maxPixels === 0n ? maxEdge : Math.min(maxEdge, Math.floor(Math.sqrt(Number(maxPixels))))
  const edge = most - (most % (step || 1))
  return { width: edge, height: edge }
}

function tierOf(can: ModelCapabilities | undefined): Resolution {
  const rule = can?.size?.rule
  return rule?.case === 'ratioTiers' ? (rule.value.tiers[0] ?? Resolution.RESOLUTION_UNSPECIFIED) : Resolution.RESOLUTION_UNSPECIFIED
}
