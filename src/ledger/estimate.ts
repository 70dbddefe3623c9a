import { create } from '@bufbuild/protobuf'
import type { ImageInputTokens, Pricing } from '../../gen/atelier/v1/catalog_pb.ts'
import {
  type CostEstimate,
  CostEstimateSchema,
  type CostLine,
  InputFidelity,
  PriceUnit,
  QualitySchema,
  ResolutionSchema
} from '../../gen/atelier/v1/image_pb.ts'
import type { GenerateImagesRequest } from '../../gen/atelier/v1/image_service_pb.ts'
import type { ModelCapabilities } from '../../gen/atelier/v1/model_pb.ts'
import { wireName } from '../contract/wire-names.ts'
import type { EditInputs, InputImage, Work } from '../providers/provider.ts'
import type { Candidate } from '../routing/models.ts'
import { type Shape, spellSize } from '../routing/size.ts'
import { imageChoices } from './image-choices.ts'
import { costOf, findPrice, type ImageTraits, priceImage, sumOf } from './price.ts'

/** What is asked of a provider. */
export interface Order {
  /** The serving model, as the catalog spells it. */
  model: string
  capabilities: ModelCapabilities | undefined
  /** Undefined where the catalog has no prices for the model. */
  pricing: Pricing | undefined
  /** In the serving model's terms. */
  request: GenerateImagesRequest
  /** Images. */
  n: number
  /** Of an edit: what it works on. */
  inputs?: Pick<EditInputs, 'inputFidelity'> & { images: readonly Pick<InputImage, 'width' | 'height'>[] }
}

/** What a call, or a whole request, asks of the model that serves it. */
export function orderOf({ model, pricing, info }: Candidate, { request, n, inputs }: Work): Order {
  const order: Order = { model, pricing, capabilities: info.capabilities, request, n }
  if (inputs) order.inputs = inputs
  return order
}

/**
 * What an order will cost at the catalog's prices. Where the model chooses the size or the quality it is the price of the dearest choice,
 * and where one of the choices has no known price, the whole cost is not known. The estimate is shared and must not be changed.
 */
export const estimateCost = createEstimator()

/** Remembers what orders of the same kind cost at the same prices: besides the parameters it takes the length of the prompt, and nothing else. */
function createEstimator(): (order: Order) => CostEstimate {
  const remembered = new WeakMap<Pricing, Map<string, Remembered>>()
  return (order) => {
    const { pricing, capabilities } = order
    if (!pricing) return unknown(`no price is known for ${order.model}`)
    let known = remembered.get(pricing)
    if (!known) {
      known = new Map()
      remembered.set(pricing, known)
    }
    const kind = kindOf(order, pricing)
    const last = known.get(kind)
    if (last && last.capabilities === capabilities) return last.estimate
    const estimate = calculate(order, pricing)
    if (known.size >= mostRemembered) known.clear()
    known.set(kind, { capabilities, estimate })
    return estimate
  }
}

interface Remembered {
  capabilities: ModelCapabilities | undefined
  estimate: CostEstimate
}

const mostRemembered = 1_000

/** All that an estimate depends on besides prices and capabilities. */
function kindOf(order: Order, pricing: Pricing): string {
  const { model, request, n, inputs } = order
  const { sizeSelector, quality, resolution, partialImages = 0 } = request
  const size = sizeSelector.case === 'dimensions' ? spellSize(sizeSelector.value) : sizeSelector.case === 'size' ? sizeSelector.value : ''
  const kind = `${n} ${quality} ${resolution} ${size} ${partialImages} ${promptTokens(order, pricing)} ${model}`
  return inputs ? `${kind} ${inputs.inputFidelity} ${inputs.images.map(spellSize).join(' ')}` : kind
}

