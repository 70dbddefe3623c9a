import { create } from '@bufbuild/protobuf'
import {
  Background,
  type Cost,
  CostSchema,
  OutputFormat,
  Quality,
  type ResolvedParameters,
  ResolvedParametersSchema,
  type TokenDetails,
  TokenDetailsSchema,
  type Usage,
  UsageSchema,
  type Warning
} from '../../gen/atelier/v1/image_pb.ts'
import { joinLines } from '../ledger/price.ts'
import type { ProviderEvent } from '../providers/provider.ts'

type Completed = Extract<ProviderEvent, { kind: 'completed' }>

/**
 * The endings of several calls as that of one: tokens and costs summed, equal warnings once, and as resolved what is the same in all. The
 * cost is unknown where that of one call is, also of one that gave no ending and may have been billed (`isWhole` is false).
 */
export function mergeEndings(endings: readonly Completed[], { isWhole }: { isWhole: boolean }): Completed {
  const usages = endings.map(({ usage }) => usage).filter((usage) => usage !== undefined)
  const usage = usages.length > 0 ? usages.reduce(addUsage) : undefined
  const resolved = endings.map((ending) => ending.resolved).filter((each) => each !== undefined)
  const cost = isWhole ? addCosts(endings.map((ending) => ending.cost)) : undefined
  const warnings = withoutRepetition(endings.flatMap((ending) => ending.warnings ?? []))
  const providerFields = endings.find((ending) => ending.providerFields)?.providerFields
  return {
    kind: 'completed',
    ...(usage && { usage }),
    ...(resolved.length > 0 && { resolved: resolved.reduce(inCommon) }),
    ...(cost && { cost }),
    ...(warnings.length > 0 && { warnings }),
    ...(providerFields && { providerFields })
  }
}

function addUsage(one: Usage, other: Usage): Usage {
  const inputTokensDetails = addDetails(one.inputTokensDetails, other.inputTokensDetails)
  const outputTokensDetails = addDetails(one.outputTokensDetails, other.outputTokensDetails)
  return create(UsageSchema, {
    inputTokens: one.inputTokens + other.inputTokens,
    outputTokens: one.outputTokens + other.outputTokens,
    totalTokens: one.totalTokens + other.totalTokens,
    ...(inputTokensDetails && { inputTokensDetails }),
    ...(outputTokensDetails && { outputTokensDetails })
  })
}

/** Kinds that one call does not tell apart are not known of both. */
function addDetails(one: TokenDetails | undefined, other: TokenDetails | undefined): TokenDetails | undefined {
  if (!one || !other) return undefined
  return create(TokenDetailsSchema, { textTokens: one.textTokens + other.textTokens, imageTokens: one.imageTokens + other.imageTokens })
}

function addCosts(costs: readonly (Cost | undefined)[]): Cost | undefined {
  let totalMicros = 0n
  let estimated = false
  for (const cost of costs) {
    if (cost?.totalMicros === undefined) return undefined
    totalMicros += cost.totalMicros
    estimated ||= cost.estimated
  }
  return costs.length === 0
    ? undefined
    : create(CostSchema, { totalMicros, estimated, lines: joinLines(costs.flatMap((cost) => cost?.lines ?? [])) })
}

function inCommon(one: ResolvedParameters, other: ResolvedParameters): ResolvedParameters {
  const sameSize = one.size?.width === other.size?.width && one.size?.height === other.size?.height
  return create(ResolvedParametersSchema, {
    ...(sameSize && one.size && { size: one.size }),
    quality: one.quality === other.quality ? one.quality : Quality.UNSPECIFIED,
    outputFormat: one.outputFormat === other.outputFormat ? one.outputFormat : OutputFormat.UNSPECIFIED,
    background: one.background === other.background ? one.background : Background.UNSPECIFIED
  })
}

function withoutRepetition(warnings: readonly Warning[]): Warning[] {
  return [...new Map(warnings.map((warning) => [`${warning.kind} ${warning.param} ${warning.message}`, warning])).values()]
}
