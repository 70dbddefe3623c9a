import { create } from '@bufbuild/protobuf'
import type { Pricing } from '../../gen/atelier/v1/catalog_pb.ts'
import { type Cost, type CostLine, CostSchema, PriceUnit, Quality, type TokenDetails, type Usage } from '../../gen/atelier/v1/image_pb.ts'
import type { GenerateImagesRequest } from '../../gen/atelier/v1/image_service_pb.ts'
import { copyMessage } from '../contract/copy-message.ts'
import type { GenerationEvent } from '../events.ts'
import { estimateCost, type Order } from './estimate.ts'
import { costOf, findPrice, sumOf } from './price.ts'

/** What a provider said at the end. */
export type Ending = Pick<Extract<GenerationEvent, { kind: 'completed' }>, 'usage' | 'resolved' | 'cost'>

/**
 * What an order did cost: what the provider itself stated, else its count of tokens at the catalog's prices, else the price of the images
 * that were delivered. Undefined where no price is known.
 */
export function actualCost(order: Order, delivered: number, ending: Ending): Cost | undefined {
  if (ending.cost?.totalMicros !== undefined) return ending.cost
  const { pricing } = order
  if (!pricing) return undefined
  const counted = ending.usage && costOfTokens(ending.usage, pricing)
  if (counted) return create(CostSchema, { totalMicros: sumOf(counted), lines: counted })
  const { lines, totalMicros, upperBound } = estimateCost({
    ...order,
    n: delivered,
    request: asMade(order.request, ending)
  })
  if (totalMicros === undefined) return undefined
  return create(CostSchema, { lines, totalMicros, estimated: upperBound || billsTokens(pricing) })
}

function billsTokens({ lines }: Pricing): boolean {
  return findPrice(lines, PriceUnit.IMAGE_OUTPUT_TOKEN) !== undefined
}

/** Undefined where images are not billed by tokens, none were counted for them, or some of a kind whose price is not known. */
function costOfTokens(usage: Usage, pricing: Pricing): CostLine[] | undefined {
  const input = split(usage.inputTokens, usage.inputTokensDetails, 'text')
  const output = split(usage.outputTokens, usage.outputTokensDetails, 'image')
  if (!billsTokens(pricing) || output.image === 0n) return undefined
  const lines: CostLine[] = []
  for (const [unit, tokens, description] of [
    [PriceUnit.TEXT_INPUT_TOKEN, input.text, 'prompt'],
    [PriceUnit.IMAGE_INPUT_TOKEN, input.image, 'input images'],
    [PriceUnit.IMAGE_OUTPUT_TOKEN, output.image, 'image output'],
    [PriceUnit.TEXT_OUTPUT_TOKEN, output.text, 'text output']
  ] as const) {
    if (tokens === 0n) continue
    const price = findPrice(pricing.lines, unit)
    if (!price) return undefined
    lines.push(costOf(price, tokens, description))
  }
  return lines
}

/** Tokens by kind. Without details all are of the usual kind; what the details leave out is text, such as a model's thoughts. */
function split(total: bigint, details: TokenDetails | undefined, usual: 'text' | 'image'): { text: bigint; image: bigint } {
  const { textTokens = 0n, imageTokens = 0n } = details ?? {}
  if (textTokens + imageTokens === 0n) return usual === 'text' ? { text: total, image: 0n } : { text: 0n, image: total }
  const rest = total - imageTokens
  if (rest < textTokens) return { text: textTokens, image: imageTokens }
  return { text: rest, image: imageTokens }
}

/** The request, with the size and the quality that the provider says it chose. */
function asMade(request: GenerateImagesRequest, { resolved }: Ending): GenerateImagesRequest {
  const quality = resolved?.quality && resolved.quality !== Quality.AUTO ? resolved.quality : undefined
  if (!resolved?.size && quality === undefined) return request
  const made = copyMessage(request)
  if (resolved?.size) made.sizeSelector = { case: 'dimensions', value: resolved.size }
  if (quality !== undefined) made.quality = quality
  return made
}
