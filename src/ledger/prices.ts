import { create } from '@bufbuild/protobuf'
import {
  type Cost,
  type CostEstimate,
  CostSchema,
  Quality,
  QualitySchema,
  Resolution,
  ResolutionSchema
} from '../../gen/atelier/v1/image_pb.ts'
import type { GenerateImagesRequest } from '../../gen/atelier/v1/image_service_pb.ts'
import { wireName } from '../contract/wire-names.ts'
import { askedSize } from '../routing/contract-rules.ts'
import type { Resolution as ModelResolution } from '../routing/models.ts'
import type { Plan } from '../routing/plan.ts'
import { estimateCost, orderOf } from './estimate.ts'
import { type Asked, createPriceList, type PriceListOptions } from './price-list.ts'

/** A request on its way: as the caller wrote it, and how it is served. */
export interface PlannedRequest {
  request: GenerateImagesRequest
  resolution: ModelResolution
  plan: Plan
}

/** What requests cost: at the provider, by the catalog, and what the operator charges for them. */
export interface Prices {
  /** Before anything is sent. */
  estimate(planned: PlannedRequest): CostEstimate
  /** The cost with what is charged for the delivered images; undefined where neither is known. */
  withCharge(cost: Cost | undefined, planned: PlannedRequest, delivered: number): Cost | undefined
}

export function createPrices(options: PriceListOptions): Prices {
  const list = createPriceList(options)
  return {
    estimate(planned) {
      const { candidate, work } = planned.plan
      const estimate = estimateCost(orderOf(candidate, work))
      const charge = list.charge(askedOf(planned), work.n)
      return charge ? { ...estimate, charge } : estimate
    },
    withCharge(cost, planned, delivered) {
      if (options.prices.length === 0) return cost
      const charge = list.charge(askedOf(planned), delivered)
      return charge ? { ...(cost ?? create(CostSchema)), charge } : cost
    }
  }
}

/** A charge follows what the caller wrote, whoever serves it; what was left out stands both as `auto` and as the written name's default. */
function askedOf({ request, resolution, plan }: PlannedRequest): Asked {
  const { writtenName, candidate } = resolution
  const contract = resolution.written ?? candidate.replaces
  const can = contract?.capabilities ?? candidate.info.capabilities
  const quality = request.quality === Quality.AUTO ? undefined : wireName(QualitySchema, request.quality)
  const [usualQuality = Quality.AUTO] = can?.qualities ?? []
  return {
    models: [writtenName, contract?.id ?? candidate.model],
    provider: plan.candidate.provider,
    qualities: quality === undefined ? ['auto', wireName(QualitySchema, usualQuality) ?? 'auto'] : [quality],
    sizes: sizesOf(request, plan, can?.size?.rule.case === 'list' && !can.size.rule.value.auto ? can.size.rule.value.sizes[0] : undefined)
  }
}

/** A ratio counts as the size that was made of it; where it stays a ratio, its tier decides, and 1K is what models make by themselves. */
function sizesOf(request: GenerateImagesRequest, plan: Plan, usual: { width: number; height: number } | undefined): string[] {
  const unnamed = request.providerOptions?.size
  if (typeof unnamed === 'string' && request.sizeSelector.case === undefined) return [unnamed]
  const asked = request.sizeSelector.case === 'aspectRatio' ? askedSize(plan.work.request) : askedSize(request)
  if (asked !== undefined && asked !== 'auto') return [`${asked.width}x${asked.height}`]
  const tier = wireName(ResolutionSchema, request.resolution)
  if (tier !== undefined && request.resolution !== Resolution.RESOLUTION_1K) return [tier]
  return usual ? ['auto', `${usual.width}x${usual.height}`] : ['auto']
}
