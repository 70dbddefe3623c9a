import { create } from '@bufbuild/protobuf'
import { type Charge, ChargeSchema } from '../../gen/atelier/v1/image_pb.ts'
import { fitsPattern } from '../routing/name-pattern.ts'

/** What an operator charges for each image of some models. */
export interface PriceRule {
  /** Names of models with "*" for any characters. Empty: every model. */
  models: readonly string[]
  /** Names of providers with "*" for any characters. Empty: every provider. */
  providers: readonly string[]
  /** Empty: every quality. */
  qualities: readonly string[]
  /** Millionths of the unit. */
  perImageMicros: number
  /** `WIDTHxHEIGHT`, or `auto`. Empty: every size. */
  sizes: readonly string[]
  /** Millionths: 1500000 is one and a half. Unset: the rule is not for sizes that `sizes` does not name. */
  otherSizesFactorMicros?: number
}

export interface PriceListOptions {
  /** The first one that fits counts. */
  prices: readonly PriceRule[]
  /** "USD" or the operator's own. */
  priceUnit: string
}

/** What was asked for, in all the words that a rule may use for it. */
export interface Asked {
  models: readonly string[]
  provider: string
  qualities: readonly string[]
  sizes: readonly string[]
}

export interface PriceList {
  /** What a number of images is charged with; undefined where no rule is for them. */
  charge(asked: Asked, images: number): Charge | undefined
}

/** The operator's prices, which are independent of what the provider takes. */
export function createPriceList({ prices, priceUnit }: PriceListOptions): PriceList {
  const priceOf = (asked: Asked): bigint | undefined => {
    for (const { models, providers, qualities, sizes, perImageMicros, otherSizesFactorMicros } of prices) {
      if (models.length > 0 && !asked.models.some((name) => models.some((model) => fitsPattern(name, model)))) continue
      if (providers.length > 0 && !providers.some((provider) => fitsPattern(asked.provider, provider))) continue
      if (!overlap(qualities, asked.qualities)) continue
      if (overlap(sizes, asked.sizes)) return BigInt(perImageMicros)
      if (otherSizesFactorMicros !== undefined) return scale(BigInt(perImageMicros), BigInt(otherSizesFactorMicros))
    }
    return undefined
  }

  return {
    charge(asked, images) {
      const each = priceOf(asked)
      return each === undefined ? undefined : create(ChargeSchema, { micros: each * BigInt(images), unit: priceUnit })
    }
  }
}

function overlap(allowed: readonly string[], asked: readonly string[]): boolean {
  return allowed.length === 0 || asked.some((word) => allowed.includes(word))
}

/** A fraction of a millionth is rounded up. */
function scale(micros: bigint, factorMicros: bigint): bigint {
  return (micros * factorMicros + 999_999n) / 1_000_000n
}
