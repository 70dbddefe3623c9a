import { type JsonObject, type JsonValue, toBinary } from '@bufbuild/protobuf'
import type { GenerateImagesRequest } from '../../gen/atelier/v1/image_service_pb.ts'
import { type StoredRequest, StoredRequestSchema } from '../../gen/atelier/v1/stored_pb.ts'

/**
 * The bytes by which the same request is recognised: the operation with all that it says, whatever the order in which unnamed parameters
 * were written, and without what only says how it is to be handled.
 */
export function fingerprintBytes({ operation, permanentLinks, choice }: StoredRequest): Uint8Array {
  const same: StoredRequest['operation'] =
    operation.case === 'generation'
      ? { case: 'generation', value: comparable(operation.value) }
      : operation.case === undefined
        ? operation
        : {
            ...operation,
            value: { ...operation.value, ...(operation.value.parameters && { parameters: comparable(operation.value.parameters) }) }
          }
  return toBinary(StoredRequestSchema, {
    $typeName: 'atelier.v1.StoredRequest',
    operation: same,
    permanentLinks,
    callbackUrl: '',
    metadata: '',
    // A caller who changes its key asks for the same.
    ...(choice && { choice: { ...choice, credential: '' } })
  })
}

function comparable(request: GenerateImagesRequest): GenerateImagesRequest {
  const { providerOptions, requestId, onInterrupt, onDisconnect, maxCostMicros } = request
  const saysNothingElse = requestId === '' && onInterrupt === 0 && onDisconnect === 0 && maxCostMicros === undefined
  if (saysNothingElse && !providerOptions) return request
  return {
    ...request,
    requestId: '',
    onInterrupt: 0,
    onDisconnect: 0,
    maxCostMicros: undefined,
    ...(providerOptions && { providerOptions: inOrder(providerOptions) })
  }
}

function inOrder(object: JsonObject): JsonObject {
  const entries = Object.entries(object).sort(([one], [other]) => (one < other ? -1 : 1))
  return Object.fromEntries(entries.map(([name, value]) => [name, inOrderBelow(value)]))
}

function inOrderBelow(value: JsonValue): JsonValue {
  if (Array.isArray(value)) return value.map(inOrderBelow)
  return typeof value === 'object' && value !== null ? inOrder(value) : value
}
