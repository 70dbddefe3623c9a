import type { Message } from '@bufbuild/protobuf'

/**
 * A message with the same fields, which may be set anew. Messages are put together field by field, which makes dictionaries of the larger
 * ones; to spread one of these costs several times as much.
 */
export function copyMessage<Shape extends Message>(message: Shape): Shape {
  const copy: Record<string, unknown> = {}
  const fields = message as unknown as Record<string, unknown>
  for (const name of Object.keys(fields)) copy[name] = fields[name]
  return copy as unknown as Shape
}
