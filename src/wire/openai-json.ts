import type { JsonObject, JsonValue } from '@bufbuild/protobuf'
import { type CredentialKind, CredentialKindSchema } from '../../gen/atelier/v1/credential_pb.ts'
import {
  BackgroundSchema,
  type Cost,
  CostSchema,
  DimensionsSchema,
  ImageOutcomeSchema,
  OutputFormatSchema,
  QualitySchema,
  type ResolvedParameters,
  UsageSchema,
  type Warning,
  WarningSchema
} from '../../gen/atelier/v1/image_pb.ts'
import { type GenerateImagesRequest, GenerateImagesRequestSchema } from '../../gen/atelier/v1/image_service_pb.ts'
import { ModelCapabilitiesSchema, type ModelInfo, ModelStatusSchema } from '../../gen/atelier/v1/model_pb.ts'
import { decodeMessage, encodeMessage } from '../contract/json.ts'
import { isObject } from '../contract/json-object.ts'
import { textFormat, wireName } from '../contract/wire-names.ts'
import { gatewayError } from '../errors.ts'
import type { GenerationEvent } from '../events.ts'
import { headerFields } from './header-fields.ts'
import type { Included } from './request-headers.ts'

/** Reads the body of POST /v1/images/generations. What the schema does not know becomes `provider_options`. */
export function decodeGenerateImages(body: JsonValue): { message: GenerateImagesRequest; stream: boolean } {
  if (!isObject(body)) throw gatewayError('MALFORMED_BODY', { problem: 'it must be a JSON object' })
  const { message, unknown } = decodeMessage(GenerateImagesRequestSchema, body, { without: headerFields })
  const { stream = false, ...options } = unknown
  if (typeof stream !== 'boolean') throw gatewayError('INVALID_PARAMETER', { param: 'stream', problem: 'must be true or false' })
  if (Object.keys(options).length > 0) message.providerOptions = options
  return { message, stream }
}

/** The parameters that every event of a stream repeats, as they were asked for. */
export function askedOf(message: GenerateImagesRequest): JsonObject {
  const {
    size = 'auto',
    quality = 'auto',
    background = 'auto',
    output_format = 'png'
  } = encodeMessage(GenerateImagesRequestSchema, message)
  return { size, quality, background, output_format }
}

type Completed = Extract<GenerationEvent, { kind: 'completed' }>
type Missing = Extract<GenerationEvent, { kind: 'no_image' }>

/** The fields after `data`: what was really made, tokens, what is missing, and the provider's own fields. */
export function encodeCompleted(completed: Completed, missing: readonly Missing[]): JsonObject {
  const usage = completed.usage && { usage: encodeMessage(UsageSchema, completed.usage) }
  return {
    ...(usage ? merge(completed.providerFields ?? {}, usage) : completed.providerFields),
    ...(completed.resolved ? encodeResolved(completed.resolved) : {}),
    ...(missing.length === 0 ? {} : { missing: missing.map(encodeMissing) })
  }
}

/** What the caller asked for with `x-atelier-include`: a cost that is not known is null. Whose keys were used stands there if it is told. */
export function encodeIncluded(
  include: Included,
  cost: Cost | undefined,
  warnings: readonly Warning[],
  credentials: readonly CredentialKind[] = []
): JsonObject {
  if (!include.cost && !include.warnings && credentials.length === 0) return {}
  const fields = {
    ...(include.cost ? { cost: cost ? encodeMessage(CostSchema, cost) : null } : {}),
    ...(include.warnings ? { warnings: warnings.map((warning) => encodeMessage(WarningSchema, warning)) } : {}),
    ...(credentials.length > 0 ? { credential: credentials.map((kind) => wireName(CredentialKindSchema, kind)).join(', ') } : {})
  }
  return { atelier: fields }
}

/** Both objects in one; where both have an object under the same key, that too. The second one wins. */
function merge(first: JsonObject, second: JsonObject): JsonObject {
  const merged = { ...first }
  for (const [key, value] of Object.entries(second)) {
    const other = merged[key]
    merged[key] = isObject(other) && isObject(value) ? merge(other, value) : value
  }
  return merged
}

function encodeResolved(resolved: ResolvedParameters): JsonObject {
  const fields = {
    size: resolved.size && textFormat(DimensionsSchema)?.format(resolved.size as unknown as Record<string, unknown>),
    quality: wireName(QualitySchema, resolved.quality),
    output_format: wireName(OutputFormatSchema, resolved.outputFormat),
    background: wireName(BackgroundSchema, resolved.background)
  }
  return Object.fromEntries(Object.entries(fields).filter((entry): entry is [string, string] => entry[1] !== undefined))
}

function encodeMissing({ index, outcome, message }: Missing): JsonObject {
  return { index, outcome: wireName(ImageOutcomeSchema, outcome) ?? 'failed', message }
}

/** A model in OpenAI's shape; `shutdown_date` is OpenAI's, `status`, `provider`, `aliases` and `capabilities` are ours. */
export function encodeModel(model: ModelInfo): JsonObject {
  return {
    id: model.id,
    object: 'model',
    created: Number(model.created),
    owned_by: model.ownedBy,
    shutdown_date: model.shutdownDate === '' ? null : model.shutdownDate,
    status: wireName(ModelStatusSchema, model.status) ?? 'live',
    provider: model.provider,
    aliases: [...model.aliases],
    ...(model.replacement === '' ? {} : { replacement: model.replacement }),
    ...(model.capabilities ? { capabilities: encodeMessage(ModelCapabilitiesSchema, model.capabilities) } : {})
  }
}
