import type { JsonObject, JsonValue } from '@bufbuild/protobuf'

/** Whether a JSON value is an object, which an array is not. */
export function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
