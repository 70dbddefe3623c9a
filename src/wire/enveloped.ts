import { create, type JsonObject } from '@bufbuild/protobuf'
import { ResponseFormat, type Warning, WarningKind, WarningSchema } from '../../gen/atelier/v1/image_pb.ts'
import type { GenerateImagesRequest } from '../../gen/atelier/v1/image_service_pb.ts'
import { gatewayError } from '../errors.ts'
import { writtenModel } from '../services/plan-run.ts'
import type { Exchange } from './rest-route.ts'

/** What stands before the fields of an answer. */
export function envelope({ record, traceId }: Pick<Exchange, 'record' | 'traceId'>, { taskId }: { taskId: string }): JsonObject {
  return { success: true, ...(taskId !== '' && { task_id: taskId }), trace_id: traceId || record.id }
}

/**
 * Brings a request under the rules that the enveloped dialect documents, and tells what that changed: images are links unless it asks for
 * bytes, and some models make one image and know nothing of bytes. Throws UNSUPPORTED_PARAMETER where `strict` forbids that.
 */
export function applyEnvelopedRules(message: GenerateImagesRequest): Warning[] {
  const model = writtenModel(message) ?? ''
  const warnings: Warning[] = []
  const warn = (kind: WarningKind, param: string, text: string) => warnings.push(create(WarningSchema, { kind, param, message: text }))
  if (oneImageModel.test(model) && message.n !== undefined && message.n > 1 && message.n <= mostImages) {
    warn(WarningKind.CLAMPED, 'n', `${message.n} was asked for and 1 is made: on this route ${model} makes one image per request`)
    message.n = 1
  }
  if (linksOnlyModel.test(model) && message.responseFormat === ResponseFormat.B64_JSON) {
    warn(WarningKind.IGNORED, 'response_format', `"b64_json" was asked for and "url" is given: on this route ${model} gives links only`)
    message.responseFormat = ResponseFormat.URL
  }
  const [first] = warnings
  if (message.strict && first) {
    throw gatewayError(
      'UNSUPPORTED_PARAMETER',
      { problem: `${first.param}: ${first.message}` },
      { param: first.param, outcome: 'not_sent' }
    )
  }
  message.responseFormat ||= ResponseFormat.URL
  return warnings
}

/** More is refused, here as everywhere. */
const mostImages = 10
/** With or without the provider's name in front. */
const oneImageModel = /^(?:[^/]+\/)?(?:gpt-image-|nano-banana)/
const linksOnlyModel = /^(?:[^/]+\/)?nano-banana/
