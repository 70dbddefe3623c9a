import {
  create,
  type DescField,
  type DescMessage,
  type DescOneof,
  getOption,
  hasOption,
  type JsonObject,
  type JsonValue,
  type Message,
  type MessageShape,
  ScalarType
} from '@bufbuild/protobuf'
import { StructSchema } from '@bufbuild/protobuf/wkt'
import { oneof_wire_name } from '../../gen/atelier/v1/options_pb.ts'
import { gatewayError } from '../errors.ts'
import { enumValue, textFormat, wireName } from './wire-names.ts'
import { zeroMessage } from './zero-message.ts'

export interface DecodeOptions {
  /** Fields that do not exist in this JSON dialect; a key of that name is unknown. */
  without?: readonly string[]
  /** Before every name in errors, e.g. "providers.openai." */
  path?: string
}

export interface Decoded<Desc extends DescMessage> {
  message: MessageShape<Desc>
  /** Keys that the schema does not know, and known enums and selectors with values that it does not know, as they were sent. */
  unknown: JsonObject
}

/**
 * Reads a message from JSON as vendors write it: snake_case names, enums by `wire_name`, selectors by `oneof_wire_name`, messages with a
 * `text_format` from strings, null as unset. Throws INVALID_PARAMETER where a known field has a value of the wrong type.
 */
export function decodeMessage<Desc extends DescMessage>(type: Desc, json: JsonObject, options: DecodeOptions = {}): Decoded<Desc> {
  const message = zeroMessage(type)
  const unknown: JsonObject = {}
  const readers = readersOf(type)
  const target = message as unknown as Record<string, unknown>
  for (const key of Object.keys(json)) {
    const value = json[key] ?? null
    if (value === null) continue
    const read = options.without?.includes(key) ? undefined : readers.get(key)
    if (!read?.(target, value, `${options.path ?? ''}${key}`)) unknown[key] = value
  }
  return { message, unknown }
}

/** Writes a message as vendors write JSON; unset fields are left out, 64-bit integers are numbers. */
export function encodeMessage<Desc extends DescMessage>(type: Desc, message: MessageShape<Desc>): JsonObject {
  const json: JsonObject = {}
  for (const field of type.fields) {
    const value = fieldValue(field, message)
    if (value === undefined) continue
    const encoded = encodeField(field, value)
    if (encoded !== undefined) json[field.oneof ? (selectorOf(field.oneof) ?? field.name) : field.name] = encoded
  }
  return json
}

/** Puts a value into a message; false where the value is of the right type and unknown. */
type Reader = (target: Record<string, unknown>, value: JsonValue, path: string) => boolean

const readers = new WeakMap<DescMessage, ReadonlyMap<string, Reader>>()

function readersOf(type: DescMessage): ReadonlyMap<string, Reader> {
  let map = readers.get(type)
  if (!map) {
    const selectors = type.oneofs.flatMap((oneof) => {
      const name = selectorOf(oneof)
      return name === undefined ? [] : [[name, selectorReader(oneof, name)] as const]
    })
    const fields = type.fields.flatMap((field): (readonly [string, Reader])[] => {
      if (!field.oneof) return [[field.name, fieldReader(field)]]
      if (selectorOf(field.oneof) === undefined) return [[field.name, oneofReader(field.oneof, [field])]]
      return field.message && textFormat(field.message) ? [[field.name, oneofReader(field.oneof, [field])]] : []
    })
    map = new Map([...fields, ...selectors])
    readers.set(type, map)
  }
  return map
}

function selectorReader(oneof: DescOneof, name: string): Reader {
  const read = oneofReader(oneof, oneof.fields)
  return (target, value, path) => {
    if (typeof value !== 'string') throw wrongType(path, name === 'size' ? 'a string such as "1024x1024"' : 'a string')
    return read(target, value, path)
  }
}

/** Tries the members in turn: enum, text formats, string. */
function oneofReader(oneof: DescOneof, members: readonly DescField[]): Reader {
  return (target, value, path) => {
    for (const field of members) {
      const decoded = decodeValue(field, value, path)
      if (decoded === undefined) continue
      const taken = target[oneof.localName] as { case?: string } | undefined
      if (taken?.case !== undefined) {
        throw gatewayError('INVALID_PARAMETER', {
          param: path,
          problem: `excludes ${oneof.fields.map((f) => f.name).join(', ')}: send only one`
        })
      }
      target[oneof.localName] = { case: field.localName, value: decoded }
      return true
    }
    return false
  }
}

