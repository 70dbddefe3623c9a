import type { JsonObject } from '@bufbuild/protobuf'

/** A copy without the members that are null, which vendors write for "unset". */
export function withoutNulls(fields: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null))
}
