import { create } from '@bufbuild/protobuf'
import {
  type Dimensions,
  type OutputFormat,
  ResponseFormat,
  type Warning,
  WarningKind,
  WarningSchema
} from '../../gen/atelier/v1/image_pb.ts'
import type { GenerateImagesRequest } from '../../gen/atelier/v1/image_service_pb.ts'
import { DeliveryForm, type ModelCapabilities } from '../../gen/atelier/v1/model_pb.ts'
import { gatewayError } from '../errors.ts'
import type { Work } from '../providers/provider.ts'
import { withContractDefaults } from './contract-defaults.ts'
import { checkContract, checkPrompt } from './contract-rules.ts'
import type { Candidate, Resolution } from './models.ts'
import { type Part, splitWork } from './parts.ts'
import { translate } from './translate.ts'

/** How one request will be served: decided before anything is sent, by this module alone. */
export interface Plan {
  candidate: Candidate
  /** The whole of it, in the serving model's terms. */
  work: Work
  /** The calls that it is divided into; each is billed on its own. */
  parts: readonly Part[]
  warnings: Warning[]
  /** The form in which the caller gets the images. */
  form: 'url' | 'bytes'
  /** Whether the provider's own links live long enough to be handed on. */
  keepProviderUrls: boolean
  /** Longest time to wait for the provider; undefined where the catalog names none. */
  timeoutMs: number | undefined
  output: WishedOutput
  /** What stands for a revised prompt where the written name promises one and the provider gives none; undefined where none is promised. */
  promptAsRevised: string | undefined
}

/** What the files must be when the caller gets them, as far as the provider was not asked for it; what is unset is taken as it comes. */
export interface WishedOutput {
  format?: OutputFormat
  /** Percent, 0 to 100. */
  compression?: number
  /** Exact pixels. */
  size?: Dimensions
}

export interface PlanOptions {
  /** Whether the contract of the written name holds. Unset: it does; otherwise that of the serving model. */
  bound?: boolean
}

/** A provider's link is handed on only if it lives as long as the one hour that callers are told. */
const shortestUrlLifetimeSeconds = 3600

/**
 * Decides how a request is served. Throws what the written name's contract refuses, and under `strict` the first thing that would cause
 * a warning; that another model serves in place of a retired one is no matter of parameters, and only ever a warning.
 */
export function planGeneration(
  request: GenerateImagesRequest,
  resolution: Resolution,
  understands: (provider: string, upstreamModel: string) => 'any option' | readonly string[],
  { bound = true }: PlanOptions = {}
): Plan {
  const { candidate, writtenName } = resolution
  const can = candidate.info.capabilities
  const contract = bound ? (resolution.written ?? candidate.replaces) : undefined
  const promised = contract?.capabilities ?? can
  if (promised) checkContract(request, bound ? writtenName : candidate.model, promised)
  if (can && can !== promised) checkPrompt(request.prompt, `${candidate.model}, which serves ${writtenName},`, can)

  const form = responseFormatOf(request, writtenName)
  const isServed = !bound || candidate.model === contract?.id
  const { request: whole, defaulted } = isServed
    ? { request, defaulted: nothing }
    : withContractDefaults(request, contract?.id ?? modelPart(writtenName), can !== undefined)
  const serving = { name: candidate.model, can, understands: understands(candidate.provider, candidate.upstreamModel) }
  const translation = translate(whole, serving, { size: promised?.size, form })
  const work = { request: translation.request, upstreamModel: candidate.upstreamModel, n: request.n ?? 1 }
  const parts = splitWork(work, can?.maxImagesPerCall || work.n)
  const warnings = translation.warnings.filter(({ param }) => !defaulted.has(param))
  if (parts.length > 1) warnings.push(fannedOut(candidate.model, work.n, parts.length))
  const [first] = warnings
  if (request.strict && first) {
    throw gatewayError('UNSUPPORTED_PARAMETER', { problem: `${first.param}: ${first.message}` }, { param: first.param })
  }
  return {
    candidate,
    work,
    parts,
    warnings: [...substitution(resolution), ...warnings],
    form: form === ResponseFormat.URL ? 'url' : 'bytes',
    keepProviderUrls: Object.keys(translation.output).length === 0 && hasLastingUrls(can),
    timeoutMs: can?.timeoutSeconds ? can.timeoutSeconds * 1000 : undefined,
    output: translation.output,
    promptAsRevised: promised?.revisedPrompt ? request.prompt : undefined
  }
}

const nothing: ReadonlySet<string> = new Set()

/** Real SDKs ask for the form or read both, except that code for GPT Image models reads only `b64_json`. */
function responseFormatOf(request: GenerateImagesRequest, writtenName: string): ResponseFormat {
  if (request.responseFormat) return request.responseFormat
  return /^(gpt|chatgpt)-image-/.test(modelPart(writtenName)) ? ResponseFormat.B64_JSON : ResponseFormat.URL
}

function modelPart(writtenName: string): string {
  return writtenName.slice(writtenName.indexOf('/') + 1)
}

function hasLastingUrls(can: ModelCapabilities | undefined): boolean {
  return can?.deliveryForm === DeliveryForm.AS_ASKED && can.urlLifetimeSeconds >= shortestUrlLifetimeSeconds
}

function fannedOut(model: string, n: number, calls: number): Warning {
  const message = `${n} images are made by ${calls} calls, each billed on its own: ${model} makes fewer per call`
  return create(WarningSchema, { kind: WarningKind.EMULATED, param: 'n', message })
}

/** Says that another model serves than the one that was named. Whoever named none is told only where a drawing stands in for an image. */
function substitution({ writtenName, candidate, defaulted, fallback }: Resolution): Warning[] {
  const { model, replaces } = candidate
  const why = fallback
    ? `no configured provider serves the default model ${writtenName}, so ${model} makes the image`
    : replaces && !defaulted
      ? `${replaces.id} was switched off by its vendor${replaces.shutdownDate === '' ? '' : ` on ${replaces.shutdownDate}`}, so ${model} serves in its place`
      : undefined
  return why === undefined ? [] : [create(WarningSchema, { kind: WarningKind.SUBSTITUTED, param: 'model', message: why })]
}
