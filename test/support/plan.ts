import type { JsonObject } from '@bufbuild/protobuf'
import { OutputFormatSchema, WarningKindSchema } from '../../gen/atelier/v1/image_pb.ts'
import { GenerateImagesRequestSchema } from '../../gen/atelier/v1/image_service_pb.ts'
import { normalizeGenerateImages } from '../../src/admission/normalize.ts'
import { encodeMessage } from '../../src/contract/json.ts'
import { wireName } from '../../src/contract/wire-names.ts'
import { GatewayError } from '../../src/errors.ts'
import { loadCatalog } from '../../src/routing/catalog.ts'
import { createModels, type ModelsOptions } from '../../src/routing/models.ts'
import { type Plan, planGeneration } from '../../src/routing/plan.ts'
import type { ProviderModels } from '../../src/routing/served-models.ts'
import { writtenModel } from '../../src/services/plan-run.ts'
import { decodeGenerateImages } from '../../src/wire/openai-json.ts'

export interface PlanOptions extends Partial<ModelsOptions> {
  strict?: boolean
  /** What the providers understand besides the parameters of the capabilities. Unset: any option for `openai`, nothing for others. */
  understands?: 'any option' | readonly string[]
}

export const catalog = loadCatalog()

/** Every vendor at its own address, with a key. */
export const everyVendor: readonly ProviderModels[] = catalog.map(({ vendor, baseUrl }) => ({
  name: vendor,
  adapter: vendor,
  apiKey: baseUrl === '' ? '' : 'key',
  models: []
}))

/** The same vendors at addresses where retired models are still run. */
export const everyMirror: readonly ProviderModels[] = everyVendor.map((provider) => ({ ...provider, retired: 'forward' }))

/** Plans the body of a POST /v1/images/generations as it would be planned on 20 November 2026. */
export function planOf(body: JsonObject, options: PlanOptions = {}): Plan {
  const { strict = false, understands, ...models } = options
  const request = normalizeGenerateImages(decodeGenerateImages({ prompt: 'a lighthouse', ...body }).message)
  request.strict = strict
  const here = createModels(
    { providers: everyVendor, aliases: {}, defaultModel: 'dall-e-3', ...models },
    { catalog, now: () => Date.UTC(2026, 10, 20) }
  )
  return planGeneration(
    request,
    here.resolve(writtenModel(request)),
    (provider) => understands ?? (provider === 'openai' ? 'any option' : [])
  )
}

/** What is asked of the provider, in OpenAI's spelling, without the prompt. */
export function askedOf(plan: Plan): JsonObject {
  const { prompt, model, n, response_format, strict, provider_options, ...asked } = encodeMessage(
    GenerateImagesRequestSchema,
    plan.work.request
  )
  return { ...asked, ...(provider_options as JsonObject | undefined) }
}

/** As in "converted size: 1254x1254 became …". */
export function warningsOf(plan: Plan): string[] {
  return plan.warnings.map(({ kind, param, message }) => `${wireName(WarningKindSchema, kind)} ${param}: ${message}`)
}

/** As in "converted size". */
export function warnedOf(plan: Plan): string[] {
  return plan.warnings.map(({ kind, param }) => `${wireName(WarningKindSchema, kind)} ${param}`)
}

/** What is left to be done to the files, in OpenAI's spelling. */
export function outputOf({ output }: Plan): JsonObject {
  return {
    ...(output.format === undefined ? {} : { format: wireName(OutputFormatSchema, output.format) ?? '' }),
    ...(output.compression === undefined ? {} : { compression: output.compression }),
    ...(output.size ? { size: `${output.size.width}x${output.size.height}` } : {})
  }
}

/** The error that planning throws. */
export function refusalOf(body: JsonObject, options: PlanOptions = {}): { reason: string; message: string; param: string | undefined } {
  try {
    planOf(body, options)
  } catch (error) {
    if (error instanceof GatewayError) return { reason: error.reason, message: error.message, param: error.param }
    throw error
  }
  throw new Error('nothing was thrown')
}
