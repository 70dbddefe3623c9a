import { type DescField, type DescMessage, type JsonObject, type JsonValue, ScalarType } from '@bufbuild/protobuf'
import { gatewayError } from '../errors.ts'

/**
 * The text fields of a form as the JSON that `decodeMessage` reads: what the schema knows as a boolean or a number becomes one, empty
 * text is unset, and `name[]` gathers a list. Throws INVALID_PARAMETER for other text in such a field, and for a field that is sent twice.
 */
export function formToJson(
  type: DescMessage,
  fields: Iterable<readonly [name: string, text: string]>,
  options: { booleans: readonly string[] }
): JsonObject {
  const values = new Map<string, JsonValue>()
  const known = new Map(type.fields.map((field) => [field.name, field]))
  for (const [name, text] of fields) {
    const list = /^([^[\]]+)\[\]$/.exec(name)?.[1]
    const key = list ?? name
    // As in JSON: it is only ever sent to attack code that merges objects.
    if (key === '__proto__') throw gatewayError('INVALID_PARAMETER', { param: key, problem: 'is not accepted' })
    const sent = values.get(key)
    if (sent !== undefined && !(list !== undefined && Array.isArray(sent))) {
      throw gatewayError('INVALID_PARAMETER', { param: name.slice(0, 60), problem: 'was sent twice' })
    }
    const value = options.booleans.includes(key) ? toBoolean(key, text) : toValue(known.get(key), key, text)
    if (list !== undefined) values.set(key, [...(Array.isArray(sent) ? sent : []), value])
    else values.set(key, text === '' ? null : value)
  }
  return Object.fromEntries(values)
}

function toValue(field: DescField | undefined, param: string, text: string): JsonValue {
  if (field?.fieldKind !== 'scalar' || field.scalar === ScalarType.STRING || text === '') return text
  if (field.scalar === ScalarType.BOOL) return toBoolean(param, text)
  if (!/^-?\d{1,20}(\.\d{1,20})?$/.test(text)) throw gatewayError('INVALID_PARAMETER', { param, problem: 'must be a number' })
  return Number(text)
}

/** Python's own spelling counts as well. */
function toBoolean(param: string, text: string): JsonValue {
  if (text === '') return null
  if (/^(true|1)$/i.test(text)) return true
  if (/^(false|0)$/i.test(text)) return false
  throw gatewayError('INVALID_PARAMETER', { param, problem: 'must be true or false' })
}
