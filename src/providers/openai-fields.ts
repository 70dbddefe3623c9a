import { create, type JsonObject } from '@bufbuild/protobuf'
import {
  BackgroundSchema,
  DimensionsSchema,
  OutputFormatSchema,
  QualitySchema,
  type ResolvedParameters,
  ResolvedParametersSchema,
  type TokenDetails,
  TokenDetailsSchema,
  type Usage,
  UsageSchema
} from '../../gen/atelier/v1/image_pb.ts'
import { isObject } from '../contract/json-object.ts'
import { enumValue, textFormat } from '../contract/wire-names.ts'
import { withoutNulls } from './without-nulls.ts'

/** Takes what was made out of an answer's fields; fields with values that the contract does not know stay where they are. */
export function takeResolved(fields: JsonObject): ResolvedParameters | undefined {
  const size = take(fields, 'size', (value) => textFormat(DimensionsSchema)?.parse(value))
  const quality = take(fields, 'quality', (value) => enumValue(QualitySchema, value))
  const outputFormat = take(fields, 'output_format', (value) => enumValue(OutputFormatSchema, value))
  const background = take(fields, 'background', (value) => enumValue(BackgroundSchema, value))
  if (size === undefined && quality === undefined && outputFormat === undefined && background === undefined) return undefined
  return create(ResolvedParametersSchema, {
    ...(size === undefined ? {} : { size: create(DimensionsSchema, size) }),
    ...(quality === undefined ? {} : { quality }),
    ...(outputFormat === undefined ? {} : { outputFormat }),
    ...(background === undefined ? {} : { background })
  })
}

/** Takes the token counts out of an answer's fields; what else stands in `usage` stays there. */
export function takeUsage(fields: JsonObject): Usage | undefined {
  if (!isObject(fields.usage)) return undefined
  const counts = withoutNulls(fields.usage)
  const inputTokens = takeCount(counts, 'input_tokens')
  const outputTokens = takeCount(counts, 'output_tokens')
  const totalTokens = takeCount(counts, 'total_tokens')
  const inputTokensDetails = takeDetails(counts, 'input_tokens_details')
  const outputTokensDetails = takeDetails(counts, 'output_tokens_details')
  if (Object.keys(counts).length === 0) delete fields.usage
  else fields.usage = counts
  if (inputTokens === undefined && outputTokens === undefined && totalTokens === undefined) return undefined
  return create(UsageSchema, {
    inputTokens: inputTokens ?? 0n,
    outputTokens: outputTokens ?? 0n,
    totalTokens: totalTokens ?? (inputTokens ?? 0n) + (outputTokens ?? 0n),
    ...(inputTokensDetails ? { inputTokensDetails } : {}),
    ...(outputTokensDetails ? { outputTokensDetails } : {})
  })
}

function takeDetails(counts: JsonObject, name: string): TokenDetails | undefined {
  const source = counts[name]
  if (!isObject(source)) return undefined
  const details = withoutNulls(source)
  const textTokens = takeCount(details, 'text_tokens')
  const imageTokens = takeCount(details, 'image_tokens')
  if (Object.keys(details).length === 0) delete counts[name]
  else counts[name] = details
  if (textTokens === undefined && imageTokens === undefined) return undefined
  return create(TokenDetailsSchema, { textTokens: textTokens ?? 0n, imageTokens: imageTokens ?? 0n })
}

function take<T>(fields: JsonObject, name: string, read: (value: string) => T | undefined): T | undefined {
  const value = fields[name]
  const taken = typeof value === 'string' ? read(value) : undefined
  if (taken !== undefined) delete fields[name]
  return taken
}

function takeCount(fields: JsonObject, name: string): bigint | undefined {
  const value = fields[name]
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) return undefined
  delete fields[name]
  return BigInt(value)
}
