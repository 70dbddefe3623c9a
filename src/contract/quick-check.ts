import { create, type DescEnum, type DescField, type DescMessage, getOption, type Message, type MessageShape } from '@bufbuild/protobuf'
import { reflect } from '@bufbuild/protobuf/reflect'
import { FeatureSet_FieldPresence, StructSchema } from '@bufbuild/protobuf/wkt'
import {
  EnumRulesSchema,
  type FieldRules,
  field as fieldRules,
  Ignore,
  MapRulesSchema,
  message as messageRules,
  oneof as oneofRules,
  RepeatedRulesSchema,
  StringRulesSchema,
  UInt32RulesSchema
} from '@bufbuild/protovalidate/gen/buf/validate/validate_pb.js'

/** Whether a message is plainly valid. Where it is, the validator finds nothing either; where it is not, only the validator can tell. */
export type QuickCheck<Desc extends DescMessage> = (message: MessageShape<Desc>) => boolean

/**
 * Compiles the simple rules of the schema: lengths of strings, limits of numbers, the known values of enums. What meets them all need not be
 * shown to the validator, which costs several times as much; every other kind of rule is left to it.
 */
export function createQuickCheck<Desc extends DescMessage>(type: Desc): QuickCheck<Desc> {
  return compileMessage(type, [])
}

type Check = (value: unknown) => boolean

const never: Check = () => false

function compileMessage(type: DescMessage, outer: readonly DescMessage[]): Check {
  const { cel, celExpression, oneof } = getOption(type, messageRules)
  if (cel.length + celExpression.length + oneof.length > 0) return never
  if (type.oneofs.some((each) => getOption(each, oneofRules).required)) return never
  const checks = type.fields.map((field) => compileField(field, [...outer, type]))
  return (message) => checks.every((check) => check(message as Record<string, unknown>))
}

function compileField(field: DescField, outer: readonly DescMessage[]): (message: Record<string, unknown>) => boolean {
  const rules = getOption(field, fieldRules)
  const check = (hasOnlyType(rules) ? compileValue(field, rules.type, outer) : undefined) ?? never
  const { localName, oneof } = field
  const mayBeUnset = !rules.required && field.presence === FeatureSet_FieldPresence.EXPLICIT
  return (message) => {
    const selected = oneof && (message[oneof.localName] as { case?: string; value?: unknown })
    const value = !selected ? message[localName] : selected.case === localName ? selected.value : undefined
    return value === undefined ? mayBeUnset : check(value)
  }
}

function hasOnlyType({ cel, celExpression, required, ignore }: FieldRules): boolean {
  return cel.length + celExpression.length === 0 && !required && ignore === Ignore.UNSPECIFIED
}

/** Undefined where the field has other than simple rules. */
function compileValue(field: DescField, rules: FieldRules['type'], outer: readonly DescMessage[]): Check | undefined {
  switch (field.fieldKind) {
    case 'list':
      return compileList(field, rules, outer)
    case 'map':
      return compileMap(field, rules, outer)
    default:
      return compileOne(field, rules, outer)
  }
}

function compileList(field: ListField, rules: FieldRules['type'], outer: readonly DescMessage[]): Check | undefined {
  const own = rules.case === 'repeated' ? rules.value : create(RepeatedRulesSchema)
  if (rules.case !== undefined && !hasOnly(RepeatedRulesSchema, own, ['max_items', 'unique', 'items'])) return undefined
  const item = own.unique ? never : compileElement(field, own.items, outer)
  const most = own.maxItems || Number.POSITIVE_INFINITY
  return (value) => {
    const items = value as readonly unknown[]
    return items.length <= most && items.every(item)
  }
}

function compileMap(field: MapField, rules: FieldRules['type'], outer: readonly DescMessage[]): Check | undefined {
  const own = rules.case === 'map' ? rules.value : create(MapRulesSchema)
  if (rules.case !== undefined && !hasOnly(MapRulesSchema, own, ['keys', 'values'])) return undefined
  const isKey = compileElement({ message: undefined, enum: undefined }, own.keys, outer)
  const isValue = compileElement(field, own.values, outer)
  return (value) => Object.entries(value as object).every(([key, each]) => isKey(key) && isValue(each))
}

type ListField = Extract<DescField, { fieldKind: 'list' }>
type MapField = Extract<DescField, { fieldKind: 'map' }>

function compileElement(element: Element, rules: FieldRules | undefined, outer: readonly DescMessage[]): Check {
  if (rules && !hasOnlyType(rules)) return never
  return compileOne(element, rules?.type ?? { case: undefined }, outer) ?? never
}

/** What a field is, or each of its elements; neither for a scalar. */
interface Element {
  message: DescMessage | undefined
  enum: DescEnum | undefined
}

function compileOne(element: Element, rules: FieldRules['type'], outer: readonly DescMessage[]): Check | undefined {
  const { message } = element
  if (message) {
    if (rules.case !== undefined || outer.includes(message)) return undefined
    return message.typeName === StructSchema.typeName ? () => true : compileMessage(message, outer)
  }
  switch (rules.case) {
    case undefined:
      return () => true
    case 'string': {
      if (!hasOnly(StringRulesSchema, rules.value, ['min_len', 'max_len', 'pattern', 'in'])) return undefined
      const { minLen, maxLen, in: choices } = rules.value
      // A character beyond U+FFFF counts once there and twice here.
      const least = Number(minLen) * 2 - 1
      const most = maxLen === 0n ? Number.POSITIVE_INFINITY : Number(maxLen)
      // The library's expressions mean the same, as far as the schema uses them.
      const pattern = new RegExp(rules.value.pattern, 'u')
      const isChoice = (value: string) => choices.length === 0 || choices.includes(value)
      return (value) => typeof value === 'string' && value.length >= least && value.length <= most && isChoice(value) && pattern.test(value)
    }
    case 'uint32': {
      if (!hasOnly(UInt32RulesSchema, rules.value, ['gte', 'lte'])) return undefined
      const least = rules.value.greaterThan.value ?? 0
      const most = rules.value.lessThan.value ?? 4_294_967_295
      return (value) => typeof value === 'number' && value >= least && value <= most
    }
    case 'enum': {
      const { definedOnly, notIn } = rules.value
      if (!element.enum || !definedOnly || !hasOnly(EnumRulesSchema, rules.value, ['defined_only', 'not_in'])) return undefined
      const allowed: ReadonlySet<unknown> = new Set(
        element.enum.values.map(({ number }) => number).filter((value) => !notIn.includes(value))
      )
      return (value) => allowed.has(value)
    }
    default:
      return undefined
  }
}

/** Whether no rules but these are set; the schema's own further ones stand among the unknown fields. */
function hasOnly<Desc extends DescMessage>(type: Desc, rules: MessageShape<Desc> & Message, names: readonly string[]): boolean {
  const set = reflect(type, rules)
  return (rules.$unknown ?? []).length === 0 && set.fields.every((field) => names.includes(field.name) || !set.isSet(field))
}
