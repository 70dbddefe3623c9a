import type { DescMessage } from '@bufbuild/protobuf'
import { createValidator, type Validator } from '@bufbuild/protovalidate'
import {
  BoolRulesSchema,
  BytesRulesSchema,
  DoubleRulesSchema,
  EnumRulesSchema,
  FloatRulesSchema,
  Int32RulesSchema,
  Int64RulesSchema,
  MapRulesSchema,
  RepeatedRulesSchema,
  StringRulesSchema,
  UInt32RulesSchema,
  UInt64RulesSchema
} from '@bufbuild/protovalidate/gen/buf/validate/validate_pb.js'

/** Checks messages against the rules that stand beside their fields in the schema. There is one for the whole process, as it keeps what it compiles. */
export const validator: Validator = createLeanValidator()

/**
 * The library carries out the standard rules itself, but also parses the CEL text of each of them the first time it meets a rule of that kind,
 * used or not: half of all that a start would compute and allocate. So a type is planned without those texts.
 */
function createLeanValidator(): Validator {
  const validator = createValidator()
  const planned = new Set<DescMessage>()
  return {
    validate(type, message) {
      if (planned.has(type)) return validator.validate(type, message)
      planned.add(type)
      return withoutTexts(() => validator.validate(type, message))
    }
  }
}

/** Of every rule that the library carries out without CEL; not of `unique`, for which it needs CEL in lists of messages. */
const rulesWithText = [
  BoolRulesSchema,
  BytesRulesSchema,
  DoubleRulesSchema,
  EnumRulesSchema,
  FloatRulesSchema,
  Int32RulesSchema,
  Int64RulesSchema,
  MapRulesSchema,
  RepeatedRulesSchema,
  StringRulesSchema,
  UInt32RulesSchema,
  UInt64RulesSchema
].flatMap(({ fields }: DescMessage) => fields.filter(({ proto, name }) => proto.options !== undefined && name !== 'unique'))

/** The descriptors are everybody's, so their options are back when it returns. */
function withoutTexts<Result>(run: () => Result): Result {
  const hidden = rulesWithText.map(({ proto }) => ({ proto, options: proto.options }))
  for (const { proto } of hidden) delete proto.options
  try {
    return run()
  } finally {
    for (const { proto, options } of hidden) if (options) proto.options = options
  }
}