function fieldReader(field: DescField): Reader {
  return (target, value, path) => {
    if (field.fieldKind === 'list') {
      if (!Array.isArray(value)) throw wrongType(path, 'an array')
      target[field.localName] = value.map((item, index) => {
        const decoded = decodeValue(field, item, `${path}[${index}]`)
        if (decoded === undefined)
          throw gatewayError('INVALID_PARAMETER', { param: `${path}[${index}]`, problem: `unknown value ${JSON.stringify(item)}` })
        return decoded
      })
      return true
    }
    const decoded = decodeValue(field, value, path)
    if (decoded !== undefined) target[field.localName] = decoded
    return decoded !== undefined
  }
}

/** One value of a field; undefined where it is of the right type and unknown; throws where it is of the wrong type. */
function decodeValue(field: DescField, value: JsonValue, path: string): unknown {
  if (field.enum) {
    if (typeof value !== 'string') throw wrongType(path, 'a string')
    return enumValue(field.enum, value)
  }
  if (field.message) return decodeNested(field.message, value, path)
  if (field.scalar === ScalarType.STRING) {
    if (typeof value !== 'string') throw wrongType(path, 'a string')
    return value
  }
  if (field.scalar === ScalarType.BOOL) {
    if (typeof value !== 'boolean') throw wrongType(path, 'true or false')
    return value
  }
  if (typeof value !== 'number') throw wrongType(path, 'a number')
  if (field.scalar === ScalarType.DOUBLE || field.scalar === ScalarType.FLOAT) return value
  if (!Number.isSafeInteger(value)) throw wrongType(path, 'a whole number')
  if (field.scalar === ScalarType.INT64 || field.scalar === ScalarType.UINT64) return BigInt(value)
  const [least, most] = field.scalar === ScalarType.UINT32 ? [0, 4_294_967_295] : [-2_147_483_648, 2_147_483_647]
  if (value < least || value > most)
    throw gatewayError('INVALID_PARAMETER', { param: path, problem: `must be ${least} to ${most}, not ${value}` })
  return value
}

function decodeNested(type: DescMessage, value: JsonValue, path: string): Message | JsonObject | undefined {
  const format = textFormat(type)
  if (format) {
    if (typeof value !== 'string') throw wrongType(path, 'a string')
    const fields = format.parse(value)
    return fields && create(type, fields)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrongType(path, 'an object')
  if (type.typeName === StructSchema.typeName) return value
  const { message, unknown } = decodeMessage(type, value, { path: `${path}.` })
  const stranger = Object.keys(unknown)[0]
  if (stranger !== undefined) throw gatewayError('INVALID_PARAMETER', { param: `${path}.${stranger}`, problem: 'is not known here' })
  return message
}

function wrongType(param: string, expected: string): Error {
  return gatewayError('INVALID_PARAMETER', { param, problem: `must be ${expected}` })
}

function fieldValue(field: DescField, message: Message): unknown {
  const source = message as unknown as Record<string, unknown>
  if (!field.oneof) return source[field.localName]
  const selected = source[field.oneof.localName] as { case?: string; value?: unknown }
  return selected.case === field.localName ? selected.value : undefined
}

function encodeField(field: DescField, value: unknown): JsonValue | undefined {
  if (field.fieldKind !== 'list') return encodeValue(field, value)
  const items = (value as unknown[]).map((item) => encodeValue(field, item) ?? null)
  return items.length === 0 ? undefined : items
}

function encodeValue(field: DescField, value: unknown): JsonValue | undefined {
  if (field.enum) return wireName(field.enum, value as number)
  if (field.message) {
    if (field.message.typeName === StructSchema.typeName) return value as JsonObject
    const format = textFormat(field.message)
    return format ? format.format(value as Record<string, unknown>) : encodeMessage(field.message, value as Message)
  }
  if (typeof value === 'bigint') return Number(value)
  if (value === '' && field.fieldKind === 'scalar' && !field.proto.proto3Optional) return undefined
  return value as JsonValue
}

const selectors = new WeakMap<DescOneof, string | null>()

/** The REST field that feeds a oneof; undefined where each of its members has a field of its own. */
export function selectorOf(oneof: DescOneof): string | undefined {
  let name = selectors.get(oneof)
  if (name === undefined) {
    name = hasOption(oneof, oneof_wire_name) ? getOption(oneof, oneof_wire_name) : null
    selectors.set(oneof, name)
  }
  return name ?? undefined
}
