import { Resolution } from '../../gen/atelier/v1/image_pb.ts'
import { pixelsPerMegapixel, type RateLimit } from '../admission/rate-limits/rate-limit.ts'
import { gatewayError } from '../errors.ts'
import { estimateCost, orderOf } from '../ledger/estimate.ts'
import { imageChoices } from '../ledger/image-choices.ts'
import type { ImageTraits } from '../ledger/price.ts'
import type { Plan } from '../routing/plan.ts'
import type { PlannedRun } from '../tasks/run-order.ts'

/**
 * How many units of a metric a planned request takes, and the parameter that this follows from. Where the model chooses, the dearest and the
 * largest of what it may choose counts. Throws INVALID_PARAMETER where its cost is counted and not known.
 */
export function unitsOf(metric: RateLimit['metric'], { plan }: Pick<PlannedRun, 'plan'>): { units: number; param: string } {
  switch (metric) {
    case 'requests':
    case 'in_flight':
      return { units: 1, param: 'request' }
    case 'images':
      return { units: plan.work.n, param: 'n' }
    case 'megapixels':
      return { units: pixelsOf(plan) * plan.work.n, param: 'size' }
    case 'cost':
      return { units: microsOf(plan), param: 'model' }
  }
}

function microsOf({ candidate, work }: Plan): number {
  const { totalMicros, unknownReason } = estimateCost(orderOf(candidate, work))
  if (totalMicros !== undefined) return Number(totalMicros)
  const problem = `cannot be used with a rate limit that counts cost: ${unknownReason}`
  throw gatewayError('INVALID_PARAMETER', { param: 'model', problem }, { outcome: 'not_sent' })
}

function pixelsOf({ candidate, work }: Plan): number {
  const named = work.request.providerOptions?.size
  const [, width, height] = (typeof named === 'string' && /^(\d{1,5})x(\d{1,5})$/.exec(named)) || []
  if (width !== undefined && height !== undefined) return Number(width) * Number(height)
  return Math.max(...imageChoices(work.request, candidate.info.capabilities).map(pixelsOfImage))
}

/** What has no size in pixels is named by its tier, or has the size that models make by themselves. */
function pixelsOfImage({ size, tier }: ImageTraits): number {
  if (size) return size.width * size.height
  if (tier === Resolution.RESOLUTION_4K) return 16 * pixelsPerTier
  return tier === Resolution.RESOLUTION_2K ? 4 * pixelsPerTier : pixelsPerTier
}

const pixelsPerTier = 1.048576 * pixelsPerMegapixel