function calculate(order: Order, pricing: Pricing): CostEstimate {
  const { n } = order
  const choices = imageChoices(order.request, order.capabilities)
  const priced: { traits: ImageTraits; line: CostLine }[] = []
  for (const traits of choices) {
    const price = priceImage(pricing.lines, pricing.outputTokens, traits)
    if (!price) return unknown(unpriced(order.model, traits, choices.length > 1))
    const description = `${price.line.unit === PriceUnit.IMAGE_OUTPUT_TOKEN ? 'image output' : 'images'}${spell(traits)}`
    priced.push({ traits, line: costOf(price.line, price.quantity * n, description) })
  }
  const dearest = priced.reduce((most, next) => (next.line.micros > most.line.micros ? next : most))
  const besides = [...partialImages(order, pricing, dearest.traits), ...textInput(order, pricing), ...imageInput(order, pricing)]
  const lines = [dearest.line, ...besides, ...calls(order, pricing)]
  return create(CostEstimateSchema, {
    lines,
    totalMicros: sumOf(lines),
    upperBound: priced.some(({ line }) => line.micros < dearest.line.micros)
  })
}

function unknown(unknownReason: string): CostEstimate {
  return create(CostEstimateSchema, { unknownReason })
}

function unpriced(model: string, traits: ImageTraits, chosen: boolean): string {
  const image = `an image of ${model}${spell(traits)}`
  return chosen
    ? `the model chooses, and neither a price nor a count of tokens is published for ${image}`
    : `neither a price nor a count of tokens is published for ${image}`
}

function spell({ quality, size, tier }: ImageTraits): string {
  let text = ''
  for (const word of [wireName(QualitySchema, quality), size && `${size.width}x${size.height}`, wireName(ResolutionSchema, tier)]) {
    if (word !== undefined) text += `, ${word}`
  }
  return text
}

function partialImages({ request, n }: Order, { lines, outputTokens }: Pricing, traits: ImageTraits): CostLine[] {
  const price = findPrice(lines, PriceUnit.IMAGE_OUTPUT_TOKEN, traits)
  const tokens = (outputTokens?.perPartialImage ?? 0) * (request.partialImages ?? 0) * n
  return price && tokens > 0 ? [costOf(price, tokens, 'partial images')] : []
}

/** English takes about four bytes for a token, and so, within a third, do other languages in UTF-8. */
const bytesPerToken = 4

function textInput(order: Order, pricing: Pricing): CostLine[] {
  const price = findPrice(pricing.lines, PriceUnit.TEXT_INPUT_TOKEN)
  return price ? [costOf(price, promptTokens(order, pricing) * callsOf(order), 'prompt, about one token for 4 bytes')] : []
}

/** 0 where prompts cost nothing. */
function promptTokens({ request }: Order, { lines, outputTokens }: Pricing): number {
  if (!findPrice(lines, PriceUnit.TEXT_INPUT_TOKEN)) return 0
  return Math.ceil(Buffer.byteLength(request.prompt) / bytesPerToken) + (outputTokens?.promptOverhead ?? 0)
}

function imageInput(order: Order, { lines, imageInputTokens }: Pricing): CostLine[] {
  const price = findPrice(lines, PriceUnit.IMAGE_INPUT_TOKEN)
  if (!price || !imageInputTokens || !order.inputs) return []
  const { images, inputFidelity } = order.inputs
  const levels = order.capabilities?.inputFidelities ?? []
  // What distinguishes no levels keeps closely to every image.
  const isClose = inputFidelity === InputFidelity.HIGH || levels.length === 0
  const tokens = images.reduce((sum, image) => sum + countInputTokens(imageInputTokens, image, isClose), 0)
  return [costOf(price, tokens * callsOf(order), 'input images')]
}

function countInputTokens(rule: ImageInputTokens, { width, height }: Shape, isClose: boolean): number {
  const { base, perTile, highFidelitySquare, highFidelityOther } = rule
  const tiles = Math.ceil(Math.max(width, height) / Math.min(width, height))
  return base + perTile * tiles + (isClose ? (width === height ? highFidelitySquare : highFidelityOther) : 0)
}

function calls(order: Order, { lines }: Pricing): CostLine[] {
  const price = findPrice(lines, PriceUnit.REQUEST)
  return price ? [costOf(price, callsOf(order), 'calls to the provider')] : []
}

function callsOf({ n, capabilities }: Order): number {
  return Math.ceil(n / (capabilities?.maxImagesPerCall || n || 1))
}
