import type { JsonObject } from '@bufbuild/protobuf'

/** A copy without the members that are null, which vendors write for "unset". */
export function withoutNulls(fields: JsonObject): JsonObject {
  // Mostly there are none, and a plain copy costs much less.
  if (!Object.values(fields).includes(null)) return { ...fields }
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null))
}
