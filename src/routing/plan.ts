import { create } from '@bufbuild/protobuf'
import { ResponseFormat, type Warning, WarningKind, WarningSchema } from '../../gen/atelier/v1/image_pb.ts'
import type { GenerateImagesRequest } from '../../gen/atelier/v1/image_service_pb.ts'
import { DeliveryForm } from '../../gen/atelier/v1/model_pb.ts'
import { gatewayError } from '../errors.ts'
import type { Work } from '../providers/provider.ts'
import { checkContract } from './contract-rules.ts'
import type { Candidate, Resolution } from './models.ts'
import { translate, withContractDefaults } from './translate.ts'

/** How one request will be served: decided before anything is sent, by this module alone. */
export interface Plan {
  candidate: Candidate
  work: Work
  warnings: Warning[]
  /** The form in which the caller gets the images. */
  form: 'url' | 'bytes'
  /** Whether the provider's own links live long enough to be handed on. */
  keepProviderUrls: boolean
  /** Longest time to wait for the provider; undefined where the catalog names none. */
  timeoutMs: number | undefined
}

/** A provider's link is handed on only if it lives as long as the one hour that callers are told. */
const shortestUrlLifetimeSeconds = 3600

/** Decides how a request is served. Throws what the written name's contract refuses, and under `strict` what would cause a warning. */
export function planGeneration(
  request: GenerateImagesRequest,
  resolution: Resolution,
  understands: (provider: string) => 'any option' | readonly string[]
): Plan {
  const candidate = resolution.candidate
  const written = resolution.written?.capabilities ?? candidate.info.capabilities
  if (written) checkContract(request, resolution.writtenName, written)
  const form = responseFormatOf(request, resolution.writtenName)
  const served = candidate.model === resolution.written?.id ? request : withContractDefaults(request, resolution.writtenName)
  const translation = translate(served, candidate.model, candidate.info.capabilities, understands(candidate.provider), form)
  if (request.strict && translation.warnings[0]) {
    const { param, message } = translation.warnings[0]
    throw gatewayError('UNSUPPORTED_PARAMETER', { problem: `${param}: ${message}` }, { param })
  }
  const capabilities = candidate.info.capabilities
  return {
    candidate,
    work: { request: translation.request, upstreamModel: candidate.upstreamModel, n: request.n ?? 1 },
    warnings: [...(resolution.fallback ? [substituted(resolution)] : []), ...translation.warnings],
    form: form === ResponseFormat.URL ? 'url' : 'bytes',
    keepProviderUrls: capabilities?.deliveryForm === DeliveryForm.AS_ASKED && capabilities.urlLifetimeSeconds >= shortestUrlLifetimeSeconds,
    timeoutMs: capabilities?.timeoutSeconds ? capabilities.timeoutSeconds * 1000 : undefined
  }
}

/** Real SDKs ask for the form or read both, except that code for GPT Image models reads only `b64_json`. */
function responseFormatOf(request: GenerateImagesRequest, writtenName: string): ResponseFormat {
  if (request.responseFormat) return request.responseFormat
  const model = writtenName.slice(writtenName.indexOf('/') + 1)
  return /^(gpt|chatgpt)-image-/.test(model) ? ResponseFormat.B64_JSON : ResponseFormat.URL
}

function substituted({ writtenName, candidate }: Resolution): Warning {
  return create(WarningSchema, {
    kind: WarningKind.SUBSTITUTED,
    param: 'model',
    message: `no configured provider serves the default model ${writtenName}, so ${candidate.model} made the image`
  })
}
